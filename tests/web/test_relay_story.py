"""Relay and worker as processes without a shared folder, killed and restarted in the middle, under the eyes of the kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.traces import files_written

_ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="processes are ended by signals here")
def test_every_upload_is_answered_and_accounted_for_and_no_picture_touches_a_disk(tmp_path) -> None:
    """The small form of ``benchmarks/relay_story.py``; it fails when anything in it does not add up."""
    traced = shutil.which("strace") is not None
    if not traced and os.environ.get("CI"):
        pytest.fail("strace is needed for this check and is not installed")
    trace = tmp_path / "trace"
    done = subprocess.run(
        [
            sys.executable, str(_ROOT / "benchmarks" / "relay_story.py"), "--uploads", "30", "--rate", "10",
            "--budget", "2", "--mirror", "0.3", *(["--trace", str(trace)] if traced else []),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything adds up" in done.stdout
    if not traced:
        pytest.skip("STRACE IS NOT INSTALLED: the check that no image byte is written did not run")
    for role in ("relay", "worker"):
        written = [path for log in trace.glob(f"{role}-*") for path in files_written(log, tmp_path / role)]
        assert {path.name for path in written} <= {f"ledger.db{end}" for end in ("", "-wal", "-shm", "-journal")}
        assert {path.parent.name for path in written} == {role}
