"""What travels between the stages of a pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lemmy_safety.records import Sample, StoredObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An object's bytes, on the way to the decoder. ``data`` is counted against the byte budget."""

    obj: StoredObject
    data: bytes
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """An object on the way to the detectors, decoded or not."""

    obj: StoredObject
    sample: Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAction:
    """An object flagged in an earlier pass and not acted on: nothing to read, only the action is due."""

    key: str
