"""``lemmy-safety db``."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from support.ledger.old_ledgers import insert, old_ledger
from support.needs import needs

from lemmy_safety.errors import ActionRefused, LedgerDamaged, LedgerError, SettingsError
from lemmy_safety.ledger import sqlite_url


def test_upgrade_makes_the_database_and_version_agrees(call, tmp_path):
    """A new database is at the schema that this version needs."""
    assert call("db", "upgrade").exit_code == 0
    assert (tmp_path / "lemmy_safety.db").is_file()
    versions = json.loads(call("db", "version", "--json").stdout)
    assert versions["present"] == versions["needed"]
    assert versions["needed"] in call("db", "version").output


def test_stats_count_what_a_sweep_left(call, store):
    """Objects by status and verdict, what is flagged, and the passes."""
    call("--all", "--dry-run")
    stats = json.loads(call("db", "stats", "--json").stdout)
    assert (stats["objects"], stats["flagged_open"], stats["acted"], stats["runs"]) == (5, 2, 0, 1)
    assert stats["by_status"] == {"checked": 5}
    assert stats["by_outcome"] == {"clear": 3, "flagged": 2}
    assert stats["bytes_on_disk"] > 0
    assert "flagged and open  2" in call("db", "stats").output


def test_a_database_url_with_a_password_is_never_shown(call):
    """The server's URL holds a password; no message repeats it."""
    result = call("db", "upgrade", env={"DATABASE_URL": "postgresql://me:hunter2hunter2@127.0.0.1:9/db"})
    assert result.exit_code == LedgerError.exit_code
    assert "hunter2" not in result.output


@needs("process")  # doctor starts programs
def test_another_kind_of_database_is_a_bad_setting(call):
    """One line, the exit code of settings, and no file made in its place."""
    result = call("db", "upgrade", env={"DATABASE_URL": "mysql+pymysql://me:hunter2hunter2@127.0.0.1:9/db"})
    assert result.exit_code == SettingsError.exit_code
    assert "begins with mysql+pymysql://, a database that is not supported" in result.output
    assert "hunter2" not in result.output
    assert call("doctor", env={"DATABASE_URL": "mariadb://me:hunter2hunter2@127.0.0.1:9/db"}).exit_code != 0


def test_upgrade_says_where_the_copy_of_the_old_database_is(call, tmp_path):
    """The database of the version before, made by its own migrations."""
    with old_ledger(sqlite_url(tmp_path / "lemmy_safety.db"), "0007") as connection:
        insert(connection, "storages", id=2, name="s3")
    result = call("db", "upgrade")
    (copy,) = tmp_path.glob("lemmy_safety.db.schema-0007-*")
    assert f"As it was before: {copy}" in result.output
    assert "As it was before" not in call("db", "upgrade").output


@pytest.mark.long
def test_backup_says_where_it_is_and_overwrites_only_when_told(call, tmp_path):
    """It is of the schema that the database has, whatever this version needs."""
    with old_ledger(sqlite_url(tmp_path / "lemmy_safety.db"), "0007") as connection:
        insert(connection, "storages", id=2, name="s3")
    result = call("db", "backup", "copy.db")
    assert result.exit_code == 0
    assert f"The backup is {tmp_path / 'copy.db'} (" in result.output
    refused = call("db", "backup", "copy.db")
    assert refused.exit_code == ActionRefused.exit_code
    assert "--force" in refused.output
    assert call("db", "backup", "copy.db", "--force").exit_code == 0
    versions = json.loads(call("db", "version", "--json", env={"SQLITE_FILENAME": "copy.db"}).stdout)
    assert versions["present"] == "0007"
    assert call("db", "backup", env={"SQLITE_FILENAME": "none.db"}).exit_code == LedgerError.exit_code


def tables_of(path) -> set[str]:
    with closing(sqlite3.connect(path)) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@pytest.mark.parametrize("revision", ["0007", "newest"])
def test_a_backup_of_a_damaged_database_is_made_and_called_damaged(call, tmp_path, revision):
    """It may be all there is. The copy to put back is one of before."""
    file = tmp_path / "lemmy_safety.db"
    if revision == "newest":
        assert call("db", "upgrade").exit_code == 0
    else:
        with old_ledger(sqlite_url(file), revision):
            pass
    assert call("db", "backup").exit_code == 0
    (whole,) = tmp_path.glob("lemmy_safety.db.backup-*")
    with closing(sqlite3.connect(file)) as database:
        database.execute("DROP TABLE events")
    result = call("db", "backup", "copy.db")
    assert f"The backup is {tmp_path / 'copy.db'} (" in result.output
    assert "is damaged: it is at schema" in result.output
    assert "has no table events" in result.output
    assert f"put back its copy {whole}" in result.output
    assert result.exit_code == LedgerDamaged.exit_code
    assert tables_of(tmp_path / "copy.db") == tables_of(file)


def test_the_version_of_a_damaged_database_is_shown_and_called_damaged(call, tmp_path):
    """In the JSON there is the version alone."""
    assert call("db", "upgrade").exit_code == 0
    with closing(sqlite3.connect(tmp_path / "lemmy_safety.db")) as database:
        database.execute("DROP TABLE events")
    result = call("db", "version")
    assert "this version needs" in result.output
    assert "has no table events" in result.output
    assert result.exit_code == LedgerDamaged.exit_code
    as_json = call("db", "version", "--json")
    assert json.loads(as_json.stdout)["present"]
    assert "has no table events" in as_json.stderr
    assert as_json.exit_code == LedgerDamaged.exit_code
