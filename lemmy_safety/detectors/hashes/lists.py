"""Lists of known hashes: read from a text file, stored packed, searched by SHA-256 (exact) and by PDQ (near).

The file format is that of python-threatexchange's local files: one entry a line, ``sha256 <64 hex>`` or
``pdq <64 hex>``, upper or lower case. Ours adds a free note after the hash, empty lines and ``#`` comment lines.

This module knows no samples and makes no findings. It logs numbers of entries, never the entries.
"""

from __future__ import annotations

import hashlib
import logging
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from lemmy_safety.errors import DetectorError
from lemmy_safety.fingerprints import HEX_DIGITS, MAX_DISTANCE
from lemmy_safety.permissions import NAMED_PIPE, is_named_pipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    Words = npt.NDArray[np.uint64]

log = logging.getLogger(__name__)

_KINDS = {"sha256": b"s", "pdq": b"p"}
_FORMAT_HINT = "Write one entry a line: 'sha256 <64 hex digits>' or 'pdq <64 hex digits>', then a note if you like."

_BYTES = HEX_DIGITS // 2
_WORDS = _BYTES // 8

#: Rows compared at once, so that one step's output stays in the processor's cache for the next.
_CHUNK_ROWS = 32_768


def _popcount_by_table(words: Words) -> npt.NDArray[np.uint8]:
    """How many bits are set in each word, for numpy before 2.0, which has no ``bitwise_count``."""
    quarters: npt.NDArray[np.uint8] = _BITS_IN_16[words.view(np.uint16)].reshape(*words.shape, 4)
    counts: npt.NDArray[np.uint8] = quarters.sum(axis=-1, dtype=np.uint8)
    return counts


_BITS_IN_16 = np.array([number.bit_count() for number in range(1 << 16)], dtype=np.uint8)
_popcount = np.bitwise_count if hasattr(np, "bitwise_count") else _popcount_by_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """The best match of a search. ``row`` and ``query`` count from 0; ``distance`` is in bits of 256."""

    row: int
    query: int
    distance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HashEntry:
    """One entry of a list: its line in the file (from 1), and its note (empty if it has none)."""

    line: int
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PdqMatch:
    """The entry nearest to one of several hashes. ``query`` is the position of that hash, counted from 0."""

    entry: HashEntry
    query: int
    distance: int


class PdqIndex:
    """Finds the nearest of many PDQ hashes by comparing with all of them: exact, without an index to maintain.

    A search reads 32 MB for a million entries, which takes some 10 ms on one core (numpy 1.26: 150 ms).
    """

    def __init__(self, packed: bytes) -> None:
        """``packed`` holds 32 bytes a hash."""
        rows = np.frombuffer(packed, dtype=np.uint64).reshape(-1, _WORDS)
        # One array per word, so that each step of a search reads adjacent memory.
        self._columns: tuple[Words, ...] = tuple(np.ascontiguousarray(rows[:, word]) for word in range(_WORDS))

    @classmethod
    def of(cls, hexes: Iterable[str]) -> Self:
        return cls(bytes.fromhex("".join(hexes)))

    def __len__(self) -> int:
        return len(self._columns[0])

    def nearest(self, hexes: Sequence[str], *, max_distance: int = MAX_DISTANCE) -> Nearest | None:
        """The row nearest to any of ``hexes`` (64 hex digits each), or None if all are over ``max_distance`` bits away.

        If several are equally near, the first query wins, then the first row.
        """
        best: Nearest | None = None
        for query, text in enumerate(hexes):
            words = np.frombuffer(bytes.fromhex(text), dtype=np.uint64)
            for start in range(0, len(self), _CHUNK_ROWS):
                distances = self._distances(words, slice(start, start + _CHUNK_ROWS))
                row = int(distances.argmin())
                limit = max_distance if best is None else best.distance - 1
                if distances[row] <= limit:
                    best = Nearest(row=start + row, query=query, distance=int(distances[row]))
        return best

    def _distances(self, words: Words, rows: slice) -> npt.NDArray[np.uint16]:
        total = np.zeros(len(self._columns[0][rows]), dtype=np.uint16)
        for column, word in zip(self._columns, words, strict=True):
            total += _popcount(column[rows] ^ word)
        return total


class HashList:
    """Known hashes from one file. Never changes once read; may be searched from several threads."""

    def __init__(self, entries: dict[bytes, int], notes: dict[int, str]) -> None:
        """``entries`` gives the line by one byte of kind and 32 bytes of hash, ``notes`` the note by line."""
        ordered = sorted(entries)
        shas = [key for key in ordered if key[:1] == _KINDS["sha256"]]
        pdqs = [key for key in ordered if key[:1] == _KINDS["pdq"]]
        #: A short name for the list's content, independent of order, notes and comments.
        self.digest = hashlib.sha256(b"".join(ordered)).hexdigest()[:12]
        self._shas = b"".join(key[1:] for key in shas)
        self._pdqs = PdqIndex(b"".join(key[1:] for key in pdqs))
        self._sha_lines = np.array([entries[key] for key in shas], dtype=np.uint32)
        self._pdq_lines = np.array([entries[key] for key in pdqs], dtype=np.uint32)
        self._notes = notes

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file (UTF-8, with or without a byte order mark).

        :raises DetectorError: it cannot be read, or a line is not an entry; names the file and the line.
        """
        if is_named_pipe(path):
            raise DetectorError(f"The hash list {path} cannot be read: {NAMED_PIPE}.", hint="Set HASH_LIST to a file.")
        try:
            with path.open(encoding="utf-8-sig") as lines:
                found = cls.parse(lines, source=str(path))
        except UnicodeDecodeError as error:
            raise DetectorError(f"The hash list {path} is not a UTF-8 text file.", hint=_FORMAT_HINT) from error
        except (OSError, ValueError) as error:  # the latter: NUL in the name
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise DetectorError(
                f"The hash list {path} cannot be read: {reason}.",
                hint="Correct HASH_LIST, or the permissions of the file, or leave HASH_LIST empty to use no list.",
            ) from error
        if len(found) == 0:
            log.warning("The hash list %s has no entries.", path)
        return found

    @classmethod
    def parse(cls, lines: Iterable[str], *, source: str) -> Self:
        """Build a list from lines; of two lines with the same hash the first one counts.

        :raises DetectorError: a line is not an entry; names ``source`` and the line.
        """
        entries: dict[bytes, int] = {}
        notes: dict[int, str] = {}
        for number, line in enumerate(lines, start=1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            kind, value, note = (*text.split(maxsplit=2), "", "")[:3]
            key = _key_of(kind, value)
            if key is None:
                raise DetectorError(f"Line {number} of the hash list {source} is not an entry.", hint=_FORMAT_HINT)
            if entries.setdefault(key, number) == number and note:
                notes[number] = note
        return cls(entries, notes)

    def __len__(self) -> int:
        return len(self._sha_lines) + len(self._pdq_lines)

    def match_sha256(self, digest: str) -> HashEntry | None:
        """The entry with this SHA-256 (64 hex digits), or None."""
        wanted = bytes.fromhex(digest)
        row = bisect_left(range(len(self._sha_lines)), wanted, key=self._sha_at)
        if row == len(self._sha_lines) or self._sha_at(row) != wanted:
            return None
        return self._entry(int(self._sha_lines[row]))

    def match_pdq(self, hexes: Sequence[str]) -> PdqMatch | None:
        """The entry nearest to any of ``hexes``, or None if none is within ``MAX_DISTANCE`` bits.

        The caller leaves out hashes of low quality: the list does not know their quality.
        """
        found = self._pdqs.nearest(hexes)
        if found is None:
            return None
        entry = self._entry(int(self._pdq_lines[found.row]))
        return PdqMatch(entry=entry, query=found.query, distance=found.distance)

    def _sha_at(self, row: int) -> bytes:
        return self._shas[row * _BYTES : (row + 1) * _BYTES]

    def _entry(self, line: int) -> HashEntry:
        return HashEntry(line=line, note=self._notes.get(line, ""))


def _key_of(kind: str, value: str) -> bytes | None:
    prefix = _KINDS.get(kind.lower())
    if prefix is None or len(value) != HEX_DIGITS:
        return None
    try:
        return prefix + bytes.fromhex(value)
    except ValueError:
        return None
