"""What a decoding process inherits of the program's environment: what an interpreter needs, and no secret.

The program receives passwords and keys in its environment. A stranger's file that takes control of a decoder must find
none
of them there, so we pass a list of allowed names; a list of secrets would never be complete.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_ANYWHERE: Final = ("LANG", "LC_ALL", "LC_CTYPE", "PATH", "TMPDIR", "TZ")

#: Where libraries are on systems that keep them in unusual places (NixOS, Homebrew, conda), and how they allocate.
_POSIX: Final = (
    "DYLD_FALLBACK_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "GLIBC_TUNABLES", "LD_LIBRARY_PATH", "LD_PRELOAD",
    "MALLOC_ARENA_MAX",
)  # fmt: skip

#: Without SYSTEMROOT Python does not start on Windows: it contains the library for random numbers.
_WINDOWS: Final = (
    "COMSPEC", "NUMBER_OF_PROCESSORS", "PATHEXT", "PROCESSOR_ARCHITECTURE", "PROGRAMDATA", "SYSTEMDRIVE", "SYSTEMROOT",
    "TEMP", "TMP", "WINDIR",
)  # fmt: skip

#: Where the standard library and compiled modules are; our own search path is passed separately.
_PYTHON: Final = ("PYTHONHOME", "PYTHONMALLOC", "PYTHONPLATLIBDIR", "PYTHONPYCACHEPREFIX", "PYTHONUTF8")

_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")

HANDED_ON: Final = frozenset((*_ANYWHERE, *_POSIX, *_WINDOWS, *_PYTHON, *_THREADS))


def for_a_decoder(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables of ``HANDED_ON`` that are set. On Windows their names are case-insensitive."""
    environ = os.environ if environ is None else environ
    return {
        name: value
        for name, value in environ.items()
        if (name.upper() if sys.platform == "win32" else name) in HANDED_ON
    }
