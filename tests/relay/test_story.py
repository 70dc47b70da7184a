"""Relay and worker as processes without a shared folder, killed and restarted in the middle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform == "win32", reason="processes are ended by signals here")
def test_every_upload_is_answered_and_accounted_for(tmp_path) -> None:
    """The small form of ``evaluation/relay_story.py``; it fails when anything in it does not add up.

    That neither writes a picture to a disk, ``e2e/test_memory_only.py`` holds.
    """
    done = subprocess.run(
        [
            sys.executable, str(_ROOT / "evaluation" / "relay_story.py"), "--uploads", "30", "--rate", "15",
            "--budget", "2", "--mirror", "0.3",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything adds up" in done.stdout
