"""What ``doctor`` tries on a storage, the same for every backend: connect, list, read, write and delete.

Nothing is changed but one probe object of our own, a short text under a random name at the root.
"""

from __future__ import annotations

import contextlib
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lemmy_safety.errors import ObjectGone, ObjectTooLarge, StorageError
from lemmy_safety.records import StoredObject
from lemmy_safety.shortages import shortage
from lemmy_safety.storage.base import ProbeStep, Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROBE_PREFIX = "lemmy-safety-probe-"
_PROBE_TEXT = b"lemmy-safety doctor wrote this to see whether it may. It can be deleted."


def probe_steps(
    storage: Storage, *, write: Callable[[str, bytes], None], details: Callable[[], str] = str
) -> Iterator[ProbeStep]:
    """Yield one step after the other; a step that the next ones depend on ends the row when it fails.

    ``write`` puts an object and raises StorageError only; ``details`` says more about a storage that could be opened.
    """
    try:
        storage.open()
        more = details()
    except StorageError as error:
        yield _failed("connect", error)
        return
    yield ProbeStep(name="connect", ok=True, detail=f"{storage.name}{f'; {more}' if more else ''}")
    try:
        first = next(storage.list(), None)
    except StorageError as error:
        yield _failed("list", error)
        return
    yield ProbeStep(name="list", ok=True, detail="no object yet" if first is None else f"found {first.key!r}")
    if first is not None:
        yield _read_step(storage, first)
    yield _write_step(storage, write)


def _read_step(storage: Storage, first: StoredObject) -> ProbeStep:
    # One byte is enough to see whether reading is allowed, and a picture need not travel for it.
    try:
        storage.read(first.key, max_bytes=1)
    except (ObjectTooLarge, ObjectGone):
        pass
    except StorageError as error:
        return _failed("read", error)
    with contextlib.suppress(StorageError):
        storage.note_descriptions(first, storage.stat(first.key))
    return ProbeStep(name="read", ok=True, detail=f"may read {first.key!r}")


def _write_step(storage: Storage, write: Callable[[str, bytes], None]) -> ProbeStep:
    name, key = "write and delete", PROBE_PREFIX + secrets.token_hex(8)
    try:
        write(key, _PROBE_TEXT)
    except StorageError as error:
        return _failed(name, error)
    read = _read_back(storage, key)
    try:
        storage.delete(key)  # also where it could not be read: nothing of ours stays in the storage
    except StorageError as error:
        return _failed(name, read or error, f" The probe object {key!r} may still be there.")
    if read is not None:
        return _failed(name, read)
    return ProbeStep(name=name, ok=True, detail="wrote, read and deleted a probe object")


def _read_back(storage: Storage, key: str) -> StorageError | None:
    """What is wrong with reading the probe object; None when nothing is."""
    # As a pass reads: what is packed on the way is unpacked where the size is known.
    described = StoredObject(key=key, size=len(_PROBE_TEXT), modified_at=datetime.now(UTC))
    try:
        if storage.read(key, max_bytes=len(_PROBE_TEXT), expected=described) == _PROBE_TEXT:
            return None
    except StorageError as error:
        return error
    return StorageError(f"{key!r} came back changed.", hint="Check the storage itself.")


def _failed(name: str, error: StorageError, rest: str = "") -> ProbeStep:
    short = shortage(error)
    fix = f"{short[0]}. {short[1]}" if short else error.hint or StorageError.default_hint
    return ProbeStep(name=name, ok=False, detail=error.message + rest, fix=fix)
