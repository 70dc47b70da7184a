"""One video stream as described by its packets: times, lengths, key frames. Decodes nothing, and trusts nothing.

A file's author can write any times: every method here returns a sane answer for all numbers.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fractions import Fraction

    from av.packet import Packet
    from av.video.stream import VideoStream

#: Codecs whose decoders can skip everything but key frames, judged by the packet and not by the container.
_SKIPPING: Final = frozenset(
    {"h264", "hevc", "vp8", "av1", "mpeg1video", "mpeg2video", "mpeg4", "h263", "flv1", "msmpeg4v2", "msmpeg4v3"}
)
_VP9_PROFILE_3: Final = 0b110000
_NOMINAL_S: Final = 1 / 25
_SHORTEST_S: Final = 1 / 240
_LONGEST_S: Final = 1.0
_DAYS_S: Final = 1e6


@dataclass(slots=True, eq=False)
class Track:
    """One video stream. ``number`` is its place in the container, ``declared`` the container's number of frames.

    ``pixels`` is the size of its largest frame, as far as known. The last three describe its role in the file: whether
    players show it, what its frames are called if not, and where it begins on the timeline that all streams
    of a file share, one after the other.

    ``packets`` are in decoding order and have times; ``times`` are those, ascending, in units of ``time_base``.
    """

    number: int
    codec: str
    width: int
    height: int
    time_base: Fraction
    aspect: Fraction | None
    is_cover: bool
    has_alpha: bool
    intra_only: bool
    declared: int
    pixels: int
    packets: list[Packet[VideoStream]] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    is_main: bool = False
    view: str = ""
    begins_s: float = 0.0

    @property
    def skips(self) -> bool:
        """Whether its decoder finds the key frames itself when set to skip all others."""
        return self.codec in _SKIPPING and not self.has_alpha

    @property
    def finds_keys(self) -> bool:
        """Whether its key frames can be found without decoding everything and without trusting the container."""
        return self.skips or ((self.intra_only or self.codec == "vp9") and not self.has_alpha)

    @property
    def frame_s(self) -> float:
        """How long a frame is shown on average."""
        count = len(self.times)
        span_s = float((self.times[-1] - self.times[0]) * self.time_base) if count > 1 else 0.0
        average_s = span_s / (count - 1) if count > 1 else _NOMINAL_S
        return min(max(average_s, _SHORTEST_S), _LONGEST_S) if span_s > 0 else _NOMINAL_S

    @property
    def duration_s(self) -> float:
        """From the first frame to the end of the last, by their own times."""
        return self.seconds(self.times[-1]) + self.frame_s if self.times else 0.0

    def seconds(self, time: int) -> float:
        """A time of this stream in seconds since the first frame; counts frames if times are absurd."""
        seconds = float((time - self.times[0]) * self.time_base)
        return seconds if 0 <= seconds <= _DAYS_S else self.place(time) * _NOMINAL_S

    def place(self, time: int) -> int:
        """The number of the frame with this time, counted from 0 in the order of showing."""
        return bisect_left(self.times, time)

    def between_s(self, time: int, following: int) -> float:
        """How long a frame is shown that another one follows; an average if the times make no sense."""
        between_s = float((following - time) * self.time_base)
        return between_s if between_s > 0 else self.frame_s

    def shown_s(self, time: int) -> float:
        """How long the frame with this time is shown."""
        after = bisect_right(self.times, time)
        return self.between_s(time, self.times[after]) if after < len(self.times) else self.frame_s

    def passed_over_s(self, time: int, following: int) -> float:
        """Seconds between two frames if there are others in between, else 0."""
        return self.between_s(time, following) if self.place(following) - self.place(time) > 1 else 0.0

    def is_key(self, packet: Packet[VideoStream]) -> bool:
        """Whether decoding can begin with this packet: by the packet itself if possible, else as the container says."""
        if self.intra_only:
            return True
        if self.codec != "vp9":
            return packet.is_keyframe
        # VP9 bitstream specification 6.2: marker (2 bits), profile (2, and one reserved for the last profile), whether it
        # only shows an earlier frame (1), and 0 for a key frame (1).
        first = memoryview(packet)[0]
        not_key = 0b0110 if first & _VP9_PROFILE_3 == _VP9_PROFILE_3 else 0b1100
        return not first & not_key
