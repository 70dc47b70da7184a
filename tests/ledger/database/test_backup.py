"""A SQLite database is copied before its schema changes, and the copy is the way back."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime

import pytest
from support.ledger.legacy import write_ancestor_database
from support.ledger.old_ledgers import insert, insert_object, old_ledger, revisions
from support.ledger.results import NOON, STORAGE, StepClock, checked, record
from support.storage.small_disk import fill, small_disk

from lemmy_safety.errors import ActionRefused, LedgerError, LedgerFull
from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.ledger.database import backup
from lemmy_safety.ledger.schema import migrations

SIDE_FILES = ("-wal", "-shm", "-journal")


def content(file) -> list[str]:
    """All of a database as SQL."""
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return list(connection.iterdump())


def make_old(file, revision="0007", *, objects=3) -> None:
    with old_ledger(sqlite_url(file), revision) as connection:
        insert(connection, "storages", id=2, name=STORAGE)
        for number in range(objects):
            insert_object(connection, storage_id=2, key=f"key {number}")


def copies_beside(file) -> list[str]:
    return sorted(path.name for path in file.parent.iterdir() if path.name.startswith(f"{file.name}.schema"))


def go_back(file, copy) -> None:
    """As docs/upgrading.md says it."""
    for ending in ("", *SIDE_FILES):
        file.with_name(file.name + ending).unlink(missing_ok=True)
    shutil.copy2(copy, file)


@pytest.mark.long
@pytest.mark.parametrize("revision", [one for one in revisions() if one != migrations.newest()])
def test_every_earlier_version_is_copied_upgraded_and_restored(database_file, revision) -> None:
    """The copy has the old schema and all rows; put back, the database is the old one, and can be upgraded again."""
    make_old(database_file, revision)
    before = content(database_file)
    with open_ledger(sqlite_url(database_file)) as ledger:
        copy = ledger.copied_to
        assert ledger.maintenance.schema_version()[0] == migrations.newest()
        assert ledger.maintenance.stats().objects == 3
    assert copy.parent == database_file.parent
    assert copy.name.startswith(f"{database_file.name}.schema-{revision}-2")
    assert content(copy) == before

    go_back(database_file, copy)
    assert content(database_file) == before
    with open_ledger(sqlite_url(database_file), upgrade=False) as ledger:
        assert ledger.maintenance.schema_version() == (revision, migrations.newest())
    with open_ledger(sqlite_url(database_file)) as ledger:
        assert ledger.maintenance.stats().objects == 3


def test_a_database_of_the_earlier_tool_is_copied_too(tmp_path) -> None:
    """It has no revision, and is not in WAL mode."""
    file = write_ancestor_database(tmp_path / "a.db", [("1.webp", None, True)])
    before = content(file)
    with open_ledger(sqlite_url(file)) as ledger:
        assert content(ledger.copied_to) == before
    assert copies_beside(file)[0].startswith("a.db.schema-legacy-")


def test_a_new_or_current_database_is_not_copied(database_file) -> None:
    """There is nothing to go back to; an empty file is new as well."""
    database_file.touch()
    for _ in range(2):
        with open_ledger(sqlite_url(database_file)) as ledger:
            assert ledger.copied_to is None
    assert copies_beside(database_file) == []


def test_what_lies_only_in_the_wal_is_in_the_copy(database_file) -> None:
    """Another program has the database open, so nothing was moved into its file yet."""
    make_old(database_file)
    with closing(sqlite3.connect(database_file)) as other:
        other.execute("PRAGMA wal_autocheckpoint = 0")
        other.execute("UPDATE images SET reason = 'only in the WAL'")
        other.commit()
        assert b"only in the WAL" not in database_file.read_bytes()
        with open_ledger(sqlite_url(database_file)) as ledger:
            copy = ledger.copied_to
    assert "only in the WAL" in "".join(content(copy))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_the_copy_is_the_owners_alone_and_one_file(database_file) -> None:
    """Whatever the mode of the database is."""
    make_old(database_file)
    database_file.chmod(0o644)
    with open_ledger(sqlite_url(database_file)) as ledger:
        copy = ledger.copied_to
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert copies_beside(database_file) == [copy.name]


def test_without_room_nothing_is_migrated(tmp_path) -> None:
    """The room is checked before anything is written; with room the same start goes through."""
    with small_disk(tmp_path / "disk", megabytes=16) as disk:
        file = disk / "a.db"
        make_old(file)
        before = content(file)
        filler = fill(disk, leaving=4_200_000)
        with pytest.raises(LedgerFull) as caught:
            open_ledger(sqlite_url(file))
        assert "not copied" in caught.value.message
        assert "Free room there" in caught.value.hint
        assert content(file) == before
        assert copies_beside(file) == []
        filler.unlink()
        open_ledger(sqlite_url(file)).close()
        assert len(copies_beside(file)) == 1


def test_the_room_that_is_needed_is_what_the_migrations_between_copy() -> None:
    """A copy of the table of objects costs three times the size of the database; nothing to do costs nothing."""
    assert migrations.room_needed(None) == migrations.room_needed("0001") == migrations.room_needed("0008") == 3
    assert migrations.room_needed("0009") == 0


def test_where_no_copy_can_be_made_nothing_is_migrated(database_file) -> None:
    """For whatever reason; said in one line with the fix."""
    make_old(database_file)
    before = content(database_file)
    in_the_way = database_file.with_name(f"{database_file.name}.schema.part")
    in_the_way.mkdir()
    with pytest.raises(LedgerError, match="cannot be copied to") as caught:
        open_ledger(sqlite_url(database_file))
    assert "\n" not in str(caught.value)
    assert "Nothing was changed" in caught.value.hint
    assert content(database_file) == before
    in_the_way.rmdir()
    open_ledger(sqlite_url(database_file)).close()


def test_the_last_two_copies_are_kept(database_file, caplog) -> None:
    """The new one and the latest of another schema; files that only look like copies are left alone."""
    make_old(database_file)
    name = database_file.name
    others = {
        f"{name}.schema-0003-20250101T000000Z": False,
        f"{name}.schema-0005-20250201T000000Z": True,
        f"{name}.schema-0007-20250301T000000Z": False,
        f"{name}.schema-0005-by-hand": True,
        f"other{name}.schema-0003-20250101T000000Z": True,
    }
    for other in others:
        database_file.with_name(other).write_bytes(b"x")
    with caplog.at_level(logging.INFO), open_ledger(sqlite_url(database_file), clock=StepClock()) as ledger:
        copy = ledger.copied_to
    assert copy.name == f"{name}.schema-0007-{NOON:%Y%m%d}T120001Z"
    assert copy.exists()
    assert {other: database_file.with_name(other).exists() for other in others} == others
    assert f"{name}.schema-0003-20250101T000000Z is removed; the last 2 are kept" in caplog.text


# Kills itself at the given call of a function that the copying passes through.
_CHILD = """
import os, signal, sys
from pathlib import Path
from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.ledger.database import backup
from lemmy_safety.ledger.schema import migrations

calls = 0
def counted(function):
    def call(*arguments):
        global calls
        calls += 1
        if calls == {number}:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return call

backup._STEP_PAGES = 1
setattr({owner}, {name!r}, counted(getattr({owner}, {name!r})))
open_ledger(sqlite_url(Path(sys.argv[1])))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    ("owner", "name", "number", "there"),
    [
        ("backup", "create_private", 1, False),
        ("backup", "_hear_signals", 1, False),
        ("backup", "_hear_signals", 9, False),
        ("os", "fsync", 1, False),
        ("Path", "replace", 1, False),
        ("os", "fsync", 2, True),
        ("migrations", "upgrade", 1, True),
    ],
)
def test_a_copy_that_was_killed_is_whole_or_has_not_its_name(database_file, owner, name, number, there) -> None:
    """The database is as it was, and the next start copies and upgrades it and leaves nothing else behind."""
    make_old(database_file, objects=100)
    before = content(database_file)
    code = _CHILD.format(owner=owner, name=name, number=number)
    done = subprocess.run([sys.executable, "-c", code, str(database_file)], check=False)
    assert done.returncode == -9
    assert content(database_file) == before
    made = [one for one in copies_beside(database_file) if not one.endswith(".part")]
    assert len(made) == there
    for one in made:
        assert content(database_file.with_name(one)) == before
    with open_ledger(sqlite_url(database_file)) as ledger:
        assert content(ledger.copied_to) == before
        assert copies_beside(database_file) == [ledger.copied_to.name]


def test_a_backup_is_whole_while_another_writes(database_file) -> None:
    """Each batch is in it whole or not at all, and it can be opened as a ledger."""
    writer = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from support.ledger.results import checked, record; from lemmy_safety.ledger import open_ledger, sqlite_url\n"
        "with open_ledger(sqlite_url(Path(sys.argv[1]))) as ledger:\n"
        "    for batch in range(10_000):\n"
        "        record(ledger, [checked(f'{batch} {number}') for number in range(50)])\n"
        "        print(batch, flush=True)\n"
    )
    tests = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))  # noqa: PTH120
    with (
        open_ledger(sqlite_url(database_file)) as ledger,
        subprocess.Popen(
            [sys.executable, "-c", writer, str(database_file), tests], stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        try:
            copies = []
            for number in range(5):
                process.stdout.readline()
                copies.append(ledger.maintenance.back_up(database_file.with_name(f"copy {number}")))
            assert process.poll() is None
        finally:
            process.kill()
    counts = []
    for copy in copies:
        content(copy)
        with open_ledger(sqlite_url(copy)) as opened:
            counts.append(opened.maintenance.stats().objects)
    assert [count % 50 for count in counts] == [0] * 5
    assert counts == sorted(counts)
    assert counts[-1] >= 200


def test_a_backup_is_of_the_moment_when_it_began(database_file, monkeypatch) -> None:
    """What is written between two of its steps is not in it, and does not make it start over."""
    steps = []
    with open_ledger(sqlite_url(database_file)) as ledger, open_ledger(sqlite_url(database_file)) as other:
        record(ledger, [checked(f"before {number}") for number in range(50)])

        def write_between(*_) -> None:
            steps.append(record(other, [checked(f"meanwhile {len(steps)}")]))

        monkeypatch.setattr(backup, "_STEP_PAGES", 8)
        monkeypatch.setattr(backup, "_hear_signals", write_between)
        copy = ledger.maintenance.back_up(database_file.with_name("copy"))
    assert 2 <= len(steps) <= copy.stat().st_size // 4096
    with open_ledger(sqlite_url(copy)) as opened:
        assert opened.maintenance.stats().objects == 50


def test_a_backup_overwrites_nothing_that_it_should_not(database_file, tmp_path) -> None:
    """Not the database and what belongs to it, no device, and another file only when told."""
    with open_ledger(sqlite_url(database_file)) as ledger:
        record(ledger, [checked("a")])
        (tmp_path / "link").symlink_to(database_file)
        for target in (
            database_file,
            tmp_path / "link",
            *(database_file.with_name(database_file.name + ending) for ending in SIDE_FILES),
        ):
            with pytest.raises(ActionRefused, match="belongs to the database"):
                ledger.maintenance.back_up(target, overwrite=True)
        if hasattr(os, "mkfifo"):
            os.mkfifo(tmp_path / "pipe")
            with pytest.raises(ActionRefused, match="not a file"):
                ledger.maintenance.back_up(tmp_path / "pipe", overwrite=True)
        (tmp_path / "other").write_bytes(b"mine")
        with pytest.raises(ActionRefused, match="--force"):
            ledger.maintenance.back_up(tmp_path / "other")
        assert (tmp_path / "other").read_bytes() == b"mine"
        with pytest.raises(LedgerError, match="cannot be copied"):
            ledger.maintenance.back_up(tmp_path / "no folder" / "copy")
        assert ledger.maintenance.back_up(tmp_path / "other", overwrite=True) == tmp_path / "other"
        assert content(tmp_path / "other") == content(database_file)
        assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_a_backup_without_a_name_lies_in_the_folder_with_the_time(database_file, tmp_path) -> None:
    """Beside the database, or in a folder that is named. It does not count as a copy of before an upgrade."""
    (tmp_path / "backups").mkdir()
    with open_ledger(sqlite_url(database_file), clock=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) as ledger:
        assert ledger.maintenance.back_up() == database_file.with_name(f"{database_file.name}.backup-20260102T030405Z")
        assert ledger.maintenance.back_up(tmp_path / "backups").parent == tmp_path / "backups"
    assert copies_beside(database_file) == []


@pytest.mark.external_service
def test_postgresql_goes_back_from_a_dump(postgres, tmp_path) -> None:
    """The command that is named makes one without a password in it; restored, it is the old database."""
    from support.servers.postgres import create_database, program  # noqa: PLC0415

    url = create_database(postgres, "to be dumped")
    with old_ledger(url, "0007") as connection:
        insert(connection, "storages", id=2, name=STORAGE)
    with open_ledger(url, upgrade=False) as ledger, pytest.raises(ActionRefused) as caught:
        ledger.maintenance.back_up()
    command = caught.value.hint.removeprefix("Run: ")
    assert "secret-word" not in str(caught.value)
    arguments = shlex.split(command)
    assert arguments[:3] == ["pg_dump", "--format=custom", "--file=lemmy_safety.dump"]
    subprocess.run([program("pg_dump"), *arguments[1:]], cwd=tmp_path, check=True)

    open_ledger(url).close()
    restored = create_database(postgres, "restored")
    place = restored.replace("postgresql+psycopg", "postgresql")
    subprocess.run([program("pg_restore"), f"--dbname={place}", "lemmy_safety.dump"], cwd=tmp_path, check=True)
    with open_ledger(restored, upgrade=False) as ledger:
        assert ledger.maintenance.schema_version() == ("0007", migrations.newest())
    with open_ledger(restored) as ledger:
        assert ledger.maintenance.stats().objects == 0
