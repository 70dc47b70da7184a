"""WebM and Matroska: elements preceded by an identifier and a length, both of variable size (RFC 8794, RFC 9559)."""

from __future__ import annotations

from typing import Final

from lemmy_safety.media.structure.parts import Block, Octets, Parts, Steps, Structure, big

_EBML: Final = 0x1A45DFA3
_DOC_TYPE: Final = 0x4282
_SEGMENT: Final = 0x18538067
_CLUSTER: Final = 0x1F43B675
_VOID: Final = 0xEC
_CHECKSUM: Final = 0xBF
# The segment's own tables (seek head, info, tracks, cues), and the content of a cluster: times, blocks and positions,
# which
# come one by one if a recorder left the cluster's length open.
_KNOWN: Final = frozenset(
    {_CLUSTER, _CHECKSUM, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B} | {0xE7, 0xA3, 0xA0, 0xAF, 0xA7, 0xAB, 0x5854}
)
_NAMED: Final = {
    _VOID: (Block.FREE, "free space"),
    0x1941A469: (Block.TAGS, "attachments"),
    0x1043A770: (Block.TAGS, "chapters"),
    0x1254C367: (Block.TAGS, "tags"),
}
_MAX_ID_SIZE: Final = 4
# A header has seven; we need only the name of the kind.
_MAX_HEADER_ELEMENTS: Final = 1_000
_BYTE_BITS: Final = 8
_OPEN: Final = -1


def read(data: Octets) -> Structure:
    """Read from the EBML header, at the start of ``data``, through the segment; skips over clusters."""
    parts = Parts()
    end: int | None = None
    at = 0
    steps = Steps()
    while steps.take():
        element = _element(data, at)
        if element is None or (at and element[0] not in {_SEGMENT, _VOID, _CHECKSUM}):
            break  # what follows the segment, even a second file
        name, body, size = element
        if name == _SEGMENT:
            stop = len(data) if size == _OPEN else body + size
            at, whole = _segment(data, body, min(stop, len(data)), parts, steps, is_open=size == _OPEN)
            end = at = at if size == _OPEN else stop
            if not whole or stop > len(data):
                return parts.structure(crowded=steps.over)
        elif size == _OPEN or body + size > len(data):
            break
        else:
            if name == _VOID:
                parts.add(Block.FREE, "free space", [(body, size)])
            at = body + size
            end = at if end is not None else None
    return parts.structure(None if steps.over else end, crowded=steps.over)


def _segment(data: Octets, at: int, stop: int, parts: Parts, steps: Steps, *, is_open: bool) -> tuple[int, bool]:
    """Step through a segment's elements: returns where they end, and whether none was cut off.

    A segment of open length ends before the first element that cannot be part of one.
    """
    while steps.take():
        element = _element(data, at) if at < stop else None
        if element is None:
            return at, True
        name, body, size = element
        if name == _CLUSTER and size == _OPEN:
            at = body
            continue
        known = name in _KNOWN or name in _NAMED
        if is_open and not known:
            return at, True
        if size == _OPEN or body + size > stop:
            return at, False
        if name not in _KNOWN:
            block, title = _NAMED.get(name, (Block.OTHER, f"element {name:#x}"))
            parts.add(block, title, [(body, size)])
        at = body + size
    return -1, False


def begins_file(data: Octets, at: int) -> bool:
    """Whether an EBML header is at ``at``, followed by something that such files have, whatever its label."""
    header = _element(data, at)
    if header is None or header[0] != _EBML or header[2] == _OPEN:
        return False
    following = _element(data, header[1] + header[2])
    return following is not None and following[0] in {_SEGMENT, _VOID, _CHECKSUM}


def doc_type(data: Octets) -> bytes:
    """The file type in the EBML header, such as ``webm``; empty if it is not among its first elements."""
    header = _element(data, 0)
    if header is None or header[0] != _EBML:
        return b""
    at = header[1]
    end = min(len(data), at + header[2])
    for _ in range(_MAX_HEADER_ELEMENTS):
        element = _element(data, at) if at < end else None
        if element is None or element[2] == _OPEN:
            return b""
        name, body, size = element
        if name == _DOC_TYPE:
            return bytes(data[body : body + size]).rstrip(b"\0")
        at = body + size
    return b""


def _element(data: Octets, at: int) -> tuple[int, int, int] | None:
    """Identifier, offset and size of the content of the element at ``at``; None if there is none."""
    first = data[at] if at < len(data) else 0
    id_size = _BYTE_BITS + 1 - first.bit_length()
    length_at = at + id_size
    if not first or id_size > _MAX_ID_SIZE or length_at >= len(data) or not data[length_at]:
        return None
    length_size = _BYTE_BITS + 1 - data[length_at].bit_length()
    value_bits = 7 * length_size
    size = big(data, length_at, length_size) & ((1 << value_bits) - 1)
    if size == (1 << value_bits) - 1:
        size = _OPEN
    body = length_at + length_size
    return None if body > len(data) else (big(data, at, id_size), body, size)
