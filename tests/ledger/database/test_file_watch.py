"""The database goes away under a program that has it open: nothing more is looked up in it or written to it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from support.ledger.results import DECODER, DETECTORS, RULES, STORAGE, checked, flagged, record, stored

from lemmy_safety.errors import LedgerDamaged, LedgerError, LedgerReplaced
from lemmy_safety.ledger import SWEEP, open_ledger, sqlite_url
from lemmy_safety.ledger.database import file_watch
from lemmy_safety.records import ActionPlan, Review

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let an open database be deleted")


@dataclass
class Place:
    """Where the database lies; its folder may go as well."""

    folder: object

    @property
    def file(self):
        return self.folder / "a.db"


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "kept here"
    folder.mkdir()
    return Place(folder)


def delete(place):
    place.file.unlink()


def move(place):
    place.file.rename(place.folder / "b.db")


def replace_by_a_new_one(place):
    new = place.folder / "new.db"
    open_ledger(sqlite_url(new)).close()
    new.replace(place.file)


def replace_by_a_copy(place):
    """The same content, as when a backup is put back."""
    shutil.copy(place.file, place.folder / "copy.db")
    (place.folder / "copy.db").replace(place.file)


def delete_and_make_again(place):
    delete(place)
    open_ledger(sqlite_url(place.file)).close()


def delete_the_folder(place):
    shutil.rmtree(place.folder)


def move_the_folder(place):
    place.folder.rename(place.folder.with_name("elsewhere"))


def put_a_file_in_the_folders_place(place):
    shutil.rmtree(place.folder)
    place.folder.write_text("no folder")


def put_a_folder_in_its_place(place):
    place.file.unlink()
    place.file.mkdir()


def empty(place):
    os.truncate(place.file, 0)


def delete_what_was_written_lately(place):
    place.file.with_name("a.db-wal").unlink()


def delete_the_index(place):
    place.file.with_name("a.db-shm").unlink()


def delete_all_of_it(place):
    for path in place.folder.iterdir():
        path.unlink()


AWAY = [
    delete,
    move,
    replace_by_a_new_one,
    replace_by_a_copy,
    delete_and_make_again,
    delete_the_folder,
    move_the_folder,
    put_a_file_in_the_folders_place,
    put_a_folder_in_its_place,
    empty,
    delete_what_was_written_lately,
    delete_the_index,
    delete_all_of_it,
]


def uses_of(ledger, run_id):
    """One of each kind: look-ups of a pass and of the hook, writes of both, the start of a pass."""

    def take_the_lease():
        with ledger.passes.lease(STORAGE, SWEEP):
            pass

    return [
        lambda: ledger.objects.known(STORAGE, [stored("a")], RULES),
        lambda: ledger.objects.verdict_for("0" * 64),
        lambda: list(ledger.reviews.flagged()),
        ledger.uploads.count_unchecked,
        lambda: ledger.passes.cursor("scope", "watermark"),
        lambda: ledger.actions.is_intended(1),
        lambda: ledger.objects.record(
            STORAGE, [checked("b")], run_id=run_id, dry_run=True, plan=ActionPlan(), decoder=DECODER
        ),
        lambda: ledger.reviews.decide(["a"], Review.CLEARED),
        ledger.maintenance.check_writable,
        take_the_lease,
    ]


@pytest.mark.parametrize("how", AWAY, ids=lambda how: how.__name__)
def test_a_database_that_went_away_is_noticed_by_every_use(place, how):
    """With the name of the file and an exit code with which a service manager starts again."""
    with open_ledger(sqlite_url(place.file)) as ledger:
        record(ledger, [flagged("a")])
        run_id = ledger.passes.start(STORAGE, SWEEP, dry_run=True, detectors=DETECTORS)
        for use in uses_of(ledger, run_id):
            use()
        how(place)
        for use in uses_of(ledger, run_id):
            with pytest.raises(LedgerReplaced, match=r"a\.db") as caught:
                use()
        assert caught.value.exit_code == 56


@pytest.mark.long
def test_a_link_that_leads_elsewhere_now_is_noticed(tmp_path):
    """The name is what counts, wherever it leads."""
    for name in ("one.db", "two.db"):
        open_ledger(sqlite_url(tmp_path / name)).close()
    link = tmp_path / "a.db"
    link.symlink_to("one.db")
    with open_ledger(sqlite_url(link)) as ledger:
        ledger.maintenance.check_writable()
        link.unlink()
        link.symlink_to("two.db")
        with pytest.raises(LedgerReplaced):
            ledger.maintenance.stats()


def test_daily_life_changes_nothing(place):
    """Other programs that read, write, empty the log and leave; a copy beside it; a smaller file."""
    with open_ledger(sqlite_url(place.file)) as ledger:
        record(ledger, [checked(f"k{number}") for number in range(500)])
        for _ in range(3):
            with open_ledger(sqlite_url(place.file)) as other:
                record(other, [checked("b")])
            with closing(sqlite3.connect(place.file)) as admin:
                admin.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                admin.execute("DELETE FROM images WHERE key LIKE 'k4%'")
                admin.commit()
                admin.execute("VACUUM")
            shutil.copy(place.file, place.folder / "backup.db")
            record(ledger, [checked("c")])
            assert ledger.maintenance.stats().objects > 0


def test_where_files_have_no_numbers_their_time_of_making_tells(place, monkeypatch):
    """As on some network drives. A stand-in for the system's answer, because no such file system can be had here."""
    made = [111.0]

    class Numberless(type(place.file)):
        def stat(self, **how):
            facts = super().stat(**how)
            return SimpleNamespace(st_dev=facts.st_dev, st_ino=0, st_size=facts.st_size, st_birthtime=made[0])

    with open_ledger(sqlite_url(place.file)):
        watch = file_watch.FileWatch(Numberless(place.file))
        watch.check()
        made[0] = 222.0
        with pytest.raises(LedgerReplaced):
            watch.check()


def test_a_system_that_does_not_say_is_an_outage(place):
    """A disk that fails, or a folder that may not be entered for a while, is no proof of anything."""

    class Failing(type(place.file)):
        broken = False

        def stat(self, **how):
            if Failing.broken:
                raise PermissionError(13, "Permission denied")
            return super().stat(**how)

    with open_ledger(sqlite_url(place.file)):
        watch = file_watch.FileWatch(Failing(place.file))
        Failing.broken = True
        with pytest.raises(LedgerError, match="Permission denied") as caught:
            watch.check()
        assert not isinstance(caught.value, LedgerReplaced)
        Failing.broken = False
        watch.check()


def test_a_file_that_was_cut_short_is_damaged(place):
    """A restart does not make it whole, so it is another error."""
    with open_ledger(sqlite_url(place.file)) as ledger:
        record(ledger, [checked(f"k{number}") for number in range(2000)])
        with closing(sqlite3.connect(place.file)) as admin:
            admin.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        os.truncate(place.file, 8192)
        with pytest.raises(LedgerDamaged):
            open_ledger(sqlite_url(place.file)).maintenance.stats()


@pytest.mark.external_service
def test_a_servers_database_that_was_emptied_is_noticed(postgres):
    """Dropped and created again under its name: a start makes the schema, waiting does not."""
    from support.servers.postgres import create_database  # noqa: PLC0415

    url = create_database(postgres, "emptied")
    with open_ledger(url) as ledger:
        record(ledger, [flagged("a")])
        run_id = ledger.passes.start(STORAGE, SWEEP, dry_run=True, detectors=DETECTORS)
        with ledger.database.engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        for use in uses_of(ledger, run_id):
            with pytest.raises(LedgerReplaced):
                use()
    with open_ledger(url) as ledger:
        assert ledger.maintenance.stats().objects == 0
