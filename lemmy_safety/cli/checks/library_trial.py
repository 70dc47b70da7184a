"""A process that imports one library after the other and reports the results; ``doctor`` starts it.

A truncated compiled file kills a process silently (SIGBUS, SIGSEGV), and doctor must go on. This module imports nothing
that could be damaged itself.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module

from lemmy_safety.errors import MissingExtra
from lemmy_safety.packages import check_whole, explained
from lemmy_safety.shortages import shortage

#: Each result, one line of JSON, begins with this: libraries print things as well.
ANSWER = "library-trial:"


def fault_of(module: str) -> MissingExtra | None:
    """Why a library, or a package of ours with all libraries it needs, cannot be imported; None if it can."""
    try:
        if module.startswith("lemmy_safety."):
            import_module(module)
        else:
            check_whole(module)
    except Exception as error:  # noqa: BLE001 - where no package is the reason, another check shows it
        if shortage(error) is not None:  # the package itself is fine
            return None
        return error if isinstance(error, MissingExtra) else explained(error)
    return None


def try_all(modules: list[str]) -> None:
    """Report each result at once, so that the module that kills this process is the first without one."""
    out = sys.stdout
    for module in modules:
        fault = fault_of(module)
        text = None if fault is None else [fault.message, fault.hint]
        out.write(f"\n{ANSWER}{json.dumps([module, text])}\n")
        out.flush()
