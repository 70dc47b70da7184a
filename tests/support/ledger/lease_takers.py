"""Processes that take the lease on a storage when they are told to, and say how that went."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Opens the ledger, then does what each line says until the end of its input.
_CHILD = """
import sys
from contextlib import ExitStack
from lemmy_safety.errors import PassRunning
from lemmy_safety.ledger import SWEEP, open_ledger

with open_ledger({url!r}) as ledger:
    print("open", flush=True)
    stack = ExitStack()
    for line in sys.stdin:
        try:
            match line.strip():
                case "take":
                    stack.enter_context(ledger.passes.lease({storage!r}, SWEEP))
                    print("taken", flush=True)
                case "write":
                    ledger.maintenance.check_writable()
                    print("written", flush=True)
                case "release":
                    stack.close()
                    print("released", flush=True)
        except PassRunning as error:
            print(f"refused: {{error.message}}", flush=True)
"""


class LeaseTaker:
    """One such process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def tell(self, word: str) -> None:
        """Say it and do not wait."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def heard(self) -> str:
        """The next thing it says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, word: str) -> str:
        self.tell(word)
        return self.heard()


@contextmanager
def lease_taker(url: str, storage: str) -> Iterator[LeaseTaker]:
    """One that has the ledger open; killed at the end."""
    code = _CHILD.format(url=url, storage=storage)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        taker = LeaseTaker(process)
        try:
            assert taker.heard() == "open"
            yield taker
        finally:
            process.kill()
