"""A named pipe in the place of a file: opening it would wait until another program writes, perhaps for ever."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lemmy_safety.errors import HostKeyUnknown, PrivateKeyError
from lemmy_safety.storage.ssh import key_files, known_hosts

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows keeps its pipes elsewhere")

SSH = {"SSH_HOSTNAME": "127.0.0.1", "SSH_PORT": "9", "SSH_USERNAME": "pictrs", "PICTRS_FILES_DIRECTORY": "/files"}


def _said(command, *args, env):
    process = command(*args, env=env)
    out, errors = process.communicate(timeout=60)
    return process.returncode, out + errors


@pytest.mark.parametrize("args", [("--all", "--dry-run"), ("doctor", "--quick"), ("--help",)], ids=" ".join)
def test_a_settings_file_that_is_a_pipe_is_named_at_once(command, tmp_path, args):
    """It is the first file that any command opens, before a signal to stop is heeded; help needs none."""
    pipe = tmp_path / "settings"
    os.mkfifo(pipe)
    code, said = _said(command, "--env-file", str(pipe), *args, env={"PICTRS_FILES_DIRECTORY": str(tmp_path)})
    if args == ("--help",):
        assert code == 0
    else:
        assert code == 3
        assert f"The settings file {pipe} cannot be read: it is a named pipe, not a file." in said


@pytest.mark.parametrize("name", ["HASH_LIST", "SSH_CONFIG"])
def test_other_files_that_are_pipes_are_named_too(command, tmp_path, name):
    """Each by its setting."""
    pipe, key = tmp_path / "pipe", tmp_path / "key"
    os.mkfifo(pipe)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    env = {"DETECTORS": "hashes", "SQLITE_FILENAME": str(tmp_path / "new.db")}
    env |= {"PICTRS_FILES_DIRECTORY": str(tmp_path)} if name == "HASH_LIST" else {**SSH, "SSH_PRIVKEY": str(key)}
    code, said = _said(command, "--all", "--dry-run", env=env | {name: str(pipe)})
    assert code not in (0, 1)
    assert "it is a named pipe, not a file" in said
    assert name in said


def test_files_that_are_read_when_a_server_has_answered_are_not_waited_for(tmp_path):
    """The key, and the known hosts."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(PrivateKeyError, match="named pipe"):
        key_files._read(pipe)
    with pytest.raises(HostKeyUnknown, match="named pipe"):
        known_hosts._text(pipe)


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no file names for open pipes here")
def test_settings_that_another_program_writes_are_read(tmp_path):
    """``--env-file <(sops -d .env)``: a pipe too, which the shell made and which has a writer."""
    (tmp_path / "files").mkdir()
    settings = shlex.quote(f"PICTRS_FILES_DIRECTORY={tmp_path / 'files'}")
    run = f"{shlex.quote(sys.executable)} -m lemmy_safety --env-file <(echo {settings}) db version"
    done = subprocess.run(
        ["bash", "-c", run],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "named pipe" not in done.stderr
    assert done.returncode in (0, 50, 51)
