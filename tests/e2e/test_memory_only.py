"""The first promise: no image byte is written to the scanning machine."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from pathlib import Path

import pytest
from support.admin import Admin
from support.corpus import sample_pictures
from support.passes import put

from lemmy_safety.detectors.canary import canary_png

_CALL = re.compile(r'^(?:\d+ +)?(?P<call>\w+)\((?:AT_FDCWD, )?"(?P<path>[^"]*)"(?P<rest>.*)')
_CREATES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT")


@pytest.mark.slow
def test_a_sweep_writes_its_database_and_nothing_else(tmp_path):
    """Every file that a sweep opens for writing, creates or renames, seen by the kernel, is the ledger's."""
    if shutil.which("strace") is None:
        if os.environ.get("CI"):
            pytest.fail("strace is needed for this check and is not installed")
        pytest.skip("STRACE IS NOT INSTALLED: the check that no image byte is written did not run")
    root, work, trace = tmp_path / "files", tmp_path / "work", tmp_path / "trace"
    work.mkdir()
    for key, data in sample_pictures(40, seed=3):
        put(root, key, data)
    put(root, "2/0/1/canary", canary_png())
    detectors = "hashes,nudenet" if importlib.util.find_spec("nudenet") else "hashes"
    admin = Admin(
        work,
        {"PICTRS_FILES_DIRECTORY": str(root), "LEMMY_SAFETY_DETECTORS": detectors, "PYTHONDONTWRITEBYTECODE": "1"},
        prefix=(
            "strace",
            "-f",
            "-s",
            "4096",
            "-e",
            "trace=open,openat,creat,rename,renameat,renameat2,memfd_create",
            "-o",
            str(trace),
        ),
    )
    summary = admin.json("--all", "--dry-run")
    assert (summary["checked"], summary["flagged"]) == (41, 1)
    written = {
        Path(found["path"])
        for line in trace.read_text(errors="replace").splitlines()
        if (found := _CALL.match(line))
        and (not found["call"].startswith("open") or _CREATES.search(found["rest"]))
        and "ENOENT" not in found["rest"]
    }
    assert written, "the trace must show at least the database"
    ours = {path for path in written if not path.is_relative_to("/dev") and not path.is_relative_to("/proc")}
    ours = {path if path.is_absolute() else work / path for path in ours}
    assert {path.name for path in ours} <= {f"lemmy_safety.db{end}" for end in ("", "-wal", "-shm", "-journal")}
    assert {path.parent for path in ours} == {work}
