"""A service for a measurement: the installed command in a process of its own, with a folder that is gone afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import suite  # noqa: F401
from planted_cache import PlantedCaches, as_after_long_use
from random_weights import random_checkpoint
from support.web.pictrs_client import get

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

#: A quantised model is made at the first start.
_START_S = 1800.0
_END_S = 30.0
_LOG_LINES = 20


@contextmanager
def own_hook(options: argparse.Namespace) -> Iterator[tuple[int, int]]:
    """``lemmy-safety serve`` with the detectors of ``options`` beside ``hashes``; its port and process when it is ready."""
    names = "hashes" if options.detectors == "hashes" else f"hashes,{options.detectors}"
    settings = {"LEMMY_SAFETY_DETECTORS": names, "HOOK_BUDGET_S": str(options.budget)}
    with tempfile.TemporaryDirectory(prefix="hook.load.") as name:
        folder = Path(name)
        if options.detectors == "clip":
            settings |= _clip_settings(folder / "cache", options)
            with _started(folder, settings):
                pass  # it measures how far its screen is off, and remembers
            as_after_long_use(folder / "cache")
        with _started(folder, settings) as running:
            yield running


def _clip_settings(cache: Path, options: argparse.Namespace) -> dict[str, str]:
    """Settings for the full-size model with random weights, and words that no picture resembles: nothing is flagged."""
    weights = random_checkpoint(options.work, options.seed)
    caches = PlantedCaches(options.work, weights, device="cpu", screen=options.screen)
    caches.fill(cache, caches.unlike_anything(options.seed))
    return {"CLIP_WEIGHTS": str(weights), "CACHE_DIR": str(cache), "CLIP_SCREEN": options.screen}


@contextmanager
def _started(folder: Path, settings: dict[str, str]) -> Iterator[tuple[int, int]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    inherited = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    log = folder / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "lemmy_safety", "serve"],
            cwd=folder,
            env={**inherited, "HOME": str(folder), "HOOK_PORT": str(port), **settings},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_ready(process, port, log)
        yield port, process.pid
        process.send_signal(signal.SIGTERM)
        process.wait(_END_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    pause, deadline = threading.Event(), time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if get(port, "/ready").status == 200:
                return
        except OSError:
            pass
        pause.wait(0.5)
    sys.exit("The service does not get ready:\n" + "\n".join(log.read_text().splitlines()[-_LOG_LINES:]))
