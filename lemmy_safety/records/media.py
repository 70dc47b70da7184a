"""What is decoded from an object: frames, fingerprints, and facts about the file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lemmy_safety.records.objects import ItemStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Pdq:
    """A PDQ perceptual hash (ThreatExchange): 256 bits as 64 hex digits, and its quality 0..100."""

    hex: str
    quality: int


class AnomalyKind(StrEnum):
    """What can be odd about a file besides the pictures that it shows. None of these is a verdict."""

    TRUNCATED = "truncated"
    """It ends too early; the existing part was judged."""
    DAMAGED = "damaged"
    """Parts of it cannot be decoded; the visible part was judged."""
    FRAMES_LEFT_OUT = "frames_left_out"
    """It shows more different pictures than were checked."""
    TRAILING_DATA = "trailing_data"
    """Bytes after the end of the picture that no viewer shows."""
    EMBEDDED_PICTURE = "embedded_picture"
    """A second picture inside, or after the first one; it was judged as well."""
    EMBEDDED_FILE = "embedded_file"
    """A file of another kind inside or after the picture: an archive, a program, a web page, a document."""
    OVERSIZED_METADATA = "oversized_metadata"
    """Metadata larger than normal."""
    OTHER_THUMBNAIL = "other_thumbnail"
    """The embedded preview shows a different picture than the file; it was judged as well."""
    LYING_EXTENSION = "lying_extension"
    """The key's extension is that of another kind of file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """One anomaly. ``detail`` is one line for a person; ``offset`` and ``size`` are in bytes of the stored file."""

    kind: AnomalyKind
    detail: str
    offset: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture as a viewer sees it: orientation applied, transparency composited.

    ``pixels`` has shape (height, width, 3), dtype uint8, RGB, C-contiguous. ``index`` counts the file's frames from 0;
    ``at_s`` is the time in seconds within an animation or video, None for a still. ``view`` says what part or rendering
    of that frame this is, such as ``left end``, ``on a dark page`` or ``picture at byte 48213``; empty for the frame itself.
    ``plain`` frames are blank: a classifier sees nothing on them.
    """

    pixels: npt.NDArray[np.uint8]
    index: int = 0
    at_s: float | None = None
    view: str = ""
    plain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """What was learned about a medium from its bytes, never from its name.

    ``width`` and ``height`` are the picture's own pixels after orientation (frames may be scaled down),
    ``frame_count`` is how many the file holds, not how many were decoded. ``duration_s`` is the playing time in seconds
    of one round of an animation or video, None for a still or if unknown.
    """

    media_type: str
    width: int
    height: int
    frame_count: int = 1
    duration_s: float | None = None
    anomalies: tuple[Anomaly, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why some bytes could not be decoded.

    ``decoder_broke``: the decoder crashed, hung or ran out of memory on them, so their content is unknown.
    """

    status: ItemStatus
    reason: str
    decoder_broke: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A detector's input for some bytes: their digest, the frames, and one PDQ hash per frame.

    ``sha256`` is 64 lower-case hex digits of the stored bytes. Without frames, ``refusal`` says why; a hash list may
    still contain the bytes.
    """

    sha256: str
    info: MediaInfo | None = None
    frames: tuple[Frame, ...] = ()
    pdqs: tuple[Pdq, ...] = ()
    refusal: Refusal | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of its pixels, counted against the budget of decoded frames."""
        return sum(frame.pixels.nbytes for frame in self.frames)
