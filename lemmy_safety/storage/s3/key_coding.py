"""Keys that a server url-encodes in its listings without saying so, and keys that it cannot write there.

boto3 asks for encoded keys and decodes them if the answer says so. Some servers ignore the request (then
the keys are unchanged), some encode without saying so (HCP; every such key would look gone). One request to the
server, about a key that shows the difference, settles it. XML cannot represent control characters: a server that does
not
encode (versitygw) puts U+FFFD in their place, also for file names that are not UTF-8, and the resulting key
belongs to no object.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_plus

from lemmy_safety.errors import StorageError, is_about_one_object

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.storage.learned import Learned
    from lemmy_safety.storage.s3.answers import Page

#: A percent sign that url-encoding could have written.
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")

#: Replaces characters that cannot be written.
_REPLACEMENT = "\ufffd"

#: Number of keys of one page to ask about; a key that was deleted meanwhile proves nothing.
_MOST_QUESTIONS = 3


class KeyCoding:
    """Decodes keys that need it; finds out with the first key that makes a difference."""

    def __init__(self, exists: Callable[[str], bool], place: str, learned: Learned) -> None:
        """``exists`` asks for one object and raises StorageError if the answer is unclear."""
        self._exists = exists
        self._place = place
        self._learned = learned
        self._decode: Callable[[str], str] | None = None

    def decoded(self, page: Page) -> Page:
        """The page with its true keys; entries whose key the server could not write count as lost."""
        if page.escaped:
            return page
        page = self._unescaped(page)
        named = tuple(entry for entry in page.entries if _REPLACEMENT not in entry.key or self._is_one(entry.key))
        unnamed = len(page.entries) - len(named)
        return replace(page, entries=named, lost=page.lost + unnamed) if unnamed else page

    def _is_one(self, key: str) -> bool:
        """Whether an object has this key, if that can be determined."""
        try:
            if self._exists(key):
                return True
        except StorageError as error:
            if not is_about_one_object(error):
                raise
            return True
        self._learned.note(
            self._place,
            "cannot write all keys into its listings (control characters, names that are not UTF-8); objects with such "
            "keys are not checked.",
        )
        return False

    def _unescaped(self, page: Page) -> Page:
        if self._decode is None:
            suspects = (entry.key for entry in page.entries if _ESCAPE.search(entry.key))
            for key in islice(suspects, _MOST_QUESTIONS):
                self._decode = self._ask_about(key)
                if self._decode is not None:
                    break
        decode = self._decode
        if decode is None or decode is str:
            return page
        return replace(
            page,
            entries=tuple(replace(entry, key=decode(entry.key)) for entry in page.entries),
            folders=tuple(map(decode, page.folders)),
            marker=None if page.marker is None else decode(page.marker),
            escaped=True,
        )

    def _ask_about(self, key: str) -> Callable[[str], str] | None:
        """How to decode keys like this one; ``str`` if they need no decoding, None if that cannot be determined."""
        try:
            if self._exists(key):
                return str
            for decode in (unquote, unquote_plus):
                if self._exists(decode(key)):
                    self._learned.note(
                        self._place, "url-encodes keys in its listings without saying so; they are decoded."
                    )
                    return decode
        except StorageError as error:
            if not is_about_one_object(error):
                raise
        return None
