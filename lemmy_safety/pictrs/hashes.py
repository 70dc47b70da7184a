"""How pict-rs names bytes: 39 bytes that hold their SHA-256, their length and their format. Pure.

They appear in three spellings: 78 hex digits in ``/internal/hashes``, base64 in the ETag of a picture (from 0.5.20) and
in PostgreSQL, and url-safe base64 as the ``slug`` of a page.
Source: pict-rs src/repo/hash.rs, src/formats.rs; ``tests/e2e/test_pictrs_api.py`` compares it with real servers.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

_LENGTH: Final = 39
_SHA256: Final = 32
_SIZE_TO: Final = 38

#: By the last byte.
FORMATS: Final = ("apng", "avif", "gif", "webp", "avif", "jpeg", "jxl", "png", "webp", "mp4", "webm")

#: Of the format byte: pictures that do not move. Every GIF counts as moving.
_STILL: Final = range(4, 9)

_ETAG = re.compile(r'(?:W/)?"([A-Za-z0-9+/=]{52})"')


@dataclass(frozen=True, slots=True)
class StoredHash:
    """The name of some bytes."""

    raw: bytes

    def __post_init__(self) -> None:
        """:raises ValueError: these are not 39 bytes."""
        if len(self.raw) != _LENGTH:
            raise ValueError(f"a hash of pict-rs has {_LENGTH} bytes, and this has {len(self.raw)}")

    @classmethod
    def from_hex(cls, text: str) -> StoredHash:
        """:raises ValueError: it is not such a name."""
        return cls(bytes.fromhex(text))

    @classmethod
    def from_base64(cls, text: str) -> StoredHash:
        """From either alphabet of base64.

        :raises ValueError: it is not such a name.
        """
        try:
            return cls(base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True))
        except binascii.Error as error:
            raise ValueError("a hash of pict-rs is base64, and this is not") from error

    @classmethod
    def from_etag(cls, header: str) -> StoredHash | None:
        """None if the header is missing, or is another server's."""
        found = _ETAG.fullmatch(header.strip())
        return None if found is None else cls.from_base64(found[1])

    @property
    def sha256(self) -> str:
        """Of the stored original: 64 hex digits."""
        return self.raw[:_SHA256].hex()

    @property
    def size(self) -> int:
        """Bytes of the stored original."""
        return int.from_bytes(self.raw[_SHA256:_SIZE_TO], "big")

    @property
    def format(self) -> str:
        """As an extension without its dot; empty if this version does not know it."""
        number = self.raw[_SIZE_TO]
        return FORMATS[number] if number < len(FORMATS) else ""

    @property
    def is_still(self) -> bool:
        """Whether it is a picture that does not move."""
        return self.raw[_SIZE_TO] in _STILL

    @property
    def slug(self) -> str:
        """The name of a page that begins with it."""
        return base64.urlsafe_b64encode(self.raw).decode("ascii")

    @property
    def base64(self) -> str:
        """As PostgreSQL has it."""
        return base64.b64encode(self.raw).decode("ascii")
