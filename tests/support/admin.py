"""An admin at a shell: the installed command in its own process, with an environment of nothing but what is given."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.servers.base import free_port as free_port  # noqa: PLC0414 - tests of commands take both from here

if TYPE_CHECKING:
    from pathlib import Path

#: What a process needs of the machine and nothing that could configure us.
_INHERITED = ("PATH", "SYSTEMROOT", "TMPDIR", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")

PATIENCE_S = 120.0

#: What was started and may be left of a test that failed.
_started: list[subprocess.Popen[str]] = []


@dataclass
class Admin:
    """Works in ``folder`` (where .env and the database are) with ``env`` on top of a bare environment."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()

    def command(self, *args: str) -> list[str]:
        return [*self.prefix, sys.executable, "-m", "lemmy_safety", *args]

    def environment(self) -> dict[str, str]:
        bare = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return {**bare, "HOME": str(self.folder), "PYTHONWARNINGS": "default", **self.env}

    def run(self, *args: str, code: int | None = 0, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and check its exit code (None: any)."""
        done = subprocess.run(
            self.command(*args),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=more.pop("timeout", PATIENCE_S),
            check=False,
            stdin=subprocess.DEVNULL,
            **more,
        )
        if code is not None and done.returncode != code:
            raise AssertionError(f"{args} ended with {done.returncode}, not {code}:\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *args: str, code: int = 0) -> Any:
        return json.loads(self.run(*args, "--json", code=code).stdout)

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Start a command and leave it running; its log goes to ``admin.log`` in the folder."""
        with (self.folder / "admin.log").open("a") as log:
            process = subprocess.Popen(
                self.command(*args),
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        _started.append(process)
        return process

    def log(self) -> str:
        path = self.folder / "admin.log"
        return path.read_text() if path.exists() else ""


def stop(process: subprocess.Popen[str], *, number: int = signal.SIGTERM) -> tuple[int, float]:
    """Ask a process to stop; returns its exit code and the seconds that took."""
    asked = time.monotonic()
    process.send_signal(number)
    code = process.wait(PATIENCE_S)
    return code, time.monotonic() - asked


def kill_the_rest() -> None:
    """What still runs of all that was started, lest it takes the processor from later tests."""
    while _started:
        process = _started.pop()
        process.kill()
        process.wait(PATIENCE_S)


def eventually(true: Any, what: str, *, patience_s: float = PATIENCE_S, process: Any = None) -> None:
    """Wait until ``true()``; fails with ``what`` when that takes too long or the process has ended."""
    deadline = time.monotonic() + patience_s
    while not true():
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the process ended with {process.returncode} before: {what}")
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience_s:.0f} s: {what}")
        time.sleep(0.1)  # a poll from outside: the other process offers no event to wait on
