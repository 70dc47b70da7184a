"""Examines the frames of a video: decodes stretches of it, and offers the frames to the sampler.

``video`` decides the order and when to stop; ``sampling`` decides which frames are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Final

from lemmy_safety.media import costs
from lemmy_safety.media.moving.sampling import LONG_S, LOOK_EVERY_S, FrameSampler, spread_order
from lemmy_safety.media.moving.video_pictures import FramePainter
from lemmy_safety.media.moving.video_streams import decoded, time_of
from lemmy_safety.media.pixels import rendering
from lemmy_safety.records import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from lemmy_safety.media.base import MediaLimits
    from lemmy_safety.media.deadline import Deadline
    from lemmy_safety.media.moving.video_streams import Skip, VideoFile
    from lemmy_safety.media.moving.video_tracks import Track

# H.264 and H.265 reorder 16 frames at most.
_MOST_LEADING: Final = 16


@dataclass(frozen=True, slots=True)
class Stretch:
    """From one key frame to the next: which packets, and the time of the next key frame in units of the stream."""

    track: Track
    packets: Sequence[Packet[VideoStream]]
    end: int
    is_last: bool

    @property
    def seconds(self) -> float:
        return self.track.seconds(self.end) - self.track.seconds(self.packets[0].pts or 0)


def stretches_between(track: Track, keys: list[int]) -> list[Stretch]:
    """The stretches between distant key frames; every beginning of the list is spread evenly over the video."""
    stretches = []
    for first, following in pairwise([*keys, len(track.packets)]):
        is_last = following == len(track.packets)
        end = following
        end_time = track.times[-1] + 1 if is_last else track.packets[following].pts or 0
        # Frames that are shown before a key frame and stored after it may need both sides of it.
        behind = track.packets[following + 1 : following + 1 + _MOST_LEADING]
        leading = sum(1 for _ in takewhile(partial(_is_before, end_time), behind))
        if leading:
            end += 1 + leading
        stretches.append(Stretch(track, track.packets[first:end], end_time, is_last))
    order = [len(stretches) - 1, *spread_order(len(stretches) - 1)]
    return [stretches[place] for place in order if stretches[place].seconds > LOOK_EVERY_S or place == order[0]]


def _is_before(time: int, packet: Packet[VideoStream]) -> bool:
    return (packet.pts or 0) < time


def _next_key_s(track: Track) -> list[float]:
    """For each packet the time of the next one after it that is marked as a key frame; infinite: there is none."""
    following_s = math.inf
    next_s: list[float] = []
    for packet in reversed(track.packets):
        next_s.append(following_s)
        if track.is_key(packet):
            following_s = track.seconds(packet.pts or 0)
    return next_s[::-1]


class Looker:
    """Examines the streams of one file."""

    def __init__(self, file: VideoFile, limits: MediaLimits, deadline: Deadline) -> None:
        self._file = file
        self._max_pixels = limits.max_pixels
        self._deadline = deadline
        self._painters = {track.number: FramePainter(track.aspect) for track in file.tracks}
        self._pinned = {""}
        self.sampler = FrameSampler(limits.max_frames)
        #: What could not be decoded, for a person.
        self.complaints: list[str] = []
        #: Width and height as shown, by the stream's number.
        self.sizes: dict[int, tuple[int, int]] = {}
        #: How far the last stretch was examined.
        self.seen_until_s = 0.0
        #: Threads that decoders not yet opened may use.
        self.threads = 1
        #: If set, called when a frame is larger than its container says; may raise.
        self.on_growth: Callable[[], None] | None = None

    def look(self, stretch: Stretch, skip: Skip, *, every_s: float = 0.0) -> float:
        """Offer the frames of a stretch, each with the time until the next one.

        Returns the longest time in seconds in which the decoder skipped frames.
        """
        track = stretch.track
        self.seen_until_s = gap_s = 0.0
        before = stretch.packets[0].pts or 0
        # The next frame to offer, once its duration is known, and a later one that may not be worth it.
        seen: VideoFrame | None = None
        passed: VideoFrame | None = None
        for frame in self._frames(track, stretch.packets, skip):
            time = time_of(frame)
            gap_s = max(gap_s, track.passed_over_s(before, time))
            before = time
            if passed is not None and seen is not None and track.between_s(time_of(passed), time) >= every_s:
                self._offer(track, seen, track.between_s(time_of(seen), time_of(passed)))
                seen, passed = passed, None
            if seen is not None:
                if 0 < track.between_s(time_of(seen), time) < every_s:
                    passed = frame
                    continue
                self._offer(track, seen, track.between_s(time_of(seen), time))
            seen, passed = frame, None
        if seen is None:
            return math.inf
        if passed is not None and (stretch.is_last or track.between_s(time_of(passed), stretch.end) >= every_s):
            self._offer(track, seen, track.between_s(time_of(seen), time_of(passed)))
            seen = passed
        self.seen_until_s = track.seconds(before)
        self._offer(track, seen, track.between_s(time_of(seen), stretch.end), is_last=stretch.is_last)
        return max(gap_s, track.passed_over_s(before, stretch.end))

    def look_at_keys(self, track: Track) -> list[int]:
        """Examine key frames, at most one every 0.4 s if they are dense; returns the places of their packets,
        ascending.

        If the decoder can recognise key frames, the container's marks only decide which ones of a dense row are
        skipped: a stream that marks every frame as one, or none, is still examined.
        """
        if not track.finds_keys:
            return [0]
        next_key_s = _next_key_s(track)
        looked_s = -math.inf
        found = {0}

        def worth_decoding() -> Iterator[Packet[VideoStream]]:
            nonlocal looked_s
            for place, packet in enumerate(track.packets):
                is_key = track.is_key(packet)
                if is_key and next_key_s[place] - looked_s <= LOOK_EVERY_S:
                    continue
                if not track.skips:
                    if not is_key:
                        continue
                    looked_s = track.seconds(packet.pts or 0)
                    found.add(place)
                yield packet

        places = {packet.pts: place for place, packet in reversed(list(enumerate(track.packets)))}
        for frame in self._frames(track, worth_decoding(), "NONKEY"):
            time = time_of(frame)
            if track.skips:
                looked_s = track.seconds(time)
                found.add(places.get(time, 0))
            self._offer(track, frame, track.shown_s(time))
        return sorted(found)

    def look_at_cover(self, track: Track) -> list[Callable[[], None]]:
        """Decode a cover picture; the returned functions offer it to the sampler when called."""
        offers: list[Callable[[], None]] = []
        for frame in self._frames(track, track.packets, "DEFAULT"):
            painter = self._painters[track.number]
            self.sizes[track.number] = painter.shown_size(frame)
            picture = Frame(pixels=painter.paint(frame).light, view=track.view)
            at_s = track.begins_s
            offers.append(
                partial(self.sampler.offer, painter.miniature(frame), at_s, LONG_S, partial(tuple, [picture]))
            )
        return offers

    def _frames(self, track: Track, packets: Iterable[Packet[VideoStream]], skip: Skip) -> Iterator[VideoFrame]:
        decoder = self._file.decoder(track, skip, threads=self.threads)
        in_time = takewhile(lambda _: not self._deadline.over, packets)
        for frame in decoded(decoder, in_time, self.complaints.append):
            costs.refuse_large(frame.width, frame.height, self._max_pixels)
            if frame.width * frame.height > track.pixels:
                track.pixels = frame.width * frame.height
                if self.on_growth is not None:
                    self.on_growth()
            if frame.is_corrupt:
                self.complaints.append(f"the frame at {track.seconds(time_of(frame)):.1f} s is broken")
            yield frame

    def _offer(self, track: Track, frame: VideoFrame, shown_s: float, *, is_last: bool = False) -> None:
        time = time_of(frame)
        at_s, number = track.seconds(time), track.place(time)
        painter = self._painters[track.number]
        self.sizes.setdefault(track.number, painter.shown_size(frame))

        def render() -> tuple[Frame, ...]:
            picture = painter.paint(frame)
            light = Frame(pixels=picture.light, index=number, at_s=at_s, view=track.view)
            if picture.dark is None:
                return (light,)
            return light, replace(light, pixels=picture.dark, view=track.view or rendering.ON_DARK)

        # The first frame and the last one, each once: both may be decoded twice.
        end = "last" if is_last else "first" if number == 0 else ""
        pinned = track.is_main and end not in self._pinned
        self._pinned |= {end} if pinned else set()
        self.sampler.offer(
            painter.miniature(frame),
            track.begins_s + at_s,
            shown_s,
            render,
            pinned=pinned,
        )
