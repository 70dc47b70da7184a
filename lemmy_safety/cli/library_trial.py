"""A process that imports one library after the other and says how it went; for ``doctor``, which starts it.

Half a compiled file ends a process without a word (SIGBUS, SIGSEGV), and doctor has more to say. Nothing is imported here
that could be damaged itself.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module

from lemmy_safety.errors import MissingExtra
from lemmy_safety.packages import check_whole, explained
from lemmy_safety.shortages import shortage

#: What it says of each module, as one line of JSON, begins with this: libraries print things as well.
ANSWER = "library-trial:"


def fault_of(module: str) -> MissingExtra | None:
    """Why a library, or a room of ours with all libraries that it needs, cannot be imported; None where it can."""
    try:
        if module.startswith("lemmy_safety."):
            import_module(module)
        else:
            check_whole(module)
    except Exception as error:  # noqa: BLE001 - where no package is the reason, another check shows it
        if shortage(error) is not None:  # nothing is wrong with the package
            return None
        return error if isinstance(error, MissingExtra) else explained(error)
    return None


def try_all(modules: list[str]) -> None:
    """Answer for each in turn, at once, so that the one that ends this process is the first without an answer."""
    out = sys.stdout
    for module in modules:
        fault = fault_of(module)
        text = None if fault is None else [fault.message, fault.hint]
        out.write(f"\n{ANSWER}{json.dumps([module, text])}\n")
        out.flush()
