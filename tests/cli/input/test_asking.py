"""Ctrl-C at a prompt, on a real terminal of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lemmy_safety.cli.input import asking

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")

#: Asks, and gets SIGINT at an odd moment.
ASKS = """
import io, signal, sys, threading
from lemmy_safety.cli.input.asking import {imported}
from lemmy_safety.cli.process.stopping import StopSignals
{moment}
with StopSignals() as signals:
    try:
        print("answer", {asked}, signals.event.is_set(), flush=True)
    except BaseException as error:
        print("answer", type(error).__name__, signals.event.is_set(), flush=True)
"""

#: By another thread, so that the wait for an answer is not interrupted.
IN_ANOTHER_THREAD = """
def ctrl_c():
    go.wait()
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

go = threading.Event()
threading.Thread(target=ctrl_c, daemon=True).start()
threading.Timer(0.3, go.set).start()
"""

#: Between the prompt and the wait for an answer. ``input`` drops what is raised there.
WHILE_THE_PROMPT_IS_FLUSHED = """
class Stderr(io.TextIOWrapper):
    asked = False

    def write(self, text):
        self.asked = self.asked or "Really?" in text
        return super().write(text)

    def flush(self):
        super().flush()
        if self.asked:
            self.asked = False
            signal.raise_signal(signal.SIGINT)

sys.stderr = Stderr(sys.stderr.buffer, write_through=True)
"""


@pytest.mark.parametrize(
    ("moment", "imported", "asked", "answer"),
    [
        (IN_ANOTHER_THREAD, "confirmed", "confirmed('Really?')", b"False"),
        (IN_ANOTHER_THREAD, "asker", "asker()('Passphrase')", b"Abort"),
        (WHILE_THE_PROMPT_IS_FLUSHED, "confirmed", "confirmed('Really?')", b"False"),
        (WHILE_THE_PROMPT_IS_FLUSHED, "agree", "agree('Really?')", b"Abort"),
        (WHILE_THE_PROMPT_IS_FLUSHED, "typed", "typed('Really?')", b"Abort"),
    ],
)
def test_ctrl_c_ends_a_prompt_even_if_the_wait_for_an_answer_does_not_notice(moment, imported, asked, answer):
    """It is an answer, so the run is not asked to stop."""
    import fcntl  # noqa: PLC0415 - POSIX only
    import pty  # noqa: PLC0415
    import termios  # noqa: PLC0415

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ASKS.format(moment=moment, imported=imported, asked=asked)],
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


def test_a_passphrase_is_asked_for_once(monkeypatch):
    """The storage and the way to pict-rs each read the key file."""
    asked = []
    monkeypatch.setattr(asking.click, "prompt", lambda question, **_: asked.append(question) or "word-0123")
    monkeypatch.setattr(asking, "at_a_terminal", lambda: True)
    for _ in range(2):
        assert asking.asker()("Passphrase for /a/key: ") == "word-0123"
    asking.asker()("Passphrase for /another/key: ")
    assert asked == ["Passphrase for /a/key: ", "Passphrase for /another/key: "]
