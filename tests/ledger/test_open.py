"""Opening: what is refused, how it is said, and that what is refused stays as it was."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event
from support.ledger.legacy import write_ancestor_database
from support.ledger.results import STORAGE, checked, flagged, record

from lemmy_safety.errors import (
    LedgerDamaged,
    LedgerError,
    LedgerFull,
    LedgerLocked,
    LedgerReadOnly,
    LedgerTooNew,
)
from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.ledger.schema import migrations
from lemmy_safety.ledger.schema.conditions import SCHEMA
from lemmy_safety.ledger.schema.migrations import script_location
from lemmy_safety.records import ActionPlan

SHORT_S = 0.05


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def made(database_file):
    """A closed database with a row in it."""
    with open_ledger(sqlite_url(database_file)) as ledger:
        record(ledger, [flagged("a")])
    return database_file


def test_a_new_database_is_at_the_newest_schema(url) -> None:
    """And opening it again finds nothing to do."""
    for _ in range(2):
        with open_ledger(url) as ledger:
            present, newest = ledger.maintenance.schema_version()
            assert present == newest != ""
            ledger.maintenance.check_writable()


def test_the_migrations_make_what_the_models_describe(url) -> None:
    """Tables, columns and indexes: neither side has anything that the other lacks."""
    with open_ledger(url) as ledger, ledger.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SCHEMA) == []


def test_sqlite_is_set_up_to_keep_promises(made) -> None:
    """WAL for readers beside the writer, a sync at each commit, foreign keys; on every connection."""
    with open_ledger(sqlite_url(made)) as ledger:
        connections = [ledger.database.engine.connect() for _ in range(3)]
        for connection in connections:
            pragmas = ("journal_mode", "synchronous", "foreign_keys")
            answers = [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in pragmas]
            assert answers == ["wal", 2, 1]
            connection.close()


def test_looking_only_makes_and_changes_nothing(tmp_path) -> None:
    """No new file, and an ancestor's database stays the ancestor's."""
    with pytest.raises(LedgerError, match="There is no database"):
        open_ledger(sqlite_url(tmp_path / "none.db"), upgrade=False)
    assert list(tmp_path.iterdir()) == []
    path = write_ancestor_database(tmp_path / "old.db", [("a", None, True)])
    before = digest(path)
    with open_ledger(sqlite_url(path), upgrade=False) as ledger:
        assert ledger.maintenance.schema_version() == ("", "0015")
        with pytest.raises(LedgerError, match="no such table") as caught:
            list(ledger.reviews.flagged())
    assert "db upgrade" in caught.value.hint
    assert digest(path) == before


def test_a_newer_schema_is_refused_and_left_alone(made) -> None:
    """Verdicts of a newer version must not be written over by an older one."""
    with closing(sqlite3.connect(made)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = digest(made)
    for upgrade in (True, False):
        with pytest.raises(LedgerTooNew, match="9999"):
            open_ledger(sqlite_url(made), upgrade=upgrade)
    assert digest(made) == before


def test_a_newer_schema_is_refused_on_a_server_too(url) -> None:
    """The same check, the same error."""
    with open_ledger(url) as ledger, ledger.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerTooNew):
        open_ledger(url)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE posts (id INTEGER)",
        "CREATE TABLE images (id INTEGER, url TEXT)",
        "CREATE TABLE images (id INTEGER, filename, nsfw, csam, created); CREATE TABLE posts (id INTEGER)",
        "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('abc')",
    ],
    ids=["tables", "an images table", "the ancestor's and more", "migrations"],
)
def test_another_programs_database_is_refused_and_left_alone(database_file, statement) -> None:
    """Anyone who mistypes a file name must not get our tables between theirs."""
    with closing(sqlite3.connect(database_file)) as connection:
        connection.executescript(statement)
    before = digest(database_file)
    with pytest.raises(LedgerDamaged, match="another program"):
        open_ledger(sqlite_url(database_file))
    assert digest(database_file) == before


@pytest.mark.parametrize("content", [b"just some text\n", b"\x89PNG\r\n\x1a\n" + bytes(5000)], ids=["short", "long"])
def test_a_file_that_is_no_database_is_refused_and_left_alone(database_file, content) -> None:
    """Named in the message."""
    database_file.write_bytes(content)
    with pytest.raises(LedgerDamaged, match="not a database") as caught:
        open_ledger(sqlite_url(database_file))
    assert str(database_file) in caught.value.message
    assert database_file.read_bytes() == content


def test_a_damaged_database_is_said_to_be_damaged(made) -> None:
    """Pages in its middle are overwritten; what is needed of them cannot be read."""
    size = made.stat().st_size
    with made.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with pytest.raises(LedgerDamaged), open_ledger(sqlite_url(made)) as ledger:
        list(ledger.reviews.flagged())


def test_places_that_cannot_hold_a_database(tmp_path) -> None:
    """A folder in place of the file, and a folder that is not there."""
    with pytest.raises(LedgerDamaged, match="is not a regular file, but a folder"):
        open_ledger(sqlite_url(tmp_path))
    with pytest.raises(LedgerError, match="does not exist"):
        open_ledger(sqlite_url(tmp_path / "no" / "a.db"))
    assert list(tmp_path.iterdir()) == []


@contextmanager
def without_privileges():
    """Run a block as a user whom file permissions bind, also where the tests run as root."""
    if os.name != "posix":
        pytest.skip("file permissions of POSIX are needed")
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)  # the account without rights, on every system that has root
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def open_folder(monkeypatch, tmp_path):
    """A folder that every user may reach, which pytest's own are not, and migrations that every user may read.

    The source tree may lie where only root can look; what is imported late is imported here, while it can be.
    """
    open_ledger(sqlite_url(tmp_path / "warm-up.db")).close()
    folder = Path(tempfile.mkdtemp(prefix="ledger."))
    readable = Path(tempfile.mkdtemp(prefix="migrations."))
    readable.chmod(0o755)
    shutil.copytree(script_location(), readable / "alembic")
    monkeypatch.setattr(migrations, "script_location", lambda: readable / "alembic")
    folder.chmod(0o777)
    yield folder
    folder.chmod(0o777)
    shutil.rmtree(folder)
    shutil.rmtree(readable)


@pytest.mark.parametrize("ancestor", [False, True], ids=["ours", "the ancestor's"])
@pytest.mark.parametrize("locked", ["file", "folder"])
def test_without_write_permission_it_is_refused_before_anything_happens(open_folder, locked, ancestor) -> None:
    """On the file or on its folder, where SQLite must keep its journal."""
    path = open_folder / "a.db"
    if ancestor:
        write_ancestor_database(path, [("a", None, True)])
    else:
        open_ledger(sqlite_url(path)).close()
    path.chmod(0o444 if locked == "file" else 0o666)
    open_folder.chmod(0o777 if locked == "file" else 0o555)
    before = digest(path)
    with without_privileges(), pytest.raises(LedgerReadOnly) as caught:
        open_ledger(sqlite_url(path))
    assert str(path) in caught.value.message
    assert digest(path) == before


def test_a_new_database_in_a_read_only_folder_is_refused(open_folder) -> None:
    """The same error as for one that is there."""
    open_folder.chmod(0o555)
    with without_privileges(), pytest.raises(LedgerReadOnly):
        open_ledger(sqlite_url(open_folder / "a.db"))
    assert list(open_folder.iterdir()) == []


def test_a_database_opened_read_only_is_refused(tmp_path) -> None:
    """By SQLite's own means, which work for every user and system."""
    path = tmp_path / "a.db"
    open_ledger(sqlite_url(path)).close()
    with pytest.raises(LedgerReadOnly, match="readonly database"):
        open_ledger(f"sqlite:///file:{path.as_posix()}?mode=ro&uri=true")


@pytest.mark.long
def test_a_locked_database_is_said_to_be_locked(made) -> None:
    """Once the time to wait is over, when opening and when writing; reading goes on."""
    with (
        open_ledger(sqlite_url(made), busy_timeout_s=SHORT_S) as ledger,
        closing(sqlite3.connect(made, isolation_level=None)) as other,
    ):
        run_id = ledger.passes.start(STORAGE, "sweep", dry_run=False, detectors=())
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerLocked):
            open_ledger(sqlite_url(made), busy_timeout_s=SHORT_S)
        with pytest.raises(LedgerLocked):
            ledger.objects.record(STORAGE, [checked("b")], run_id=run_id, dry_run=False, plan=ActionPlan(), decoder="")
        with pytest.raises(LedgerLocked):
            ledger.maintenance.check_writable()
        assert len(list(ledger.reviews.flagged())) == 1
        other.execute("ROLLBACK")
        ledger.maintenance.check_writable()


@pytest.mark.external_service
def test_a_server_whose_writer_does_not_finish_is_said_to_be_locked(postgres) -> None:
    """Writers of all processes queue there as well, for a time."""
    from support.servers.postgres import create_database  # noqa: PLC0415

    url = create_database(postgres, "held")
    with open_ledger(url) as holder, open_ledger(url, busy_timeout_s=SHORT_S) as ledger:
        with holder.database.writing(), pytest.raises(LedgerLocked):
            ledger.maintenance.check_writable()
        ledger.maintenance.check_writable()


@pytest.mark.external_service
def test_a_server_that_only_reads_is_said_to_be_read_only(postgres) -> None:
    """Like a standby."""
    from support.servers.postgres import create_database  # noqa: PLC0415

    url = create_database(postgres, "standby")
    with open_ledger(url) as ledger, ledger.database.engine.connect() as connection:
        connection.exec_driver_sql("ALTER DATABASE standby SET default_transaction_read_only = on")
        connection.commit()
    with pytest.raises(LedgerReadOnly):
        open_ledger(url)


def test_a_database_that_is_deleted_while_in_use_takes_no_more_writes(tmp_path) -> None:
    """Its open connections would go on writing into a file that has no name any more, and all would be lost."""
    path = tmp_path / "a.db"
    with open_ledger(sqlite_url(path)) as ledger:
        ledger.passes.start("s", "sweep", dry_run=False, detectors=["hashes"])
        path.unlink()
        with pytest.raises(LedgerError, match="deleted or replaced"):
            ledger.passes.start("s", "sweep", dry_run=False, detectors=["hashes"])


def test_a_full_disk_takes_nothing_back(made) -> None:
    """The batch that does not fit is refused whole, what was recorded stays, and room makes it work again."""
    with open_ledger(sqlite_url(made)) as ledger:
        run_id = ledger.passes.start(STORAGE, "sweep", dry_run=False, detectors=())
        pages = []

        @event.listens_for(ledger.database.engine, "checkout")
        def limit(connection, _record, _proxy) -> None:
            connection.execute(f"PRAGMA max_page_count = {pages[0] if pages else 2**30}")

        with ledger.database.engine.connect() as connection:
            pages.append(connection.exec_driver_sql("PRAGMA page_count").scalar_one() + 2)

        def write():
            batch = [checked(f"k{number}" + "x" * 500) for number in range(200)]
            return ledger.objects.record(
                STORAGE, batch, run_id=run_id, dry_run=False, plan=ActionPlan("delete"), decoder=""
            )

        with pytest.raises(LedgerFull) as caught:
            write()
        assert "nothing is deleted" in caught.value.hint
        assert ledger.maintenance.stats().objects == 1
        assert len(ledger.actions.unfinished(STORAGE)) == 1
        pages.clear()
        write()
        assert ledger.maintenance.stats().objects == 201
