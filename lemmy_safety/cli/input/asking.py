"""Asks a person for a passphrase or a confirmation, if there is a terminal."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

#: How long Ctrl-C at a prompt may go unnoticed before it is sent again.
_AGAIN_S = 0.05


def asker() -> Callable[[str], str] | None:
    """How to ask for a passphrase, or None without a person to ask (a service, a pipe, a script)."""
    return _ask if at_a_terminal() else None


def at_a_terminal() -> bool:
    """Whether a question would be seen and could be answered."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirmed(question: str) -> bool:
    """Whether a person says yes. Ctrl-C and a closed terminal mean no."""
    with _ctrl_c_ends_the_prompt():
        try:
            return click.confirm(question, err=True)
        except click.Abort:
            return False


def agree(question: str) -> None:
    """Go on only if a person says yes.

    :raises click.Abort: a no, Ctrl-C, or a closed terminal.
    """
    with _ctrl_c_ends_the_prompt():
        click.confirm(question, abort=True, err=True)


def typed(question: str) -> str:
    """A person's answer, "" for none.

    :raises click.Abort: Ctrl-C, or a closed terminal.
    """
    with _ctrl_c_ends_the_prompt():
        return str(click.prompt(question, err=True, default="", show_default=False))


def _ask(question: str) -> str:
    with _ctrl_c_ends_the_prompt():
        return str(click.prompt(question, hide_input=True, err=True, default="", show_default=False))


@contextmanager
def _ctrl_c_ends_the_prompt() -> Iterator[None]:
    """During a run Ctrl-C means "stop cleanly". At a prompt it is an answer: it only ends the prompt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = threading.Event()

    def interrupted(number: int, _frame: FrameType | None) -> None:
        if not heard.is_set():
            heard.set()
            raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        with _never_too_early(heard) if hasattr(signal, "pthread_kill") else nullcontext():
            yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _never_too_early(heard: threading.Event) -> Iterator[None]:
    """Make sure that Ctrl-C is ``heard`` even if it comes just before the main thread begins to wait for an answer.

    Python holds such a signal back until the wait is over, which would be the next answer. So it is sent again until it
    ends the wait. Other signals go to their earlier handlers.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    main = threading.get_ident()

    def listen() -> None:
        while received := reader.recv(64):
            for number in received:
                if number != signal.SIGINT and listener >= 0:
                    os.write(listener, bytes([number]))
            while signal.SIGINT in received and not heard.wait(_AGAIN_S):
                signal.pthread_kill(main, signal.SIGINT)

    with reader, writer:
        listener = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        thread = threading.Thread(target=listen, name="hear-ctrl-c", daemon=True)
        thread.start()
        try:
            try:
                yield
            finally:
                heard.set()  # Ctrl-C is too late now, and does not interrupt what follows
        finally:
            signal.set_wakeup_fd(listener)
            writer.shutdown(socket.SHUT_WR)
            thread.join()
