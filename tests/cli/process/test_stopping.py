"""One signal is enough, whatever the main thread is doing when it comes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from lemmy_safety.ledger import DAEMON, open_ledger, sqlite_url
from lemmy_safety.storage.local import LocalStorage

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are sent by number here")

BUSY = {
    "native code that does not return": "hashlib.pbkdf2_hmac('sha256', b'x', b'y', 2_000_000_000)",
    "native code that takes turns": "[hashlib.pbkdf2_hmac('sha256', b'x', b'y', 30_000_000) for _ in range(99)]",
    "a wait for the network": "pair = socket.socketpair(); select.select([pair[0]], [], [], 600)",
    "a lock": "threading.Lock().acquire() and threading.Event().wait(600)",
}

PROGRAM = """
import hashlib, os, select, socket, sys, threading, time
from lemmy_safety.cli.process.stopping import StopSignals
with StopSignals(exit_code=7) as signals:
    threading.Thread(target=lambda: (signals.event.wait(), os.write(1, b"asked\\n")), daemon=True).start()
    os.write(1, b"busy\\n")
    {busy}
"""


def start(busy: str) -> subprocess.Popen[bytes]:
    program = PROGRAM.format(busy=busy)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"busy\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("busy", BUSY.values(), ids=BUSY)
def test_one_signal_asks_at_once_and_ends_what_hangs(busy, number):
    """The other threads learn of it at once; what does not end by itself is ended within five seconds."""
    with start(busy) as process:
        began = time.monotonic()
        process.send_signal(number)
        assert process.stdout.readline() == b"asked\n"
        assert time.monotonic() - began < 2
        assert process.wait(20) == 7
        assert time.monotonic() - began < 8
        assert process.stderr.read().count(b"Stopping") == 1


@pytest.mark.parametrize("busy", BUSY.values(), ids=BUSY)
def test_a_second_signal_ends_at_once(busy):
    """Also where Python has had no chance to run a handler for the first."""
    with start(busy) as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"asked\n"
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert time.monotonic() - began < 2


def test_no_moment_loses_a_signal():
    """One that comes just before the main thread begins to wait was left until something else woke that thread."""
    for _ in range(20):
        with start(BUSY["a wait for the network"]) as process:
            began = time.monotonic()
            time.sleep(random.uniform(0, 0.002))  # the moment is what varies
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == b"asked\n"
            assert time.monotonic() - began < 2
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_waits_for_the_daemon_is_interrupted(command, store, tmp_path, number):
    """It did not fail because another pass has the storage: it was asked to stop before its turn came."""
    database = tmp_path / "waiting.db"
    storage = LocalStorage(store.folder)
    with open_ledger(sqlite_url(database)) as ledger, ledger.passes.lease(storage.name, DAEMON):
        process = command(
            "--all",
            env={
                "PICTRS_FILES_DIRECTORY": str(store.folder),
                "DETECTORS": "hashes",
                "SQLITE_FILENAME": str(database),
            },
        )
        for line in process.stderr:
            if "waiting for a pass of the daemon" in line:
                break
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
