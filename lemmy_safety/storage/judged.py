"""Checks just before a deletion whether an object is still the one that was judged."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from lemmy_safety.errors import ObjectChanged, ObjectGone, ObjectTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.records import StoredObject
    from lemmy_safety.storage.learned import Learned


def raise_unless_judged(current: StoredObject, expected: StoredObject | None) -> None:
    """:raises ObjectChanged: the object is not the expected one."""
    if expected is not None and not current.same_content_as(expected):
        raise ObjectChanged(f"{current.key!r} changed since it was judged; it was left alone.")


def proved_by_its_bytes(
    expected: StoredObject,
    sha256: str,
    *,
    stat: Callable[[str], StoredObject],
    read: Callable[[str], bytes],
    note: Callable[[StoredObject], None],
) -> StoredObject | None:
    """The object's current description, if it is still the one that was judged; None if it is gone.

    ``note`` receives that description in full.

    :raises ObjectChanged: it holds other bytes, or is being written to.
    """
    key = expected.key
    try:
        before = stat(key)
        content = read(key)
        after = stat(key)
    except ObjectGone:
        return None
    except ObjectTooLarge as error:
        raise ObjectChanged(f"{key!r} grew since it was judged; it was left alone.") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ObjectChanged(f"{key!r} changed since it was judged; it was left alone.")
    if (before.size, before.modified_at) != (after.size, after.modified_at):
        raise ObjectChanged(f"{key!r} is being written to; it was left alone.")
    note(after)
    # A tag that changes each time it is read means nothing.
    return after if before.etag == after.etag else replace(after, etag=None)


def note_descriptions(learned: Learned, place: str, listed: StoredObject, described: StoredObject) -> None:
    """Note for an admin that the server describes an object in another way than it lists it."""
    if described.same_content_as(listed):
        return
    same_time = replace(listed, etag=None, size=described.size).same_content_as(described)
    facts = {
        "size": listed.size != described.size,
        "entity tag": None not in (listed.etag, described.etag) and listed.etag != described.etag,
        "time of modification": not same_time,
    }
    odd = [words for words, differs in facts.items() if differs]
    learned.note(
        place,
        f"describes an object in another way than it lists it ({', '.join(odd)}). Before such an object is deleted it "
        "is read again and its SHA-256 is compared.",
    )
