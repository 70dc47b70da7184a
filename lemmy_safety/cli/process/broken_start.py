"""Errors that end the program before click can present them: a library that every command needs is damaged.

So this module imports no library, and no module of ours that does.
"""

from __future__ import annotations

import sys

from lemmy_safety.errors import WorkerDied
from lemmy_safety.packages import explained
from lemmy_safety.shortages import shortage
from lemmy_safety.url_logins import hide_logins


def code_of_broken_start(error: Exception) -> int | None:
    """Report on stderr why the command line cannot be loaded, and how to fix it; None if the reason is unknown."""
    if short := shortage(error):
        message, hint, code = f"{short[0]}.", short[1], WorkerDied.exit_code
    elif missing := explained(error):
        message, hint, code = missing.message, missing.hint, missing.exit_code
    else:
        return None
    print(f"error: {hide_logins(message)}\nfix: {hint}", file=sys.stderr)  # noqa: T201 - click may be what is broken
    return code
