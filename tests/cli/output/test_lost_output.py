"""Output that cannot be written decides nothing: what was to be deleted is deleted, the ledger says so, the code as well.

Each test runs real processes, whose stdout and stderr are what an admin's shell can make of them.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from lemmy_safety.cli.output.failures import code_after_output
from lemmy_safety.cli.process.stopping import StopSignals
from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.errors import OutputFailed
from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.records import ActionState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cli.conftest import LocalStore
    from click.testing import Result

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash makes the redirections")

#: Keys that one encoding or another cannot show.
ODD_KEYS = ("01/cc/канарейка.png", "01/cc/カナリア.png", "01/cc/🐤.png", "01/cc/caf\udce9.png", "01/cc/€uro.png")


@pytest.fixture
def database(store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Result]) -> Path:
    """A ledger in which the store's canaries are flagged, those with odd names too, and nothing was done about them."""
    file = tmp_path / "ledger.db"
    monkeypatch.setenv("SQLITE_FILENAME", str(file))
    for key in ODD_KEYS:
        store.put(key, canary_png() + key.encode("utf-8", "surrogateescape"))
    assert call("--all", "--dry-run").exit_code == 0
    return file


@pytest.fixture
def due(store: LocalStore) -> int:
    return len(store.canaries) + len(ODD_KEYS)


def lemmy_safety(*args: str, redirected: str = "", **env: str) -> subprocess.CompletedProcess[bytes]:
    """The command as a shell redirects it; ``{unread}`` is a pipe that no one reads."""
    reading, writing = os.pipe()
    os.close(reading)
    command = shlex.join([sys.executable, "-m", "lemmy_safety", *args])
    try:
        return subprocess.run(
            ["bash", "-c", f"exec {command} {redirected.format(unread=writing)}"],
            check=False,
            capture_output=True,
            timeout=120,
            env={**os.environ, **env},
            pass_fds=[writing],
        )
    finally:
        os.close(writing)


def states(database: Path) -> list[ActionState]:
    with open_ledger(sqlite_url(database)) as ledger:
        return [row.action_state for row in ledger.reviews.flagged(include_settled=True)]


LOST_STDOUT = {
    "a pipe that nobody reads": ">&{unread}",
    "a full disk": "> /dev/full",
    "a closed stdout": ">&-",
    "both closed": ">&- 2>&-",
    "both on a full disk": "> /dev/full 2>&1",
    "both on a pipe that nobody reads": ">&{unread} 2>&{unread}",
}


@pytest.mark.parametrize("redirected", LOST_STDOUT.values(), ids=LOST_STDOUT)
def test_deletions_are_carried_through_where_stdout_cannot_be_written(
    database: Path, store: LocalStore, due: int, redirected: str
) -> None:
    """All of them, each recorded as done, and the code says that no one was told."""
    done = lemmy_safety("delete-flagged", "--yes", redirected=redirected)
    assert store.present() == store.pictures
    assert states(database) == [ActionState.DONE] * due
    assert done.returncode == OutputFailed.exit_code
    if "2>" not in redirected:
        assert b"could be written to the output" in done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "shift_jis:strict", "utf-16"])
def test_deletions_are_carried_through_whatever_the_encoding_can_show(
    database: Path, store: LocalStore, due: int, encoding: str
) -> None:
    """What it cannot show is escaped, and nothing is lost, so the command succeeds."""
    done = lemmy_safety("delete-flagged", "--yes", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert store.present() == store.pictures
    assert states(database) == [ActionState.DONE] * due
    shown = done.stdout.decode(encoding.partition(":")[0], "replace")  # click writes UTF-8 for ASCII
    assert shown.count("done") == due
    if encoding == "cp1252":
        assert r"01/cc/\u043a\u0430\u043d" in shown
        assert "01/cc/€uro.png" in shown


@pytest.mark.parametrize("redirected", ["2>&-", "2> /dev/full"])
def test_a_question_that_cannot_be_shown_deletes_nothing(
    database: Path, store: LocalStore, due: int, redirected: str
) -> None:
    """Without --yes there is no one who could answer."""
    done = lemmy_safety("delete-flagged", redirected=redirected)
    assert done.returncode == 60
    assert len(store.present()) == due + len(store.pictures)
    assert states(database) == [ActionState.NONE] * due


@pytest.mark.parametrize("redirected", [">&{unread}", "2> /dev/full"])
def test_a_sweep_is_carried_through_where_its_output_cannot_be_written(
    database: Path, store: LocalStore, due: int, redirected: str
) -> None:
    """Its log on stderr and its summary on stdout."""
    done = lemmy_safety("--all", "--debug", redirected=redirected)
    assert store.present() == store.pictures
    assert states(database) == [ActionState.DONE] * due
    assert done.returncode == OutputFailed.exit_code


@pytest.mark.parametrize(
    "command",
    [
        ("review", "clear", "01/aa/canary.png"),
        ("review", "confirm", "01/aa/canary.png", "01/cc/🐤.png"),
        ("flagged",),
        ("flagged", "--json"),
        ("db", "stats"),
        ("doctor", "--quick"),
        ("delete-flagged", "--yes", "--json"),
        ("--help",),
    ],
    ids=" ".join,
)
def test_every_command_says_that_its_output_was_lost(database: Path, command: tuple[str, ...]) -> None:
    """By one line and by the code; none of them calls it a bug."""
    redirected = ("> /dev/full", ">&-", ">&{unread}")[len(command[0]) % 3]
    done = lemmy_safety(*command, redirected=redirected)
    assert done.returncode == OutputFailed.exit_code, done.stderr
    assert b"bug" not in done.stderr
    assert b"Exception" not in done.stderr
    if command[0] == "review":
        with open_ledger(sqlite_url(database)) as ledger:
            (row,) = [row for row in ledger.reviews.flagged(include_settled=True) if row.key == "01/aa/canary.png"]
        assert row.review.value == {"clear": "cleared", "confirm": "confirmed"}[command[1]]


def test_no_file_takes_the_place_of_a_stream_that_was_closed(database: Path, store: LocalStore) -> None:
    """The database would get the free number, and what goes to stderr would be written into it."""
    done = lemmy_safety("--all", "--debug", redirected="<&- >&- 2>&-")
    assert done.returncode == OutputFailed.exit_code
    assert store.present() == store.pictures
    assert set(states(database)) == {ActionState.DONE}
    again = lemmy_safety("db", "stats")
    assert again.returncode == 0


def test_another_failure_keeps_its_own_code(database: Path) -> None:
    """That the output was lost is the smaller news."""
    done = lemmy_safety("delete-flagged", "--yes", "no/such/key", redirected="> /dev/full")
    assert done.returncode == 50
    assert database.exists()


#: Runs ``delete-flagged --yes``; before each deletion but the first it does what stands in place of the braces.
BETWEEN_DELETIONS = """
import os, signal, sys
from lemmy_safety.storage.local import LocalStorage

real, before = LocalStorage._delete, []

def delete(self, key, expected):
    if before:
        {}
    before.append(key)
    return real(self, key, expected)

LocalStorage._delete = delete
sys.argv = ["lemmy-safety", "delete-flagged", "--yes"]
from lemmy_safety.cli import main
main()
"""


def test_who_reads_only_the_first_line_stops_nothing(database: Path, store: LocalStore, due: int) -> None:
    """``| head -1``: the reader leaves after the first deletion, and before the second begins."""
    reading, writing = os.pipe()
    held, release = os.pipe()
    code = BETWEEN_DELETIONS.format(f"os.read({held}, 1) if len(before) == 1 else None")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, pass_fds=[held])
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert b"done" in pipe.readline()
    os.write(release, b"!")
    _, said = process.communicate(timeout=60)
    os.close(held)
    os.close(release)
    assert process.returncode == OutputFailed.exit_code, said
    assert store.present() == store.pictures
    assert states(database) == [ActionState.DONE] * due


def test_a_pipe_that_another_program_made_non_blocking_loses_nothing(
    database: Path, store: LocalStore, due: int
) -> None:
    """Full for a moment is no failure: the reader takes its time, and gets all."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    while True:
        try:
            os.write(writing, b"." * 4096)
        except BlockingIOError:
            break
    process = subprocess.Popen([sys.executable, "-m", "lemmy_safety", "delete-flagged", "--yes"], stdout=writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        shown = pipe.read().lstrip(b".")
    assert process.wait(60) == 0
    assert shown.count(b"done") == due
    assert store.present() == store.pictures


def test_a_reader_that_pauses_holds_no_deletion_up(database: Path, store: LocalStore, due: int) -> None:
    """``| less``: the pipe is full from the start, and all is deleted before a line was read. Then nothing is lost."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"." * 4096)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b".")
    os.set_blocking(writing, True)
    process = subprocess.Popen([sys.executable, "-m", "lemmy_safety", "delete-flagged", "--yes"], stdout=writing)
    os.close(writing)
    until = time.monotonic() + 60
    while states(database) != [ActionState.DONE] * due and time.monotonic() < until and process.poll() is None:
        time.sleep(0.05)
    assert store.present() == store.pictures
    assert process.poll() is None
    with os.fdopen(reading, "rb") as pipe:
        shown = pipe.read().lstrip(b".")
    assert process.wait(60) == 0
    assert shown.count(b"done") == due
    assert f"{due} objects deleted".encode() in shown


def test_a_terminal_that_went_away_stops_the_deletions_cleanly(
    database: Path, store: LocalStore, due: int, command: Callable[..., subprocess.Popen[str]]
) -> None:
    """SIGHUP is the first request to stop: the deletion under way is finished and recorded, the rest stays due."""
    stopped = BETWEEN_DELETIONS.format("os.kill(os.getpid(), signal.SIGHUP) if len(before) == 1 else None")
    process = command(code=stopped, env=dict(os.environ))
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert sorted(states(database)) == sorted([*[ActionState.DONE] * 2, *[ActionState.NONE] * (due - 2)])
    assert len(store.present()) == len(store.pictures) + due - 2


def test_nohup_keeps_its_promise() -> None:
    """Where SIGHUP is ignored it stays so: the work goes on without its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert not signals.event.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("code", "ends_with"), [(0, 61), (None, 61), (62, 62), (7, 7)])
def test_lost_output_is_reported_whichever_code_wins(code, ends_with, capsys):
    """A tripped breaker keeps its code, and the reader still learns that the summary is not all there."""
    assert code_after_output(code, OSError(28, "No space left on device")) == ends_with
    assert "Not everything could be written to the output: No space left on device" in capsys.readouterr().err
    assert code_after_output(code, None) == code
