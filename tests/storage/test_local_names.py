"""Names that Windows refuses, and what the system's errors mean."""

from __future__ import annotations

import errno
import os

import pytest

from lemmy_safety.errors import (
    AccessDenied,
    BadKey,
    ObjectChanged,
    ObjectGone,
    StorageError,
    StorageFull,
    StorageUnreachable,
)
from lemmy_safety.storage.local.errors import refused_on_windows, translated


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("01/a1/0123456789ab.webp", False),
        ("über/a b.jpg", False),
        ("C:/Windows/x", True),
        ("a:stream", True),
        (r"..\..\x", True),
        ("a/NUL", True),
        ("a/nul.jpg", True),
        ("com1.txt/x", True),
        ("console.jpg", False),
        ("a./x", True),
        ("x ", True),
        ("a\nb", True),
        ("what?.jpg", True),
    ],
)
def test_names_windows_would_take_for_something_else_are_refused_there(path: str, refused: bool) -> None:
    """Another drive, a stream, a device, or another file's name with a dot behind it."""
    assert refused_on_windows(path) is refused


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOENT, ObjectGone),
        (errno.ENOTDIR, ObjectGone),
        (errno.EACCES, AccessDenied),
        (errno.EPERM, AccessDenied),
        (errno.EROFS, AccessDenied),
        (errno.EIO, StorageUnreachable),
        (errno.ESTALE, StorageUnreachable),
        (errno.EMFILE, StorageUnreachable),
        (errno.ENAMETOOLONG, BadKey),
        (errno.EEXIST, ObjectChanged),
        (errno.ENOSPC, StorageFull),
        (errno.ENOTTY, StorageError),
    ],
)
def test_the_systems_answers_become_our_errors(number: int, error: type[StorageError]) -> None:
    """Passing faults of disks are told from permission and from absence."""
    with pytest.raises(StorageError, match="it") as caught, translated("it"):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is error
