"""Asking for a passphrase, where somebody sits who can be asked."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable


def asker() -> Callable[[str], str] | None:
    """How to ask for a passphrase, or None where nobody can be asked (a service, a pipe, a script)."""
    return _ask if someone_is_there() else None


def someone_is_there() -> bool:
    """Whether a question would be seen and could be answered."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _ask(question: str) -> str:
    # A run takes Ctrl-C as "stop cleanly"; at a prompt it must end the prompt, or nothing would seem to happen.
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.default_int_handler) if in_main_thread else None
    try:
        return str(click.prompt(question, hide_input=True, err=True, default="", show_default=False))
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)
