"""Checks whether received bytes are those of the listed object: by size, and by tags that are an MD5.

The ETag of an S3 object that was stored in one piece is the MD5 of its bytes, unless the bucket encrypts (SSE-C, KMS)
or
the server makes its tags in another way. No request can tell; it shows when the same bytes come twice.
"""

from __future__ import annotations

import hashlib
import re
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lemmy_safety.records import StoredObject
    from lemmy_safety.storage.learned import Learned

#: Not ``<md5>-2``, which is the tag of an object that was stored in parts.
_MD5 = re.compile("[0-9a-fA-F]{32}")

#: Number of objects whose tags are not the MD5 of their bytes, without any whose tag is, before the server's tags are
#: ignored. A single one may be an object that was damaged in the store.
_ENOUGH_MISFITS = 3


class Wholeness:
    """Remembers whether a server's tags can be trusted. Safe from any thread."""

    def __init__(self, learned: Learned) -> None:
        self._learned = learned
        self._lock = threading.Lock()
        self._fitted = False
        self._misfits = 0

    def fits(self, data: bytes, described: StoredObject) -> bool:
        """Whether these can be the described bytes, judging by size and tag."""
        if len(data) != described.size:
            return False
        if described.etag is None or not _MD5.fullmatch(described.etag) or self._tags_say_nothing:
            return True
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != described.etag.lower():
            return False
        self._fitted = True
        return True

    def note_misfit(self, place: str, key: str) -> None:
        """The same bytes came twice and the tag is not their MD5: the tag means something else."""
        with self._lock:
            self._misfits += 1
        if self._fitted:
            self._learned.note(
                place, f"gives {key!r} a tag that is not the MD5 of its bytes; they came twice alike and were judged."
            )
        elif self._tags_say_nothing:
            self._learned.note(
                place,
                "has tags that are not the MD5 of the bytes (as with encrypted buckets): what arrives is compared by size only.",
            )

    @property
    def _tags_say_nothing(self) -> bool:
        return self._misfits >= _ENOUGH_MISFITS and not self._fitted
