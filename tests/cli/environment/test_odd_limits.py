"""Limits and variables that are set for something else and get in our way: named as what they are."""

from __future__ import annotations

import sys

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file's size")
@pytest.mark.parametrize("args", [["--all", "--dry-run"], ["doctor", "--quick"]], ids=" ".join)
def test_a_limit_on_the_size_of_files_is_not_taken_for_a_bad_file_system(command, store, tmp_path, args):
    """``ulimit -f`` in a shell, ``LimitFSIZE=`` in a unit: SQLite calls it a disk I/O error."""
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_480, resource.RLIM_INFINITY))\n"
        f"sys.argv[1:] = {args!r}\n"
        "from lemmy_safety.cli import main\n"
        "main()\n"
    )
    # Python itself would cut the bytecode of our modules short, and other tests would meet it.
    env = {"PICTRS_FILES_DIRECTORY": str(store.folder), "DETECTORS": "hashes", "PYTHONDONTWRITEBYTECODE": "1"}
    process = command(code=code, env=env | {"SQLITE_FILENAME": str(tmp_path / "new.db")})
    out, errors = process.communicate(timeout=60)
    assert "No file of this process may be longer than 20,480 bytes" in out + errors
    assert "ulimit -f" in out + errors
    assert process.returncode == 54


def test_a_file_for_session_keys_is_not_taken_for_certificates(command, tmp_path):
    """Debuggers set SSLKEYLOGFILE for a whole session."""
    env = {
        "SSLKEYLOGFILE": str(tmp_path / "gone" / "keys"),
        "PICTRS_SAFETY_URL": "https://relay.invalid",
        "PICTRS_SAFETY_APIKEY": "a key of some length",
        "DETECTORS": "hashes",
        "SQLITE_FILENAME": str(tmp_path / "new.db"),
    }
    process = command("worker", env=env)
    _, errors = process.communicate(timeout=60)
    assert "SSLKEYLOGFILE names the file" in errors
    assert "SSL_CERT_FILE" not in errors
    assert process.returncode == 3
