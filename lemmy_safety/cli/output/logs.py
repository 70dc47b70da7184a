"""What is logged where: our own lines on stderr, other libraries' only if they matter, and never a core dump."""

from __future__ import annotations

import copy
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, TextIO

import lemmy_safety
from lemmy_safety.cli.output.text import lines_without_controls
from lemmy_safety.cli.process.starting import START_UP
from lemmy_safety.foreign import foreign

if TYPE_CHECKING:
    from lemmy_safety.cli.output.redaction import Redaction

_log = logging.getLogger(__name__)

#: Libraries that log what we already report in one line, such as refused logins with tracebacks.
_SILENT = ("paramiko", "botocore", "boto3", "urllib3", "s3transfer", "py.warnings")

#: Switches read by libraries of the clip detector when they are first imported. Download progress stays on.
_QUIET_LIBRARIES = {
    "LOGURU_AUTOINIT": "False",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the current ``sys.stderr``, so that lines appear above a progress bar, not in it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _value: TextIO) -> None: ...


class _RedactingFormatter(logging.Formatter):
    """Hides secrets in messages, but not in their time and logger name."""

    def __init__(self, layout: str, redaction: Redaction) -> None:
        super().__init__(layout)
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        shown = copy.copy(record)  # other handlers format the record in their own way
        shown.msg, shown.args, shown.exc_text = self._said(record), None, None
        return lines_without_controls(super().format(shown))

    def _said(self, record: logging.LogRecord) -> str:
        if record.name.partition(".")[0] != lemmy_safety.__name__:
            return self._redaction.foreign(record.getMessage())
        said = copy.copy(record)
        if isinstance(record.args, tuple):
            said.args = tuple(
                self._redaction.said_by(arg) if isinstance(arg, BaseException) else arg for arg in record.args
            )
        return self._redaction(said.getMessage())

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        error = ei[1]
        return "" if error is None else self._redaction.traceback(error).rstrip("\n")


def set_up_logging(*, debug: bool, redaction: Redaction, quiet: bool | None = None) -> None:
    """Log to stderr: warnings only when ``quiet``, else INFO with times, as in a log file; everything with ``debug``.

    Without ``quiet``, a terminal is quiet: its user has a progress bar.
    """
    bare = not debug and (sys.stderr.isatty() if quiet is None else quiet)
    handler = _StderrHandler()
    layout = "%(levelname)s: %(message)s" if bare else "%(asctime)s %(levelname)s %(name)s: %(message)s"
    handler.setFormatter(_RedactingFormatter(layout, redaction))
    root = logging.getLogger()
    for old in [known for known in root.handlers if isinstance(known, _StderrHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("lemmy_safety").setLevel(logging.DEBUG if debug else logging.WARNING if bare else logging.INFO)
    logging.captureWarnings(capture=True)
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.WARNING if debug else logging.CRITICAL)
    for name, value in _QUIET_LIBRARIES.items():
        os.environ.setdefault(name, value)
    # Python's default hooks write to stderr without any formatter.
    threading.excepthook = _tell_of_thread
    START_UP.tells_of_forgotten(_tell_of_forgotten)


def _tell_of_thread(ended: threading.ExceptHookArgs) -> None:
    if not issubclass(ended.exc_type, SystemExit):
        name = "" if ended.thread is None else ended.thread.name
        _log.error("the thread %s ended with an error", name, exc_info=ended.exc_value)


def _tell_of_forgotten(lost: sys.UnraisableHookArgs) -> None:
    _log.error(
        "%s %s", lost.err_msg or "an error that ends nothing in", foreign(repr(lost.object)), exc_info=lost.exc_value
    )


def forbid_core_dumps() -> None:
    """Keep a crash from writing this process's memory, and with it a picture, to a disk.

    On Linux the limit is one byte rather than none: where dumps are piped to a program (systemd-coredump, apport) the
    kernel ignores a limit of 0, but dumps nothing at a limit of 1 (core(5); ``do_coredump`` in fs/coredump.c).
    """
    try:
        import resource  # noqa: PLC0415 - POSIX only; Windows writes no dumps unless an admin sets up WER for it
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    smallest = 1 if sys.platform == "linux" and hard != 0 else 0
    resource.setrlimit(resource.RLIMIT_CORE, (smallest, smallest))
