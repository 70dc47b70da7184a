"""``lemmy-safety env-example``: what a person needs who has only an installed package."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from lemmy_safety.errors import ActionRefused, SettingsError
from lemmy_safety.settings import env_example


@pytest.mark.parametrize("args", [[], ["-o", "-"]])
def test_the_template_is_printed(call, args):
    """As text, to be looked through or sent elsewhere."""
    result = call("env-example", *args)
    assert result.exit_code == 0
    assert result.stdout_bytes == env_example().encode()


def test_a_settings_file_is_made_that_only_its_owner_reads(call, tmp_path):
    """Keys and passwords come into it, whatever the umask allows."""
    before = os.umask(0)
    try:
        assert call("env-example", "-o", ".env").exit_code == 0
    finally:
        os.umask(before)
    assert (tmp_path / ".env").read_bytes() == env_example().encode()
    if os.name != "nt":
        assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_settings_that_exist_are_never_overwritten(call, tmp_path):
    """They may have a key that is written down nowhere else."""
    (tmp_path / "mine").write_text("PICTRS_BUCKET=x\n")
    assert call("env-example", "-o", "mine").exit_code == ActionRefused.exit_code
    assert (tmp_path / "mine").read_text() == "PICTRS_BUCKET=x\n"


def test_a_place_that_cannot_be_written_is_one_clear_line(call):
    """With what the system says of it."""
    result = call("env-example", "-o", "missing/.env")
    assert result.exit_code == SettingsError.exit_code
    assert "missing/.env cannot be written: No such file or directory" in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
def test_a_template_that_a_full_disk_cuts_is_not_left_behind(tmp_path):
    """The next try would find it, and refuse to overwrite what might be settings."""
    limited = 'ulimit -f 4; exec "$0" -m lemmy_safety env-example -o .env'
    ended = subprocess.run(
        ["bash", "-c", limited, sys.executable], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == SettingsError.exit_code, ended.stderr
    assert "cannot be written: File too large" in ended.stderr
    assert not (tmp_path / ".env").exists()


def test_it_works_beside_settings_that_are_wrong(call, tmp_path):
    """A template is what helps then."""
    (tmp_path / ".env").write_text("LEMMY_SAFETY_NONSENSE=1\n")
    assert call("env-example").exit_code == 0
