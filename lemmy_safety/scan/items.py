"""What travels between the stages of a pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lemmy_safety.scan.pipeline import Channel

if TYPE_CHECKING:
    from lemmy_safety.records import ItemResult, Sample, StoredObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An object's bytes, on the way to the decoder. ``data`` is counted against the byte budget."""

    obj: StoredObject
    data: bytes
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """An object on the way to the detectors, whether or not it could be decoded."""

    obj: StoredObject
    sample: Sample


class RecordChannel(Channel[tuple[str, "ItemResult | None"]]):
    """The way to the recorder: keys, each with a result or with None."""

    def put_result(self, result: ItemResult) -> None:
        """:raises PipelineStopped: as ``put``."""
        self.put((result.obj.key, result))

    def put_open_action(self, key: str) -> None:
        """An object that was flagged in an earlier pass and not acted on: nothing to read, only the action remains.

        :raises PipelineStopped: as ``put``.
        """
        self.put((key, None))
