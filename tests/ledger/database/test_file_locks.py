"""A SQLite database on a file system without SQLite's locks: said as that, before anything is made or damaged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from support.ledger.results import checked, record

from lemmy_safety.errors import LedgerNoLocks
from lemmy_safety.ledger import open_ledger, sqlite_url

SOURCE = Path(__file__).parents[2] / "support" / "ledger" / "netlocks.c"

MODES = {
    "busy": "refuses locks",
    "nolock": "refuses locks",
    "unsupported": "refuses locks",
    "noshm": "no shared memory",
    "forgotten": "does not keep them",
}

DATABASE = {"a.db", "a.db-wal", "a.db-shm"}

#: What SQLite fails on. Locks that are taken and not kept let it go on; only ``doctor`` finds them.
FAILING = sorted(MODES.keys() - {"forgotten"})

UPGRADE, STATS, DOCTOR = ("db", "upgrade"), ("db", "stats"), ("doctor", "--quick")

#: The mode, whether there is a database that was moved there, and the command.
CASES = [
    *((mode, False, UPGRADE) for mode in FAILING),
    *((mode, True, command) for mode in MODES for command in (STATS, DOCTOR) if mode in FAILING or command == DOCTOR),
    ("nolock", False, DOCTOR),
    ("", False, UPGRADE),
]


class Asked(NamedTuple):
    netfs: Path
    before: bytes
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def netlocks(tmp_path_factory):
    """Our own preload: such mounts need a kernel module, a server or root, which test machines do not have."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        message = "NOT TESTED WITHOUT LOCKS: this needs Linux and a C compiler"
        if os.environ.get("CI") and sys.platform.startswith("linux"):
            pytest.fail(message)
        pytest.skip(message)
    made = tmp_path_factory.mktemp("preload") / "netlocks.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, SOURCE, "-ldl"], check=True)
    return made


@pytest.fixture(scope="module")
def asked(netlocks, tmp_path_factory):
    """Ask a command in a folder without locks. All are begun at once: where SQLite waits for a lock, that is 10 s each."""

    def ask(case):
        mode, filled, arguments = case
        netfs = tmp_path_factory.mktemp("case") / "netfs"
        netfs.mkdir()
        if filled:
            with open_ledger(sqlite_url(netfs / "a.db")) as ledger:
                record(ledger, [checked("a")])
        before = bytes_of(netfs)
        return Asked(netfs, before, started(netlocks, netfs, mode, *arguments))

    with ThreadPoolExecutor(len(CASES)) as threads:
        yield dict(zip(CASES, threads.map(ask, CASES), strict=True)).__getitem__


def bytes_of(netfs):
    return (netfs / "a.db").read_bytes() if (netfs / "a.db").exists() else b""


def started(netlocks, netfs, mode, *arguments):
    files = netfs.parent / "files"
    files.mkdir()
    environment = {
        **os.environ,
        "LD_PRELOAD": str(netlocks),
        "LOCKS": mode,
        "SQLITE_FILENAME": str(netfs / "a.db"),
        "PICTRS_FILES_DIRECTORY": str(files),
        "DETECTORS": "hashes",
    }
    return subprocess.run(
        [sys.executable, "-m", "lemmy_safety", *arguments],
        env=environment,
        cwd=netfs.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.mark.parametrize("mode", FAILING)
def test_it_is_named_with_what_to_do(asked, mode) -> None:
    """For a new database, whatever it is that the file system lacks. No probe stays."""
    netfs, _, done = asked((mode, False, UPGRADE))
    assert done.returncode == LedgerNoLocks.exit_code, done.stderr
    assert MODES[mode] in done.stderr
    assert str(netfs) in done.stderr
    assert "local disk" in done.stderr
    assert "PostgreSQL" in done.stderr
    assert "another process" not in done.stderr
    assert "db upgrade" not in done.stderr
    assert {path.name for path in netfs.iterdir()} <= DATABASE


@pytest.mark.parametrize(("mode", "command"), [(mode, command) for mode, filled, command in CASES if filled])
def test_a_database_that_was_moved_there_is_left_as_it_was(asked, mode, command) -> None:
    """Also by ``doctor``, which only looks."""
    netfs, before, done = asked((mode, True, command))
    assert done.returncode == LedgerNoLocks.exit_code, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert MODES[mode] in said
    assert "local disk" in said
    assert "another process" not in said
    assert {path.name for path in netfs.iterdir()} <= DATABASE
    assert bytes_of(netfs) == before != b""


def test_doctor_finds_it_before_the_first_pass(asked) -> None:
    """There is no database yet that could be opened."""
    netfs, _, done = asked(("nolock", False, DOCTOR))
    assert done.returncode == LedgerNoLocks.exit_code
    assert "local disk" in done.stdout
    assert list(netfs.iterdir()) == []


def test_a_file_system_with_locks_is_left_alone(asked) -> None:
    """The preload itself changes nothing, and no probe stays."""
    netfs, _, done = asked(("", False, UPGRADE))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in netfs.iterdir()] == ["a.db"]
