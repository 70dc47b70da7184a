"""Standard streams that are closed before the program begins (``<&-``, ``>&-``, ``2>&-``), for every command."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest

from lemmy_safety.cli.app import app
from lemmy_safety.errors import OutputFailed

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a POSIX shell closes the streams")


def _paths(group, before=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _paths(command, (*before, name))
        else:
            yield (*before, name)


#: Every command there is, so that a new one is tried as well.
COMMANDS = [("--all", "--dry-run"), *_paths(app)]

#: What a command needs on its line, and those that are services and would wait: they are asked for their help.
ARGUMENTS = {
    ("review", "clear"): ("KEY",),
    ("review", "confirm"): ("KEY",),
    ("picture",): ("a.png",),
    ("completion",): ("bash",),
    ("canary",): ("-o", "-"),
    ("doctor",): ("--quick",),
    ("demo",): ("--help",),
    ("serve",): ("--help",),
    ("worker",): ("--help",),
}

#: The rest of the line that closes them, and whether the loss of output is a failure.
CLOSED = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_closed_stream_is_no_bug_in_any_command(store, tmp_path, path):
    """The same exit code as with streams, or that of lost output; no traceback, and the database is unharmed by it."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "PICTRS_FILES_DIRECTORY": str(store.folder),
        "DETECTORS": "hashes",
        "SQLITE_FILENAME": str(tmp_path / "closed.db"),
        "HOME": str(tmp_path),
    }
    line = [sys.executable, "-m", "lemmy_safety", *path, *ARGUMENTS.get(path, ())]

    def run(redirections):
        shell = ["sh", "-c", f'exec "$@" {redirections}', "sh", *line]
        return subprocess.run(
            shell,
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )

    with_streams = run("").returncode
    for closed in CLOSED:
        ended = run(closed)
        assert b"Traceback" not in ended.stderr + ended.stdout
        assert b"this is a bug" not in ended.stderr.lower()
        lost = {OutputFailed.exit_code} if ">&-" in closed else set()
        assert ended.returncode in {with_streams} | lost, (closed, ended)
