r"""The text form of file names: every name that a disk can hold has exactly one key that a ledger can hold.

POSIX file names are bytes. Names in UTF-8 are their own key. A byte that is not part of UTF-8 is written as
``\xHH`` (lower-case hex), and a real backslash in the name is doubled, so that the form can be undone:
``b"caf\xe9.jpg"`` is the key ``caf\xe9.jpg`` (eleven plain characters), ``b"a\b"`` is ``a\\b``. pict-rs itself writes
neither; such files come from people and backup tools, and must not hide their folder.

Used by the backends that list file systems (local, ssh). S3 keys are UTF-8 by definition and are not escaped.
"""

from __future__ import annotations

import os
import re

from lemmy_safety.errors import BadKey

_ESCAPE = re.compile(r"\\(?:(\\)|x([0-9a-f]{2}))")


def to_key(raw: bytes) -> str:
    """The key of a relative path given as bytes with ``/`` between its parts. Always encodable as UTF-8."""
    return raw.replace(b"\\", b"\\\\").decode("utf-8", errors="backslashreplace")


def typed_key(text: str) -> str:
    r"""The key that a person means by a typed key, or by a file name as a shell completes it.

    UTF-8 text is already a key, in the form of this module too. Anything else can only be a file's name: Python
    represents
    each odd byte as a lone surrogate, which no key holds.

    :raises BadKey: no file can have this name.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        pass
    else:
        return text
    try:
        return to_key(os.fsencode(text))
    except UnicodeEncodeError:
        raise _refusal(text) from None


def from_key(key: str) -> bytes:
    r"""The path of a key; undoes ``to_key``.

    Accepts only the form that ``to_key`` makes, so that no two keys name one file and no escape can smuggle in a
    ``/`` or ``..`` (``\x2e\x2e`` is refused).

    :raises BadKey: ``to_key`` cannot have made this key.
    """
    try:
        raw = b"".join(_decoded(key))
    except UnicodeEncodeError:
        raise _refusal(key) from None
    if to_key(raw) != key:
        raise _refusal(key)
    return raw


def _decoded(key: str) -> list[bytes]:
    parts, position = [], 0
    for match in _ESCAPE.finditer(key):
        parts.append(key[position : match.start()].encode("utf-8"))
        parts.append(b"\\" if match[1] else bytes.fromhex(match[2]))
        position = match.end()
    parts.append(key[position:].encode("utf-8"))
    return parts


def _refusal(key: str) -> BadKey:
    return BadKey(
        f"{key!r} is not the key of any file.",
        hint=r"In keys of files a backslash is written \\ and a byte that is not UTF-8 is written \xHH.",
    )
