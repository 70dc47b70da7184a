"""Asking a person for a passphrase, or for a yes, where there is a terminal."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def asker() -> Callable[[str], str] | None:
    """How to ask for a passphrase, or None where nobody can be asked (a service, a pipe, a script)."""
    return _ask if someone_is_there() else None


def someone_is_there() -> bool:
    """Whether a question would be seen and could be answered."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirmed(question: str) -> bool:
    """Whether a person says yes. Ctrl-C and a terminal that went away are a no."""
    with _ctrl_c_ends_the_prompt():
        try:
            return click.confirm(question, err=True)
        except click.Abort:
            return False


def _ask(question: str) -> str:
    with _ctrl_c_ends_the_prompt():
        return str(click.prompt(question, hide_input=True, err=True, default="", show_default=False))


@contextmanager
def _ctrl_c_ends_the_prompt() -> Iterator[None]:
    # A run takes Ctrl-C as "stop cleanly"; at a prompt it must end the prompt, or nothing would seem to happen.
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.default_int_handler) if in_main_thread else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)
