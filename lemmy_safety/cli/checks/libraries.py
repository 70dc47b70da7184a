"""Whether the libraries can be imported. Each is tried in another process, because a damaged one can crash it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lemmy_safety.cli.checks.library_trial import ANSWER
from lemmy_safety.cli.checks.processor import too_old
from lemmy_safety.errors import MissingExtra
from lemmy_safety.packages import ALWAYS_NEEDED, distribution_of, is_recorded, is_there

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Of extras, only the decoders: a detector reports its own missing libraries.
_DECODING_EXTRAS = ("pillow_heif", "pillow_jxl")

#: They import the modules that we use from libraries, not just their first file.
_ROOMS = tuple(
    f"lemmy_safety.{name}"
    for name in ("fingerprints", "media", "storage.s3", "storage.ssh", "ledger", "cli.output.tables")
)

_TIMEOUT_S = 120

#: Output which shows that memory ran out, and no library is damaged: from OpenBLAS, which numpy brings, and Python
#: itself.
_NO_MEMORY = (b"Memory allocation still failed", b"pthread_create failed", b"MemoryError", b"Cannot allocate memory")

_PROGRAM = """\
import sys
sys.path[:] = {path!r}
from lemmy_safety.cli.checks.library_trial import try_all
try_all({modules!r})
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryFault:
    """The report on one library. ``ends_a_process`` is its name if nothing that needs it can be tried here."""

    message: str
    hint: str
    ends_a_process: str = ""


def library_faults() -> Iterator[LibraryFault]:
    """The libraries that every installation has, and the decoders that this one has; one error for each damaged one.

    :raises MemoryError: there is not enough memory to import them.
    """
    extras = [name for name in _DECODING_EXTRAS if is_there(name) or is_recorded(name)]
    waiting = [*ALWAYS_NEEDED, *extras, *_ROOMS]
    told: set[str] = set()
    while waiting:
        answers, ended_by = _answers(waiting)
        for message, hint in answers.values():
            if hint and hint not in told:
                told.add(hint)
                yield LibraryFault(message=message, hint=hint)
        waiting = [name for name in waiting if name not in answers]
        if waiting:
            fatal, waiting = waiting[0], waiting[1:]
            fault = _fatal(fatal, ended_by)
            if fault.hint not in told:
                told.add(fault.hint)
                yield fault
            waiting = [name for name in waiting if name in ALWAYS_NEEDED]  # one of our own modules needs it, too


def _answers(modules: list[str]) -> tuple[dict[str, tuple[str, str]], str]:
    program = _PROGRAM.format(path=sys.path, modules=modules)
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter with our own program
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        said, ended_by = done.stdout, _signal_name(done.returncode)
        if done.returncode and any(words in done.stderr for words in _NO_MEMORY):
            raise MemoryError
    except subprocess.TimeoutExpired as error:
        said, ended_by = error.stdout or b"", f"no end after {_TIMEOUT_S} s"
    found: dict[str, tuple[str, str]] = {}
    for line in said.decode("utf-8", "replace").splitlines():
        if line.startswith(ANSWER):
            module, fault = json.loads(line.removeprefix(ANSWER))
            found[module] = tuple(fault) if fault else ("", "")
    return found, ended_by


def _signal_name(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"code {code}"


def _fatal(module: str, ended_by: str) -> LibraryFault:
    package = distribution_of(module.partition(".")[0])
    hint = too_old() if ended_by == "SIGILL" else None
    error = MissingExtra(package=package, cause=f"importing it ends a process: {ended_by}", damaged=True, hint=hint)
    return LibraryFault(message=error.message, hint=error.hint, ends_a_process=package)
