"""``kill -9`` at the worst moments: nothing decided is forgotten, nothing half-done is left."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from sqlite3 import connect

import pytest
from support.ledger.killed_ledger import killed
from support.ledger.legacy import write_ancestor_database
from support.ledger.results import STORAGE

from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.records import ActionState, Outcome


def test_an_intent_is_found_after_the_process_was_killed(url) -> None:
    """Recorded, killed before the action: the next start finishes it."""
    with killed(url, objects=("a", "b")), open_ledger(url) as ledger:
        pending = ledger.actions.unfinished(STORAGE)
        assert [one.obj.key for one in pending] == ["a", "b"]
        ledger.actions.finish(pending[0].id, ActionState.DONE)
        assert len(ledger.actions.unfinished(STORAGE)) == 1


@pytest.mark.parametrize(
    ("word", "steps"),
    [("ALTER TABLE", 1), ("CREATE TABLE", 4), ("INSERT INTO images", 1), ("CREATE INDEX", 3), ("alembic_version", 2)],
)
def test_a_take_over_that_was_killed_starts_again(tmp_path, word, steps) -> None:
    """Before that the database is the ancestor's, whole; after it everything is there once."""
    rows = [(f"{number:05}.webp", None, number % 100 == 0) for number in range(20_000)]
    path = write_ancestor_database(tmp_path / "a.db", rows)
    with killed(sqlite_url(path), word, steps):
        with closing(connect(path)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            assert tables == [("images",)]
            assert connection.execute("SELECT count(*) FROM images").fetchone() == (20_000,)
        with open_ledger(sqlite_url(path)) as ledger:
            assert ledger.maintenance.stats().by_outcome == {Outcome.FLAGGED: 200, Outcome.CLEAR: 19_800}


@pytest.mark.external_service
def test_a_first_start_that_was_killed_starts_again_on_a_server(postgres) -> None:
    """The server takes the half-made schema back by itself."""
    from support.servers.postgres import create_database  # noqa: PLC0415

    url = create_database(postgres, "killed")
    with killed(url, "CREATE TABLE", 4), open_ledger(url) as ledger:
        assert ledger.maintenance.stats().objects == 0


def test_two_processes_that_start_at_the_same_time_make_one_schema(url) -> None:
    """The second waits for the first and finds its work done."""
    code = f"from lemmy_safety.ledger import open_ledger; print(open_ledger({url!r}).maintenance.schema_version())"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        out, errors = process.communicate()
        assert (out, errors, process.returncode) == ("('0015', '0015')\n", "", 0)
