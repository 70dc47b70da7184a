"""What is particular to servers besides PostgreSQL: MySQL's habits, and databases that nobody here has tried."""

from __future__ import annotations

import itertools
import logging

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.dialects import registry
from support.ledgers import DECODER, DETECTORS, STORAGE, checked, failed, fill, flagged, record, sha256_of, stored
from support.mariadb import create_database
from support.uploads import AT, upload

from lemmy_safety.errors import LedgerDamaged, LedgerError, LedgerLocked, LedgerReadOnly
from lemmy_safety.ledger import Known, open_ledger
from lemmy_safety.records import ItemStatus, Review

pytestmark = pytest.mark.external_service

SHORT_S = 0.05


for _name in ("otherdb", "otherdb.pymysql"):
    registry.register(_name, "support.mariadb", "OtherDialect")
_numbers = itertools.count(1)


@pytest.fixture
def empty(mariadb) -> str:
    """The URL of an empty database."""
    return create_database(mariadb, f"server{next(_numbers)}")


def statements(url, *texts):
    engine = create_engine(url)
    with engine.begin() as connection:
        rows = [connection.exec_driver_sql(text) for text in texts][-1]
        rows = list(rows) if rows.returns_rows else []
    engine.dispose()
    return rows


def test_bad_defaults_of_the_server_do_not_reach_the_tables(empty) -> None:
    """It is set up for Latin-1 without strictness; ours hold any text, and refuse what does not fit."""
    with open_ledger(empty) as ledger:
        record(ledger, [failed("a", ItemStatus.UNREADABLE)])
        run_id = ledger.start_run(STORAGE, "sweep", dry_run=False, detectors=())
        with pytest.raises(LedgerError, match="too long"):
            ledger.record(
                STORAGE, [checked("b"), checked("x" * 3001)], run_id=run_id, dry_run=False, action=None, decoder=""
            )
        assert ledger.stats().by_status == {ItemStatus.UNREADABLE: 1}
    made = statements(
        empty,
        "SELECT DISTINCT engine, row_format, table_collation FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND table_name <> 'alembic_version'",
    )
    assert made == [("InnoDB", "Dynamic", "utf8mb4_bin")]


def test_text_may_be_longer_than_a_mysql_text(empty) -> None:
    """Its TEXT ends at 64 KiB, in silence where the server is not strict."""
    note = "\N{CAT FACE}" * 50_000
    with open_ledger(empty) as ledger:
        record(ledger, [flagged("a")], dry_run=True)
        ledger.review(["a"], Review.CONFIRMED, note=note)
        (row,) = ledger.flagged()
    assert row.review_note == note


def test_a_writer_that_does_not_finish_is_said_to_hold_the_database(empty) -> None:
    """After the time to wait, when writing and when opening; reading goes on."""
    with open_ledger(empty) as holder, open_ledger(empty, busy_timeout_s=SHORT_S) as ledger:
        with holder.writing():
            with pytest.raises(LedgerLocked):
                ledger.check_writable()
            with pytest.raises(LedgerLocked):
                open_ledger(empty, busy_timeout_s=SHORT_S)
            assert ledger.stats().objects == 0
        ledger.check_writable()


def test_an_upgrade_that_does_not_finish_is_said_to_hold_the_database(empty) -> None:
    """There is no row to queue on yet, so it has a lock of its own; another database on the server is free."""
    engine = create_engine(empty)
    with engine.connect() as other:
        other.exec_driver_sql("SELECT GET_LOCK(CONCAT('lemmy_safety.', MD5(DATABASE())), 0)")
        with pytest.raises(LedgerLocked, match="upgraded"):
            open_ledger(empty, busy_timeout_s=SHORT_S)
        base, _, name = empty.rpartition("/")
        open_ledger(create_database(base, f"{name}b")).close()
    engine.dispose()
    open_ledger(empty).close()


def test_a_user_who_may_only_read_is_refused_with_what_it_needs(empty) -> None:
    """On an empty database and on one of ours."""
    poor = empty.replace("//test:", "//poor:")
    for _ in range(2):
        with pytest.raises(LedgerReadOnly) as caught:
            open_ledger(poor)
        assert "rights" in caught.value.hint
        open_ledger(empty).close()
    with open_ledger(poor, upgrade=False) as ledger:
        assert ledger.stats().objects == 0


@pytest.mark.parametrize("wrong", ["/nobodys", "password", "nowhere"])
def test_what_keeps_it_from_connecting_is_one_line_without_the_password(empty, wrong) -> None:
    """No such database, a wrong password, nobody listening."""
    base, _, _ = empty.rpartition("/")
    url = {
        "/nobodys": f"{base}/nobodys",
        "password": empty.replace("secret-word", "secret-wood"),
        "nowhere": "mysql://me:secret-word@127.0.0.1:9/x",
    }[wrong]
    with pytest.raises(LedgerError) as caught:
        open_ledger(url)
    assert "DATABASE_URL" in caught.value.hint
    assert "mysql://127.0.0.1:" in caught.value.message
    assert "\n" not in caught.value.message
    error = caught.value
    while error is not None:
        assert "secret-w" not in str(error)
        error = error.__cause__


def test_an_option_that_the_driver_does_not_know_is_a_clear_error(empty) -> None:
    """Drivers answer to those with whatever their code raises."""
    with pytest.raises(LedgerError, match="nonsense") as caught:
        open_ledger(f"{empty}?nonsense=1")
    assert "after '?'" in caught.value.hint


def test_a_lost_connection_fails_one_write_and_not_the_next(empty) -> None:
    """The server closed it in the middle of a transaction; the pool replaces those that died while idle."""
    with open_ledger(empty) as ledger:

        def write_while_it_is_cut():
            with ledger.writing() as connection:
                statements(empty, f"KILL {connection.exec_driver_sql('SELECT CONNECTION_ID()').scalar_one()}")
                connection.exec_driver_sql("SELECT 1")

        with pytest.raises(LedgerError) as caught:
            write_while_it_is_cut()
        assert "server is up" in caught.value.hint
        record(ledger, [checked("a")])
        for (number,) in statements(
            empty, "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        ):
            statements(empty, f"KILL {number}")
        record(ledger, [checked("b")])
        assert ledger.stats().objects == 2


@pytest.mark.parametrize(
    "texts",
    [
        ["CREATE TABLE posts (id INT)"],
        ["CREATE TABLE images (id INT, filename TEXT, nsfw INT, csam INT, created DATETIME)"],
        ["CREATE TABLE alembic_version (version_num TEXT)", "CREATE TABLE images (id INT, url TEXT)"],
        ["CREATE TABLE alembic_version (version_num TEXT)", "CREATE TABLE posts (id INT)"],
        [
            "CREATE TABLE alembic_version (version_num TEXT)",
            "CREATE TABLE storages (id INT, name VARCHAR(20))",
            "INSERT INTO storages VALUES (1, 'ancestor'), (2, 's3')",
        ],
    ],
    ids=["tables", "the ancestor's", "an images table", "migrations", "ours in use"],
)
def test_what_is_not_an_unfinished_start_of_ours_is_refused_and_left_alone(empty, texts) -> None:
    """Tables are dropped only when they are ours, all empty, and without a version."""
    statements(empty, *texts)
    with pytest.raises(LedgerDamaged, match="another program"):
        open_ledger(empty)
    assert len(statements(empty, "SHOW TABLES")) == sum(text.startswith("CREATE") for text in texts)


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda ledger: ledger.known(STORAGE, [stored("k7")], detectors=DETECTORS, decoder=DECODER), "storage_key"),
        (lambda ledger: ledger.verdict_for(sha256_of("k7"), detectors=DETECTORS), "ix_images_sha256"),
        (lambda ledger: ledger.retryable(STORAGE, 10), "ix_images_status"),
        (lambda ledger: ledger.unfinished_actions(STORAGE), "ix_images_action_state"),
        (lambda ledger: list(ledger.flagged()), "ix_images_outcome"),
        (lambda ledger: ledger.described(STORAGE, "k7"), "storage_key"),
        (lambda ledger: ledger.review(["k7"], Review.CONFIRMED), "storage_key"),
        (lambda ledger: ledger.history("k7"), "ix_events_key"),
        (lambda ledger: list(ledger.unreadable()), "ix_images_outcome"),
        (lambda ledger: list(ledger.unchecked_uploads()), "ix_uploads_answer"),
        (lambda ledger: ledger.unchecked_since(), "ix_uploads_answer"),
        (lambda ledger: ledger.record_uploads([upload("u7")]), "PRIMARY"),
        (lambda ledger: list(ledger.flagged()), "ix_events_key"),
        (lambda ledger: ledger.stuck_actions(STORAGE, due_before=AT), "ix_images_outcome"),
        (lambda ledger: ledger.failed_actions(STORAGE, before=AT), "ix_images_outcome"),
        (lambda ledger: ledger.retryable(STORAGE, 10), "ix_images_sha256"),
    ],
)
def test_no_question_walks_over_the_table(thousand, ask, index) -> None:
    """The server's own plan for every statement that the method sends, without partial indexes."""
    sent = []

    def note(_connection, _cursor, statement, parameters, _context, many) -> None:
        if statement.startswith(("SELECT", "UPDATE")):
            sent.append((statement, parameters[0] if many else parameters))

    event.listen(thousand.engine, "before_cursor_execute", note)
    ask(thousand)
    event.remove(thousand.engine, "before_cursor_execute", note)
    with thousand.engine.connect() as connection:
        plans = [
            (row.table, row.type, row.key)
            for statement, parameters in sent
            for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
        ]
    assert any(index in (key or "") for _, _, key in plans), plans
    assert [plan for plan in plans if plan[0] in ("images", "events", "uploads") and plan[1] in ("ALL", "index")] == []


@pytest.fixture(scope="module")
def thousand(mariadb):
    """A ledger with some thousand rows, few of which are flagged, intended or failed."""
    with open_ledger(create_database(mariadb, "thousand")) as ledger:
        fill(ledger)
        with ledger.engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE TABLE images, events, uploads, flags")
        yield ledger


def test_an_unknown_kind_of_database_is_used_with_a_warning(empty, caplog) -> None:
    """By what every database can do: a row as the writer's lock, short binary keys, no settings of its own."""
    url = empty.replace("mysql+pymysql", "otherdb+pymysql")
    with caplog.at_level(logging.WARNING), open_ledger(url) as ledger:
        (warning,) = caplog.records
        assert "otherdb+pymysql are not tested" in warning.getMessage()
        keys = ["a", "A", "a ", "\N{CAT FACE}"]
        record(ledger, [flagged(key) for key in keys], dry_run=True)
        assert [row.key for row in ledger.flagged()] == keys
        found = ledger.known(STORAGE, [stored(key) for key in keys], detectors=DETECTORS, decoder=DECODER)
        assert found == dict.fromkeys(keys, Known.PENDING)
        statements(empty, "SET GLOBAL innodb_lock_wait_timeout = 1")
        with open_ledger(url) as other, ledger.writing(), pytest.raises(LedgerError, match="Lock wait timeout"):
            other.check_writable()
        statements(empty, "SET GLOBAL innodb_lock_wait_timeout = 50")
    with open_ledger(url) as again:
        assert again.stats().objects == len(keys)
    assert "secret-word" not in caplog.text
