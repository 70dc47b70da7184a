"""Files of other kinds within a picture: archives, programs, documents, web pages and scripts, by signature.

Searches where such files are put: in metadata, after the end, and at the end for the directory that makes any file a
zip
archive. Does not search picture data: noise contains any three letters of a script. Opens none of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lemmy_safety.media.structure.parts import little

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lemmy_safety.media.structure.parts import Octets

# A zip archive's last record may be followed by a comment of up to 65,535 bytes (APPNOTE 4.3.16).
_ZIP_END_SIZE: Final = 22
_ZIP_END_REACH: Final = _ZIP_END_SIZE + 65_535
_MAX_ZIP_ENDS: Final = 16
#: Places checked in one stretch; metadata has none, and one match is enough.
_MAX_CHECKED: Final = 1_000


@dataclass(frozen=True, slots=True)
class Attachment:
    """One file: where it begins, its size as far as known (else up to the end of where it was found), and its name."""

    offset: int
    size: int
    name: str


def in_stretch(content: Octets, *, skip_zip: bool) -> Iterator[Attachment]:
    """The first file of each kind that begins in some metadata or after a picture's end; offsets are in ``content``.

    ``skip_zip``: ``zip_archive`` has already found the archive.
    """
    octets = bytes(content)
    for name, signature, fits in _BINARIES[1:] if skip_zip else _BINARIES:
        at = octets.find(signature)
        for _ in range(_MAX_CHECKED):
            if at < 0:
                break
            if fits(octets, at):
                yield Attachment(at, len(octets) - at, name)
                break
            at = octets.find(signature, at + 1)
    if b"<" in octets or b"__" in octets or octets[:2] == b"#!":
        lowered = octets.lower()
        for name, text in _TEXTS:
            found = text.search(lowered)
            if found is not None:
                yield Attachment(found.start(), len(octets) - found.start(), name)


def zip_archive(data: Octets) -> Attachment | None:
    """The archive that zip programs find in ``data``: they search for its directory from the end."""
    start = max(0, len(data) - _ZIP_END_REACH)
    tail = bytes(data[start:])
    at = len(tail)
    for _ in range(_MAX_ZIP_ENDS):
        at = tail.rfind(b"PK\5\6", 0, at)
        if at < 0:
            return None
        end = start + at
        size, offset = little(tail, at + 12, 4), little(tail, at + 16, 4)
        directory = end - size
        if size and directory >= 0 and data[directory : directory + 4] == b"PK\1\2":
            # Its offsets count from its own beginning, or from the file's if it was made for that file.
            first = little(data, directory + 42, 4)
            starts = [start for start in (directory - offset + first, first) if 0 <= start < directory]
            begins = next((start for start in starts if data[start : start + 4] == b"PK\3\4"), directory)
            behind = min(end + _ZIP_END_SIZE + little(tail, at + 20, 2), len(data))
            return Attachment(begins, behind - begins, "zip archive")
    return None


def _anything(_: bytes, __: int) -> bool:
    return True


def _local_zip_file(octets: bytes, at: int) -> bool:
    """Whether a zip entry's header has a version, a method and a name that exist (APPNOTE 4.3.7)."""
    return octets[at + 5 : at + 6] == b"\0" and octets[at + 9 : at + 10] == b"\0" and little(octets, at + 26, 2) > 0


def _windows_program(octets: bytes, at: int) -> bool:
    place = at + little(octets, at + 60, 4)
    return octets[place : place + 4] == b"PE\0\0"


def _unix_program(octets: bytes, at: int) -> bool:
    return octets[at + 4 : at + 5] in {b"\1", b"\2"} and octets[at + 5 : at + 6] in {b"\1", b"\2"}


_BINARIES: Final[tuple[tuple[str, bytes, Callable[[bytes, int], bool]], ...]] = (
    ("zip archive", b"PK\3\4", _local_zip_file),
    ("RAR archive", b"Rar!\x1a\7", _anything),
    ("7-Zip archive", b"7z\xbc\xaf\x27\x1c", _anything),
    ("xz archive", b"\xfd7zXZ\0", _anything),
    ("PDF document", b"%PDF-", _anything),
    ("Windows program", b"MZ", _windows_program),
    ("Unix program", b"\x7fELF", _unix_program),
)
# In lower case, as they are searched. An XMP block's own "<?xpacket" and "<x:xmpmeta" are not among them.
_TEXTS: Final = (
    ("PHP script", re.compile(rb"<\?php\b")),
    ("PHP archive", re.compile(rb"__halt_compiler\(\);")),
    ("web page", re.compile(rb"<(?:!doctype html|html|script|iframe)\b")),
    ("shell script", re.compile(rb"\A#!\s*+/[a-z/]")),
)
