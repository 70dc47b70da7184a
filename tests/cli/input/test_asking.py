"""Ctrl-C at a prompt, on a real terminal of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")

#: Asks, and sends itself SIGINT by another thread, so that the wait for an answer is not interrupted.
ASKS = """
import signal, sys, threading
from lemmy_safety.cli.input.asking import {imported}
from lemmy_safety.cli.process.stopping import StopSignals

def ctrl_c():
    go.wait()
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

go = threading.Event()
threading.Thread(target=ctrl_c, daemon=True).start()
threading.Timer(0.3, go.set).start()
with StopSignals() as signals:
    try:
        print("answer", {asked}, signals.event.is_set(), flush=True)
    except BaseException as error:
        print("answer", type(error).__name__, signals.event.is_set(), flush=True)
"""


@pytest.mark.parametrize(
    ("imported", "asked", "answer"),
    [("confirmed", "confirmed('Really?')", b"False"), ("asker", "asker()('Passphrase')", b"Abort")],
)
def test_ctrl_c_ends_a_prompt_even_if_the_wait_for_an_answer_does_not_notice(imported, asked, answer):
    """It is an answer, so the run is not asked to stop."""
    import fcntl  # noqa: PLC0415 - POSIX only
    import pty  # noqa: PLC0415
    import termios  # noqa: PLC0415

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ASKS.format(imported=imported, asked=asked)],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one thread
    )
    os.close(theirs)
    try:
        said = process.communicate(timeout=60)[0]
    finally:
        process.kill()
        os.close(ours)
    assert (said.split(), process.returncode) == ([b"answer", answer, b"False"], 0)
