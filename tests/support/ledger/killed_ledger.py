"""Processes that open a ledger and are killed at a chosen statement."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TESTS = Path(__file__).parents[2]

# Says where it is and waits to be killed there.
_CHILD = """
import sys
sys.path.insert(0, {tests!r})
from sqlalchemy import Engine, event
from lemmy_safety.ledger import open_ledger
from support.ledger.results import flagged, record

def wait_for_the_end():
    print("here", flush=True)
    sys.stdin.read()

sent = 0
@event.listens_for(Engine, "after_cursor_execute")
def count(connection, cursor, statement, parameters, context, executemany):
    global sent
    if {word!r} and {word!r} in statement:
        sent += 1
        if sent == {steps}:
            wait_for_the_end()

ledger = open_ledger({url!r})
if {objects!r}:
    record(ledger, [flagged(key) for key in {objects!r}])
    wait_for_the_end()
"""


@contextmanager
def killed(url: str, word: str = "", steps: int = 0, *, objects: tuple[str, ...] = ()) -> Iterator[None]:
    """One that is killed after so many statements with ``word`` in them, or after it has recorded flagged ``objects``."""
    code = _CHILD.format(tests=str(_TESTS), url=url, word=word, steps=steps, objects=objects)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.kill()
        process.wait()
        yield
