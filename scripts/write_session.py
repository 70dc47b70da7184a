"""Rewrite the terminal session in README.md: run its commands on the demo's sample store and keep what they print.

``make docs`` does this when the output has changed; ``tests/project/test_readme.py`` fails until then.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from lemmy_safety.cli.demo.store import build_store

README = Path(__file__).resolve().parent.parent / "README.md"

#: The code block in README.md whose lines after "$ " are the commands, and whose other lines are their output.
SESSION = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)

#: What any process needs; all other variables stay out, so that no setting of the person at the keyboard counts.
_INHERITED = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH")

#: The detectors of ``lemmy-safety demo``: their models need no download.
_SETTINGS = {"PICTRS_FILES_DIRECTORY": "files", "DETECTORS": "hashes,nudenet"}

_PATIENCE_S = 120

_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")
_KEY = re.compile(r"\b[0-9a-f]{2}/(?:[0-9a-f]{2}/)+[0-9a-f]+")
_MEASURED = re.compile(r"\d[\d.,]*(?= (?:[a-z]+/s|s|min|h|bytes|[kMGT]B)\b)")


def shown() -> str:
    """The session that README.md shows."""
    found = SESSION.findall(README.read_text(encoding="utf-8"))
    if len(found) != 1:
        raise ValueError(f"README.md has {len(found)} console blocks; the session must be the only one.")
    return str(found[0])


def rerun(session: str) -> str:
    """The same commands on a new sample store, with what they print on stdout now."""
    with tempfile.TemporaryDirectory(prefix="lemmy-safety-session-") as name:
        folder = Path(name)
        build_store(folder / "files")
        commands = [line for line in session.splitlines() if line.startswith("$ ")]
        return "".join(f"{line}\n{call(line.removeprefix('$ '), folder)}\n" for line in commands).rstrip("\n") + "\n"


def call(command: str, folder: Path) -> str:
    """What a ``lemmy-safety`` command prints on stdout, run in ``folder``, where the sample store is in ``files``.

    :raises RuntimeError: it did not end with 0; the message has all that it printed.
    """
    program, *arguments = shlex.split(command)
    if program != "lemmy-safety":
        raise ValueError(f"Only lemmy-safety is run: {command}")
    inherited = {variable: os.environ[variable] for variable in _INHERITED if variable in os.environ}
    done = subprocess.run(  # noqa: S603 - our own program, with arguments from our own README
        [sys.executable, "-m", "lemmy_safety", *arguments],
        cwd=folder,
        env=inherited | _SETTINGS | {"HOME": str(folder), "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=_PATIENCE_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def masked(session: str) -> str:
    """The session without what differs from run to run: times, speeds, keys made from times, the order of objects."""
    text = _TIME.sub("0000-00-00 00:00", session)
    text = _KEY.sub(lambda match: re.sub("[0-9a-f]", "0", match[0]), text)
    text = _MEASURED.sub("0", text)
    lines = text.splitlines()
    rows = iter(sorted(line for line in lines if line.startswith("0000-")))
    return "\n".join(next(rows) if line.startswith("0000-") else line for line in lines)


def main() -> None:
    old = shown()
    new = rerun(old)
    if masked(new) == masked(old):
        print("README.md: the session is up to date")
        return
    text = README.read_text(encoding="utf-8")
    README.write_text(SESSION.sub(lambda _: new, text), encoding="utf-8", newline="\n")
    print("README.md")


if __name__ == "__main__":
    main()
