"""What the kernel saw of a program: which files it opened for writing, created or renamed."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import psutil
import pytest

_CALLS = "open,openat,openat2,creat,rename,renameat,renameat2,link,linkat,memfd_create"
_CALL = re.compile(r'^(?:\d+ +)?(?P<call>\w+)\((?:(?:AT_FDCWD|\d+), )?"(?P<path>[^"]*)"(?P<rest>.*)')
_CREATES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT")


def strace_or_skip() -> None:
    """Skip, loudly, where there is no strace; in CI that is a failure."""
    if shutil.which("strace") is None:
        if os.environ.get("CI"):
            pytest.fail("strace is needed for this check and is not installed")
        pytest.skip("STRACE IS NOT INSTALLED: the check that no image byte is written did not run")


def traced(output: Path) -> tuple[str, ...]:
    """What to put before a command, so that all of its processes are watched and what they do is in ``output``."""
    return ("strace", "-f", "-s", "4096", "-e", f"trace={_CALLS}", "-o", str(output))


def files_written(trace: Path, folder: Path) -> set[Path]:
    """Files outside /dev and /proc that were opened for writing, created or renamed by a program that began in ``folder``."""
    found = (_CALL.match(line) for line in trace.read_text(errors="replace").splitlines())
    written = {
        Path(one["path"])
        for one in found
        if one and (not one["call"].startswith("open") or _CREATES.search(one["rest"])) and "ENOENT" not in one["rest"]
    }
    assert written, "the trace must show at least the database"
    outside = {path for path in written if not path.is_relative_to("/dev") and not path.is_relative_to("/proc")}
    return {path if path.is_absolute() else folder / path for path in outside}


def traced_program(tracer: int) -> psutil.Process:
    """The program itself, to be sent signals: strace does not pass them on."""
    return psutil.Process(tracer).children()[0]
