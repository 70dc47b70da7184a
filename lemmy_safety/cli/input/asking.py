"""Asks a person for a passphrase or a confirmation, if there is a terminal."""

from __future__ import annotations

import functools
import os
import signal
import socket
import sys
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

T = TypeVar("T")

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
    try:
        return _answer(lambda: click.confirm(question, err=True))
    except click.Abort:
        return False


def agree(question: str) -> None:
    """Go on only if a person says yes.

    :raises click.Abort: a no, Ctrl-C, or a closed terminal.
    """
    _answer(lambda: click.confirm(question, abort=True, err=True))


def typed(question: str) -> str:
    """A person's answer, "" for none.

    :raises click.Abort: Ctrl-C, or a closed terminal.
    """
    return str(_answer(lambda: click.prompt(question, err=True, default="", show_default=False)))


@functools.cache  # the storage and the way to pict-rs use the same key
def _ask(question: str) -> str:
    return str(_answer(lambda: click.prompt(question, hide_input=True, err=True, default="", show_default=False)))


def _answer(prompt: Callable[[], T]) -> T:
    """What the prompt returns. During a run Ctrl-C means "stop cleanly"; at a prompt it is an answer, and only ends that.

    :raises click.Abort: Ctrl-C, or a closed terminal.
    """
    if threading.current_thread() is not threading.main_thread():
        return prompt()
    is_over = False

    def interrupted(number: int, _frame: FrameType | None) -> None:
        if not is_over:
            raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        with _sent_again() if hasattr(signal, "pthread_kill") else nullcontext():
            try:
                try:
                    return prompt()
                finally:
                    is_over = True
            except KeyboardInterrupt:
                is_over = True
                raise click.Abort from None
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _sent_again() -> Iterator[None]:
    """Send Ctrl-C again until it has ended the prompt.

    Python holds a signal back that comes just before the main thread begins to wait for an answer. And ``input`` drops
    what is raised while it flushes the prompt, which a person sees by then. Other signals go to their earlier handlers.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    main, ended = threading.get_ident(), threading.Event()

    def listen() -> None:
        while received := reader.recv(64):
            for number in received:
                if number != signal.SIGINT and listener >= 0:
                    os.write(listener, bytes([number]))
            while signal.SIGINT in received and not ended.wait(_AGAIN_S):
                signal.pthread_kill(main, signal.SIGINT)

    with reader, writer:
        listener = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        thread = threading.Thread(target=listen, name="hear-ctrl-c", daemon=True)
        thread.start()
        try:
            try:
                yield
            finally:
                ended.set()
        finally:
            signal.set_wakeup_fd(listener)
            writer.shutdown(socket.SHUT_WR)
            thread.join()
