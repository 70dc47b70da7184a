"""The command line: parses the arguments, calls the other rooms through ``wiring``, and presents their results.

It judges nothing and accesses no storage itself. Heavy imports are inside the functions that need them, so that
``lemmy-safety --help`` answers at once; ``tests/cli/test_help.py`` checks that.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the ``lemmy-safety`` command; ends the process with its exit code."""
    from lemmy_safety.cli.process.starting import START_UP  # noqa: PLC0415 - importing the package stays free

    START_UP.begin()
    from lemmy_safety.cli.process.streams import StandardStreams  # noqa: PLC0415 - importing the package stays free

    streams = StandardStreams()
    try:
        from lemmy_safety.cli.app import app  # noqa: PLC0415 - for __main__ and tests, too
    except Exception as error:
        from lemmy_safety.cli.process.broken_start import code_of_broken_start  # noqa: PLC0415 - hardly ever needed

        if (broken := code_of_broken_start(error)) is None:
            raise
        streams.failure()  # also flushes what is still buffered
        START_UP.ends_with(broken)
        sys.exit(broken)
    try:
        app.main(prog_name="lemmy-safety")
    except SystemExit as ended:
        from lemmy_safety.cli.output.failures import code_after_output  # noqa: PLC0415 - is loaded by now
        from lemmy_safety.cli.process.stopping import end_at_once_if_threads_are_left  # noqa: PLC0415 - is loaded by now

        code = code_after_output(ended.code, streams.failure())
        START_UP.ends_with(code if isinstance(code, int) else 0 if code is None else 1)
        end_at_once_if_threads_are_left(code)
        sys.exit(code)
