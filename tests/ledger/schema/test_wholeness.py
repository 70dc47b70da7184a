"""Tables and columns that the schema's version promises and that are gone: named, with what to do; nothing is changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import select, text
from support.ledger.results import flagged, record

from lemmy_safety.errors import LedgerDamaged, LedgerError, LedgerReplaced
from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.ledger.database.engine import make_engine, upgrading
from lemmy_safety.ledger.database.urls import parse_url
from lemmy_safety.ledger.schema import migrations, wholeness
from lemmy_safety.ledger.schema.tables import metadata

TABLES = sorted(metadata.tables)

OLDER = [f"{number:04}" for number in range(1, int(migrations.newest()))]


def drop(engine, *tables):
    """Whatever refers to them, as a person with a database's own program can."""
    cascade = "" if engine.dialect.name == "sqlite" else " CASCADE"
    with upgrading(engine) as connection:
        for table in tables:
            connection.exec_driver_sql(f"DROP TABLE {table}{cascade}")


def drop_in(url, *tables):
    """The same, in a database that need not be open."""
    engine = make_engine(parse_url(url))
    drop(engine, *tables)
    engine.dispose()


@pytest.mark.parametrize("table", TABLES)
def test_each_lost_table_is_named_at_the_start(url, table) -> None:
    """Before anything is written, also where the database is only looked at; its version can still be asked."""
    with open_ledger(url) as ledger:
        record(ledger, [flagged("a")])
    drop_in(url, table)
    with pytest.raises(LedgerDamaged, match=f"schema {migrations.newest()} and has no table {table}") as caught:
        open_ledger(url)
    assert caught.value.exit_code == 55
    assert "docs/upgrading.md" in caught.value.hint
    with open_ledger(url, upgrade=False) as ledger:
        assert ledger.maintenance.schema_version() == (migrations.newest(),) * 2
        with pytest.raises(LedgerDamaged, match=f"no table {table}"):
            ledger.maintenance.check_whole()


@pytest.mark.parametrize("table", TABLES)
def test_each_table_lost_while_it_is_in_use_is_named(url, table) -> None:
    """By look-ups and by writes."""
    with open_ledger(url) as ledger:
        drop(ledger.database.engine, table)
        for use in (ledger.database.reading, ledger.database.writing):
            with pytest.raises(LedgerDamaged, match=f"no table {table}"), use() as connection:
                connection.execute(select(metadata.tables[table]))


@pytest.mark.long
def test_each_lost_column_is_named(url) -> None:
    """A column of another name is lost as well."""
    with open_ledger(url) as ledger:
        columns = [(table.name, column.name) for table in metadata.sorted_tables for column in table.columns]
        assert len(columns) > 100
        for table, column in columns:
            with ledger.database.engine.connect() as connection:
                connection.execute(text(f'ALTER TABLE {table} RENAME COLUMN "{column}" TO another'))
                with pytest.raises(LedgerDamaged, match=f"no column {table}.{column}"):
                    wholeness.check_whole(connection, migrations.newest(), where="here")
                connection.rollback()
        ledger.maintenance.check_whole()
        with ledger.database.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE storages RENAME COLUMN name TO another")
        with pytest.raises(LedgerDamaged, match=r"no column storages\.name"):
            ledger.maintenance.check_writable()


def test_a_lost_version_is_named(url) -> None:
    """Our tables without it are not another program's."""
    open_ledger(url).close()
    drop_in(url, "alembic_version")
    for upgrade in (True, False):
        with pytest.raises(LedgerDamaged, match="alembic_version, which names its schema, is missing") as caught:
            open_ledger(url, upgrade=upgrade)
        assert "docs/upgrading.md" in caught.value.hint


@pytest.mark.long
@pytest.mark.parametrize("revision", OLDER)
def test_a_table_lost_from_an_older_schema_is_named_and_nothing_is_upgraded(database_file, revision) -> None:
    """Each table of each schema; a migration in the middle of it would say less."""
    engine = make_engine(parse_url(sqlite_url(database_file)))
    with upgrading(engine) as connection:
        migrations.bring_to(connection, revision)
    engine.dispose()
    whole = database_file.read_bytes()
    with closing(sqlite3.connect(database_file)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    ours = sorted(set(tables) - {"alembic_version", "sqlite_sequence"})
    assert len(ours) >= 5
    for table in ours:
        database_file.write_bytes(whole)
        drop_in(sqlite_url(database_file), table)
        damaged = database_file.read_bytes()
        with pytest.raises(LedgerDamaged, match=f"schema {revision} and has no table {table}"):
            open_ledger(sqlite_url(database_file))
        assert database_file.read_bytes() == damaged
    assert not list(database_file.parent.glob("*.schema-*"))


def test_the_latest_whole_copy_beside_the_database_is_named(database_file) -> None:
    """Not one that was made of the damaged database; and putting it back is the fix that it is said to be."""
    url = sqlite_url(database_file)
    with open_ledger(url) as ledger:
        record(ledger, [flagged("a")])
        copy = ledger.maintenance.back_up()
    drop_in(url, "flags", "runs")
    for later in ("backup-29990101T000000Z", "schema-0010-29990101T000001Z"):
        with open_ledger(url, upgrade=False) as ledger:
            ledger.maintenance.back_up(database_file.with_name(f"{database_file.name}.{later}"))
    database_file.with_name(f"{database_file.name}.backup-29990101T000002Z").write_bytes(b"no database")
    with pytest.raises(LedgerDamaged, match="no table flags, no table runs") as caught:
        open_ledger(url)
    assert f"put back its copy {copy} " in caught.value.hint
    copy.replace(database_file)
    with open_ledger(url) as ledger:
        assert [row.key for row in ledger.reviews.flagged()] == ["a"]


def test_many_lost_parts_are_counted(quick_ledger, database_file) -> None:
    """One line stays one line."""
    drop_in(sqlite_url(database_file), *(name for name in TABLES if name != "storages"))
    with pytest.raises(LedgerDamaged, match=f"and {len(TABLES) - 6} more"):
        quick_ledger.maintenance.check_whole()


def test_a_database_without_any_table_was_emptied(url) -> None:
    """Then a start makes a new one, and waiting does not."""
    with open_ledger(url) as ledger:
        drop_in(url, *TABLES, "alembic_version")
        with pytest.raises(LedgerReplaced, match="emptied"):
            ledger.maintenance.check_writable()


def test_a_mistake_in_sql_is_none_of_it(url) -> None:
    """The database is whole, and nothing else is said of it."""
    with (
        open_ledger(url) as ledger,
        pytest.raises(LedgerError, match="nowhere") as caught,
        ledger.database.reading() as asked,
    ):
        asked.exec_driver_sql("SELECT * FROM nowhere")
    assert type(caught.value) is LedgerError
