"""A SQLite database on a file system without SQLite's locks: said as that, before anything is made or damaged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

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


@pytest.fixture
def netfs(tmp_path):
    folder = tmp_path / "netfs"
    folder.mkdir()
    return folder


def started(netlocks, netfs, mode, *arguments):
    files = netfs.parent / "files"
    files.mkdir(exist_ok=True)
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
        timeout=120,
    )


DATABASE = {"a.db", "a.db-wal", "a.db-shm"}

#: What SQLite fails on. Locks that are taken and not kept let it go on; only ``doctor`` finds them.
FAILING = sorted(MODES.keys() - {"forgotten"})


@pytest.mark.parametrize("mode", FAILING)
def test_it_is_named_with_what_to_do(netlocks, netfs, mode) -> None:
    """For a new database, whatever it is that the file system lacks. No probe stays."""
    done = started(netlocks, netfs, mode, "db", "upgrade")
    assert done.returncode == LedgerNoLocks.exit_code, done.stderr
    assert MODES[mode] in done.stderr
    assert str(netfs) in done.stderr
    assert "local disk" in done.stderr
    assert "PostgreSQL" in done.stderr
    assert "another process" not in done.stderr
    assert "db upgrade" not in done.stderr
    assert {path.name for path in netfs.iterdir()} <= DATABASE


@pytest.mark.parametrize("mode", MODES)
def test_a_database_that_was_moved_there_is_left_as_it_was(netlocks, netfs, mode) -> None:
    """Also by ``doctor``, which only looks."""
    with open_ledger(sqlite_url(netfs / "a.db")) as ledger:
        record(ledger, [checked("a")])
    before = (netfs / "a.db").read_bytes()
    for command in (("db", "stats"), ("doctor", "--quick")) if mode in FAILING else (("doctor", "--quick"),):
        done = started(netlocks, netfs, mode, *command)
        assert done.returncode == LedgerNoLocks.exit_code, done.stdout + done.stderr
        said = done.stdout + done.stderr
        assert MODES[mode] in said
        assert "local disk" in said
        assert "another process" not in said
    assert {path.name for path in netfs.iterdir()} <= DATABASE
    assert (netfs / "a.db").read_bytes() == before


def test_doctor_finds_it_before_the_first_pass(netlocks, netfs) -> None:
    """There is no database yet that could be opened."""
    done = started(netlocks, netfs, "nolock", "doctor", "--quick")
    assert done.returncode == LedgerNoLocks.exit_code
    assert "local disk" in done.stdout
    assert list(netfs.iterdir()) == []


def test_a_file_system_with_locks_is_left_alone(netlocks, netfs) -> None:
    """The preload itself changes nothing, and no probe stays."""
    done = started(netlocks, netfs, "", "db", "upgrade")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in netfs.iterdir()] == ["a.db"]
