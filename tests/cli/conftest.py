"""Calling the command line in this process and in one of its own, on a small local store."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from support.needs import needs

from lemmy_safety.cli.app import app
from lemmy_safety.cli.demo.pictures import encoded, sample_pictures, thumbnail
from lemmy_safety.detectors.hashes.canary import canary_image, canary_png

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from click.testing import Result

#: What a process needs to run at all; everything else of the surrounding environment stays out.
_KEPT = ("PATH", "HOME", "SYSTEMROOT", "TEMP", "TMP", "USERPROFILE", "PYTHONPATH", "LANG")

LONG_AGO_S = 3600


@dataclass(frozen=True)
class LocalStore:
    """A pict-rs files folder with three harmless pictures and the canary under two keys."""

    folder: Path
    canaries: frozenset[str] = frozenset({"01/aa/canary.png", "01/bb/canary thumbnail.webp"})
    pictures: frozenset[str] = frozenset({"01/aa/0.webp", "01/bb/1.jpeg", "2/0/legacy"})

    def present(self) -> frozenset[str]:
        """What lies in the folder now."""
        return frozenset(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())

    def put(self, key: str, data: bytes) -> None:
        """Write an object that has been complete for an hour."""
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        moment = time.time() - LONG_AGO_S
        os.utime(path, (moment, moment))


@pytest.fixture(autouse=True)
def _levels_as_before() -> Iterator[None]:
    """The command sets up logging for its process; in this one it must not stay so for the tests that follow."""
    before = {logger: logger.level for logger in _loggers()}
    handlers = logging.root.handlers[:]
    of_threads = threading.excepthook  # pytest's own, which makes an error in a thread a failure
    yield
    threading.excepthook = of_threads
    for logger in _loggers():
        level = before.get(logger, logging.NOTSET)
        if logger.level != level:  # each setting empties the caches of all loggers, and there may be a thousand
            logger.setLevel(level)
    logging.root.handlers[:] = handlers
    logging.captureWarnings(capture=False)


def _loggers() -> Iterator[logging.Logger]:
    yield logging.root
    yield from (item for item in logging.root.manager.loggerDict.values() if isinstance(item, logging.Logger))


@pytest.fixture
def call() -> Callable[..., Result]:
    """Run ``lemmy-safety`` in this process."""

    def run(*args: str, stdin: str | bytes | None = None, env: dict[str, str] | None = None) -> Result:
        return CliRunner().invoke(app, args, input=stdin, env=env)

    return run


@pytest.fixture
def command() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``lemmy-safety`` as a process of its own, its output piped; killed at the end if it still runs."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: str, env: dict[str, str] | None = None, code: str | None = None) -> subprocess.Popen[str]:
        program = ["-c", code] if code else ["-m", "lemmy_safety", *args]
        clean = {name: os.environ[name] for name in _KEPT if name in os.environ}
        process = subprocess.Popen(
            [sys.executable, *program],
            env=clean | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
@needs("process")  # those that decode its pictures
def store(tmp_path, monkeypatch) -> LocalStore:
    """A small local store, chosen by the environment, judged by hashes alone."""
    made = LocalStore(tmp_path / "files")
    for (_, data), key in zip(sample_pictures(len(made.pictures)), sorted(made.pictures), strict=True):
        made.put(key, data)
    made.put("01/aa/canary.png", canary_png())
    made.put("01/bb/canary thumbnail.webp", encoded(thumbnail(canary_image(), 256), "WEBP", quality=50))
    monkeypatch.setenv("PICTRS_FILES_DIRECTORY", str(made.folder))
    monkeypatch.setenv("DETECTORS", "hashes")
    return made
