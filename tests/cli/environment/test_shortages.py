"""Too little memory, too few files or threads: the message names what ran out and how to give more, and is no bug."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from lemmy_safety.cli.checks.process_limits import too_few_files, too_few_threads
from lemmy_safety.cli.output.failures import BUG, present
from lemmy_safety.cli.output.redaction import Redaction
from lemmy_safety.errors import LemmySafetyError, StorageUnreachable, WorkerDied
from lemmy_safety.shortages import shortage

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds processes to such limits")


def _limited(limit: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f'ulimit {limit}; exec "$@"', "sh", sys.executable, "-m", "lemmy_safety", *arguments],
        capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@linux_only
@pytest.mark.parametrize("kilobytes", [200_000, 350_000, 524_288])
def test_little_memory_is_named(store, kilobytes) -> None:
    """A sweep either works or says what is missing; 512 MB are too little for its threads."""
    result = _limited(f"-v {kilobytes}", "--all", "--dry-run")
    if result.stderr.startswith("OpenBLAS error: Memory allocation"):
        return  # numpy's library has ended the process by itself, and said what it lacked
    assert result.returncode != BUG
    assert "bug" not in result.stderr
    assert result.returncode == 0 or "ulimit" in result.stderr, result.stderr


@linux_only
@pytest.mark.parametrize("files", [8, 14, 24])
def test_few_files_are_named(store, files) -> None:
    """Objects that could not be read for that reason are left to a later pass, or the sweep ends and says why."""
    for number in range(40):
        store.put(f"01/cc/{number}", b"no picture")
    result = _limited(f"-n {files}", "--all", "--dry-run", "--threads", "16")
    assert result.returncode != BUG, result.stderr
    assert "bug" not in result.stderr
    assert result.returncode == 0 or "ulimit -n" in result.stderr, result.stderr


@linux_only
@pytest.mark.parametrize("files", [6, 7, 8, 9, 10, 12, 16])
def test_few_files_are_not_taken_for_a_fault_of_the_database(store, files) -> None:
    """Migrations that cannot be listed made it one of a newer version, and a file that cannot be opened one without rights."""
    assert _limited("-n 1024", "--all", "--dry-run").returncode == 0
    result = _limited(f"-n {files}", "--all", "--dry-run")
    assert "newer" not in result.stderr
    assert "permission" not in result.stderr
    assert result.returncode in (0, 11, 25, 50, 70), result.stderr
    assert result.returncode in (0, 25) or "ulimit -n" in result.stderr, result.stderr


@linux_only
@pytest.mark.parametrize("limit", ["-n 6", "-n 8", "-n 32", "-v 120000", "-v 200000", "-v 300000", "-v 512000"])
def test_doctor_names_a_limit_that_is_too_low_for_a_pass(store, limit) -> None:
    """Also one that is high enough for doctor itself; what it says of anything else has the same fix."""
    result = _limited(limit, "doctor", "--quick", "--json")
    if result.stderr.startswith("OpenBLAS error: Memory allocation"):
        return  # as above
    assert "Traceback" not in result.stderr
    assert "bug" not in result.stderr
    assert result.returncode == WorkerDied.exit_code
    if result.stderr:  # not enough even to begin with the checks
        assert result.stderr.count("error:") == 1
        assert "ulimit" in result.stderr
        return
    faults = [check for check in json.loads(result.stdout)["checks"] if check["ok"] is False]
    assert faults
    assert all("ulimit" in fault["fix"] for fault in faults), faults


@linux_only
@pytest.mark.parametrize("kilobytes", [25_000, 30_000])
def test_too_little_memory_to_load_the_program_is_named(kilobytes) -> None:
    """Before there is a command line that could say it; with less Python itself does not begin."""
    result = _limited(f"-v {kilobytes}", "--version")
    assert result.returncode in (0, WorkerDied.exit_code) or "app import app" not in result.stderr, result.stderr
    assert result.returncode != WorkerDied.exit_code or result.stderr.startswith(
        "error: There is not enough memory.\nfix: "
    )


def test_usual_limits_are_enough_for_a_pass() -> None:
    """Nothing is said."""
    assert [limit(threads=10, decoders=2) for limit in (too_few_files, too_few_threads)] == [None, None]


@linux_only
@pytest.mark.parametrize(("threads", "faults"), [(10, []), (80, ["open files"])])
def test_more_threads_want_more_files(store, monkeypatch, threads, faults) -> None:
    """The limit is compared with what these settings take."""
    monkeypatch.setenv("LEMMY_SAFETY_THREADS", str(threads))
    monkeypatch.setenv("LEMMY_SAFETY_DECODE_WORKERS", "2")
    result = _limited("-n 128", "doctor", "--quick", "--json")
    assert [check["name"] for check in json.loads(result.stdout)["checks"] if check["ok"] is False] == faults
    assert result.returncode == (WorkerDied.exit_code if faults else 0)


@pytest.mark.parametrize(
    ("cause", "named"),
    [
        (MemoryError(), "memory"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "memory"),
        (ImportError("libx.so: failed to map segment from shared object"), "memory"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "files"),
        (OSError(errno.ENFILE, os.strerror(errno.ENFILE)), "files"),
        (RuntimeError("can't start new thread"), "threads"),
    ],
)
@pytest.mark.parametrize("outer", [None, StorageUnreachable("x: no."), WorkerDied("No decoding process.")])
def test_a_shortage_is_told_whatever_it_was_translated_to(capsys, cause, named, outer) -> None:
    """The hint of the translated error would send an admin elsewhere; its code and its message stay."""
    error = cause
    if outer is not None:
        error = outer
        error.__cause__ = cause
    code = present(error, debug=False, redaction=Redaction())
    said = capsys.readouterr().err
    assert code == (outer.exit_code if outer is not None else WorkerDied.exit_code)
    assert named in said
    assert "ulimit" in said
    assert "bug" not in said
    assert "disk is mounted" not in said


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError(errno.ENOENT, "x"), RuntimeError("x"), LemmySafetyError("x")]
)
def test_other_faults_are_none(error) -> None:
    """They keep their own words."""
    assert shortage(error) is None
