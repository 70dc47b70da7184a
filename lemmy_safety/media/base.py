"""The contract of the media room: limits in, frames or a ``MediaError`` out. Imports no decoder.

A ``Decoder`` is what other rooms use. ``InlineDecoder`` works in the caller's thread, ``ProcessDecoder`` in its own
processes; both give the same frames and refuse the same files.
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
    """The limits for one medium: ``max_bytes`` as stored, ``max_pixels`` = width x height of its canvas.

    ``max_frames`` is the most different frames of an animation or video to examine, and ``look_s`` the seconds to
    spend on that. If the longer side of a picture is more than ``crop_ratio`` times its shorter one, its ends are
    examined as well (0: never).
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
    """One medium as its viewer sees it. ``frames`` is never empty; ``pdqs`` are their hashes, one for each frame, once
    it
    leaves the decoder.
    """

    info: MediaInfo
    frames: tuple[Frame, ...]
    pdqs: tuple[Pdq, ...] = ()


class Decoder(ABC):
    """Turns stored bytes into frames. All methods may be called from several threads at once."""

    @property
    @abstractmethod
    def version(self) -> str:
        """What this decoder can and may decode.

        Recorded with every object that could not be decoded: if it changes, a later pass reads those again.
        """

    @abstractmethod
    def decode(self, data: bytes) -> DecodedMedia:
        """Decode one medium, and hash its frames while the decoder has them: PDQ takes milliseconds a frame.

        :raises MediaError: its ``status`` is UNREADABLE (no picture in it), UNSUPPORTED (a medium that this
            installation does not decode), TOO_LARGE (over a limit) or DETECTOR_FAILED (the decoder was closed first);
            its ``reason`` is for a person.
        :raises WorkerDied: decoding is not possible at all. Nothing else is raised, whatever the bytes are.
        """

    def make_way(self, data: bytes, *, share_s: float) -> bool:  # noqa: ARG002 - most decoders can end nothing
        """End the decoding of this very object, if it has taken at least ``share_s``: its caller gets DETECTOR_FAILED,
        or
        what is known by then.

        Can be called from any thread; does not wait. Returns whether it was ended; a decoder without processes never
        ends it.
        """
        return False

    def shown_so_far(self, data: bytes) -> DecodedMedia | None:  # noqa: ARG002 - most decoders know nothing before the end
        """What this very object itself shows, while ``decode`` examines its other content; None if that is not known.

        Can be called from any thread; does not wait.
        """
        return None

    def anomaly_of_name(self, key: str, media_type: str) -> Anomaly | None:
        """The anomaly that a key's name means another kind of file than the decoded one; None if the name fits."""
        # This module loads nothing of the room except its contract.
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
