"""Translates the operating system's file errors into those of ``lemmy_safety.errors``."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from lemmy_safety.errors import (
    AccessDenied,
    BadKey,
    ObjectChanged,
    ObjectGone,
    StorageError,
    StorageFull,
    StorageUnreachable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def _numbers(*names: str) -> frozenset[int]:
    # Not every system has every error.
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


_MEANINGS: tuple[tuple[frozenset[int], type[StorageError], str | None], ...] = (
    (_numbers("ENOENT", "ENOTDIR", "EISDIR"), ObjectGone, None),
    (_numbers("EEXIST"), ObjectChanged, "Nothing was overwritten."),
    (_numbers("EACCES", "EPERM"), AccessDenied, None),
    (_numbers("EROFS"), AccessDenied, "Mount the file system so that it can be written to."),
    (_numbers("ENOSPC", "EDQUOT", "EFBIG"), StorageFull, None),
    (_numbers("ENAMETOOLONG", "EILSEQ", "EINVAL"), BadKey, "This system cannot have a file of that name."),
    (_numbers("ELOOP"), BadKey, "Links in the store are never followed."),
    # Disks and network file systems (NFS, sshfs) that do not answer now, and limits of this process or machine.
    (
        _numbers(
            "EIO", "EREMOTEIO", "ESTALE", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENETUNREACH",
            "ECONNRESET", "ECONNREFUSED", "ECONNABORTED", "ENXIO", "ENODEV", "EBUSY", "EAGAIN", "EMFILE", "ENFILE",
            "ENOMEM", "ENOLCK",
        ),
        StorageUnreachable,
        "Check that the disk is mounted and healthy.",
    ),
)  # fmt: skip

#: Characters that Windows does not take as part of a name: another drive, a stream, a separator, a wildcard.
_WINDOWS_SIGNS = frozenset('<>:"\\|?*')
_WINDOWS_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [name + digit for name in ("COM", "LPT") for digit in "0123456789¹²³"]
)


@contextlib.contextmanager
def translated(subject: str) -> Iterator[None]:
    """Turn an OSError raised inside into our error about ``subject``."""
    try:
        yield
    except OSError as error:
        raise _storage_error(error, subject) from error


def _storage_error(error: OSError, subject: str) -> StorageError:
    reason = error.strerror or type(error).__name__
    for numbers, kind, hint in _MEANINGS:
        if error.errno in numbers:
            return kind(f"{subject}: {reason}.", hint=hint)
    return StorageError(f"{subject}: {reason}.")


def refused_on_windows(path: str) -> bool:
    r"""Whether Windows would take a relative path for something other than the file of that name.

    ``C:/x`` is another drive, ``a:b`` a stream of ``a``, ``NUL.jpg`` a device, ``a.`` and ``a `` are ``a``.
    """
    for part in path.split("/"):
        if _WINDOWS_SIGNS & set(part) or part != part.rstrip(". ") or any(sign < " " for sign in part):
            return True
        if part.partition(".")[0].rstrip().upper() in _WINDOWS_DEVICES:
            return True
    return False
