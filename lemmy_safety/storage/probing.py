"""The steps that ``doctor`` tries on a storage, the same for every backend: connect, list, read, write and delete.

Changes nothing except one probe object of our own, a short text under a random name at the root.
"""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lemmy_safety.errors import ObjectGone, ObjectTooLarge, StorageError
from lemmy_safety.shortages import shortage
from lemmy_safety.storage.judged import note_descriptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.records import StoredObject
    from lemmy_safety.storage.base import Storage

PROBE_PREFIX = "lemmy-safety-probe-"
_PROBE_TEXT = b"lemmy-safety doctor wrote this to see whether it may. It can be deleted."


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeStep:
    """One step that ``doctor`` tried on a storage. ``fix`` is empty if ``ok``."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


def probe(storage: Storage) -> Iterator[ProbeStep]:
    """Yield one step after the other; stops after a failed step that the next ones depend on.

    Raises no StorageError.
    """
    try:
        storage.open()
        more = storage.details()
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
    yield _write_step(storage)


def _read_step(storage: Storage, first: StoredObject) -> ProbeStep:
    # One byte is enough to see whether reading is allowed, without transferring a picture.
    try:
        storage.read(first.key, max_bytes=1)
    except (ObjectTooLarge, ObjectGone):
        pass
    except StorageError as error:
        return _failed("read", error)
    with contextlib.suppress(StorageError):
        note_descriptions(storage.learned, storage.name, first, storage.stat(first.key))
    return ProbeStep(name="read", ok=True, detail=f"may read {first.key!r}")


def _write_step(storage: Storage) -> ProbeStep:
    name, key = "write and delete", PROBE_PREFIX + secrets.token_hex(8)
    failure: StorageError | None = None
    try:
        storage.write_new(key, _PROBE_TEXT)
    except StorageError as error:
        failure = error
    try:
        # Even if it could not be read back: nothing of ours stays in the storage.
        if failure is None or _is_there(storage, key):
            storage.delete(key)
    except StorageError as error:
        return _failed(name, failure or error, f" The probe object {key!r} may still be there.")
    if failure is not None:
        return _failed(name, failure)
    return ProbeStep(name=name, ok=True, detail="wrote, read and deleted a probe object")


def _is_there(storage: Storage, key: str) -> bool:
    with contextlib.suppress(ObjectGone):
        storage.stat(key)
        return True
    return False


def _failed(name: str, error: StorageError, rest: str = "") -> ProbeStep:
    short = shortage(error)
    fix = f"{short[0]}. {short[1]}" if short else error.hint or StorageError.default_hint
    return ProbeStep(name=name, ok=False, detail=error.message + rest, fix=fix)
