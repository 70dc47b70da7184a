"""The door for a person: parse what was typed, call the rooms through ``wiring``, present what they answer.

No judgement and no storage access of its own. Everything heavy is imported inside the functions that need it, so
that ``lemmy-safety --help`` answers at once; ``tests/cli/test_help.py`` holds that.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the ``lemmy-safety`` command; ends the process with the exit code of what happened."""
    try:
        from lemmy_safety.cli.app import app  # noqa: PLC0415 - importing the package stays free for __main__ and tests
    except KeyboardInterrupt:
        sys.exit(130)  # so early that nothing has begun and nobody else is there to say so

    try:
        app.main(prog_name="lemmy-safety")
    except SystemExit as ended:
        from lemmy_safety.cli.stopping import end_at_once_if_threads_are_left  # noqa: PLC0415 - is loaded by now

        end_at_once_if_threads_are_left(ended.code)
        raise
