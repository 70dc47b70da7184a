"""The contract of the media room: limits in, frames or a ``MediaError`` out. Imports no decoder.

A ``Decoder`` is what others hold. ``InlineDecoder`` works in the caller's thread, ``ProcessDecoder`` in processes of its
own; they give the same frames and refuse the same files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from lemmy_safety.records import Anomaly, Frame, MediaInfo, Pdq

_MEBI = 1024 * 1024
_MEGA = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """What one medium may cost: ``max_bytes`` as stored, ``max_pixels`` = width x height of its canvas.

    ``max_frames`` is how many different frames of an animation or video are looked at, at most, and ``look_s`` how many
    seconds are spent on that. Of a picture whose longer side is more than ``crop_ratio`` times its shorter one the ends are
    looked at as well (0: of none).
    """

    max_bytes: int
    max_pixels: int
    max_frames: int = 32
    look_s: float = 20.0
    crop_ratio: float = 1.4

    def __post_init__(self) -> None:
        if self.max_bytes < 1 or self.max_pixels < 1 or self.max_frames < 1 or not self.look_s > 0:
            raise ValueError("media limits must be at least 1 byte, 1 pixel and 1 frame, and more than 0 seconds")

    def __str__(self) -> str:
        crops = f"crops from {self.crop_ratio:g}:1" if self.crop_ratio else "no crops"
        sizes = f"{self.max_bytes / _MEBI:g} MiB, {self.max_pixels / _MEGA:g} megapixels"
        return f"{sizes}, {self.max_frames} frames in {self.look_s:g} s, {crops}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedMedia:
    """One medium as its viewer sees it. ``frames`` is never empty; ``pdqs`` are their hashes, one each, once it leaves
    the decoder.
    """

    info: MediaInfo
    frames: tuple[Frame, ...]
    pdqs: tuple[Pdq, ...] = ()


class Decoder(ABC):
    """Turns stored bytes into frames. All methods may be called from several threads at once."""

    @property
    @abstractmethod
    def version(self) -> str:
        """What this decoder is able and allowed to decode.

        Recorded with every object that could not be decoded: when the text differs, a later pass reads those again.
        """

    @abstractmethod
    def decode(self, data: bytes) -> DecodedMedia:
        """Decode one medium, and hash its frames while the decoder has them: PDQ takes milliseconds a frame.

        :raises MediaError: its ``status`` is UNREADABLE (no picture in it), UNSUPPORTED (a medium that this
            installation does not decode), TOO_LARGE (over a limit) or DETECTOR_FAILED (the decoder was closed first);
            its ``reason`` is for a person.
        :raises WorkerDied: nothing can be decoded at all. Nothing else is raised, whatever the bytes are.
        """

    def make_way(self, data: bytes, *, share_s: float) -> bool:  # noqa: ARG002 - most decoders can end nothing
        """End the decoding of this very object, if it has gone on for ``share_s``: its caller gets DETECTOR_FAILED, or what is
        known by then.

        From any thread; does not wait. Whether it was ended; never by a decoder without processes of its own.
        """
        return False

    def shown_so_far(self, data: bytes) -> DecodedMedia | None:  # noqa: ARG002 - most decoders know nothing before the end
        """What this very object itself shows, while ``decode`` looks at what else is in it; None where that is not known.

        From any thread; does not wait.
        """
        return None

    def anomaly_of_name(self, key: str, media_type: str) -> Anomaly | None:
        """The anomaly that a key is a name for another kind of file than the decoded one; None when it may be called so."""
        # Nothing of the room but its contract is loaded with this module.
        from lemmy_safety.media.extensions import lying_extension  # noqa: PLC0415

        return lying_extension(key, media_type)

    @abstractmethod
    def close(self) -> None:
        """Free what the decoder holds. Closing twice is fine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
