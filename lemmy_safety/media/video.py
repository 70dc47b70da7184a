"""Videos by FFmpeg (PyAV): the frames that are worth a look, over the whole length, in bounded time and memory.

A short video is decoded from beginning to end. Of a longer one first the key frames of the whole length are looked at,
then what is between them, stretch by stretch in an order that spreads, without the frames that no other frame needs; each
stretch until two looks are at most 0.4 s apart. That goes on until all is seen or the time is up, and what was seen by
then is judged. All video streams of a file are looked at, and its cover pictures. Sound and subtitles are not.

Whatever the bytes are, ``MediaError`` is all that leaves. Nothing is written anywhere, and nothing is opened but the bytes.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, chain, pairwise, takewhile, zip_longest
from typing import TYPE_CHECKING, Final

from lemmy_safety.errors import MediaError
from lemmy_safety.media import containers, costs, rendering, sniff
from lemmy_safety.media.base import DecodedMedia, MediaLimits
from lemmy_safety.media.complaints import complaint_of
from lemmy_safety.media.sampling import LONG_S, LOOK_EVERY_S, Deadline, FrameSampler, spread_order
from lemmy_safety.media.video_pictures import FramePainter
from lemmy_safety.media.video_streams import Skip, VideoFile, decoded, time_of
from lemmy_safety.records import Anomaly, AnomalyKind, Frame, ItemStatus, MediaInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from lemmy_safety.media.video_streams import Track

#: The view of a picture that players show before or instead of the video.
COVER: Final = "cover picture"
#: The view of what an AVIF holds beside its moving picture: its still one, or its transparency.
STILL_PICTURE: Final = "still picture"

# What looking at one frame costs beside decoding it, in pixels' worth: on one core of 2.5 GHz a pixel takes 2 ns (AV1) to
# 6 ns (VP9), comparing a frame 1 ms.
_FRAME_OVERHEAD: Final = 250_000
#: Up to this cost every frame is decoded: 250 frames of 1920 x 1080, 500 of 1280 x 720; 2 to 4 s.
ALL_FRAMES_COST: Final = 600_000_000
# Of a longer one, looks nearer to each other than this teach nothing.
_LOOK_AGAIN_S: Final = 0.1
# H.264 and H.265 reorder 16 frames at most.
_MOST_LEADING: Final = 16
# Decoding processes are what keeps several cores busy. Only for what may not end in time more threads are used, and not
# for frames of which each thread would hold a few hundred megabytes.
_MOST_THREADS: Final = 4
_THREADED_PIXELS: Final = 16_000_000


def decode_video(
    data: bytes, kind: sniff.Kind, limits: MediaLimits, *, deadline: Deadline | None = None
) -> DecodedMedia:
    """Look at a video of a kind that ``video_streams`` has a demuxer for.

    Frames have their number in the order of showing and the second since the first one. Of the frames that are looked at,
    the different ones are kept (see ``FrameSampler``); those of a second video stream have a view that says so, and so
    has a cover picture (``COVER``), unless it shows what the video shows. TRUNCATED, DAMAGED, FRAMES_LEFT_OUT and
    EMBEDDED_PICTURE anomalies say what was odd.

    :raises MediaError: UNREADABLE (no video in it, or no frame came out), UNSUPPORTED (a codec that is not decoded here)
        or TOO_LARGE.
    """
    deadline = deadline or Deadline()
    try:
        with VideoFile(data, kind, max_pixels=limits.max_pixels, deadline=deadline) as file:
            player = _Player(file, kind, limits, deadline)
            player.play()
            return player.result(is_cut_off=_is_cut_off(data, kind))
    except MediaError:
        raise
    except MemoryError as error:
        raise MediaError(ItemStatus.UNREADABLE, "out of memory", decoder_broke=True) from error
    except Exception as error:  # hostile bytes; PyAV raises some ten classes for them
        reason = f"{kind.name} that cannot be decoded: {complaint_of(error)}"
        raise MediaError(ItemStatus.UNREADABLE, reason) from error


def _is_before(time: int, packet: Packet[VideoStream]) -> bool:
    return (packet.pts or 0) < time


def _next_key_s(track: Track) -> list[float]:
    """For each packet the time of the next one behind it that is said to begin with a key frame; infinite: there is none."""
    following_s = math.inf
    next_s: list[float] = []
    for packet in reversed(track.packets):
        next_s.append(following_s)
        if track.is_key(packet):
            following_s = track.seconds(packet.pts or 0)
    return next_s[::-1]


def _is_cut_off(data: bytes, kind: sniff.Kind) -> bool:
    """Whether the file ends before its container says; a recorder that was never stopped says nothing."""
    return kind in _SAYING_THEIR_END and containers.structure_of(data, kind).end is None


_SAYING_THEIR_END: Final = frozenset({sniff.MP4, sniff.QUICKTIME, sniff.THREE_GP, sniff.WEBM, sniff.MATROSKA})


@dataclass(frozen=True, slots=True)
class _Stretch:
    """From one key frame to the next: which packets, and the time of the next key frame in units of the stream."""

    track: Track
    packets: Sequence[Packet[VideoStream]]
    end: int
    is_last: bool

    @property
    def seconds(self) -> float:
        return self.track.seconds(self.end) - self.track.seconds(self.packets[0].pts or 0)


class _TooCostlyError(Exception):
    """Looking at every frame would take too long."""


_FIRST_QUICKLY: Final[tuple[Skip, ...]] = ("NONREF", "DEFAULT")


class _Player:
    """One playing of one file, and what was learned of it."""

    def __init__(self, file: VideoFile, kind: sniff.Kind, limits: MediaLimits, deadline: Deadline) -> None:
        self._file = file
        self._kind = kind
        self._limits = limits
        self._deadline = deadline
        self._sampler = FrameSampler(limits.max_frames)
        self._tracks = [track for track in file.tracks if not track.is_cover]
        if kind is sniff.AVIF:  # its still picture stands before the moving one
            self._tracks.sort(key=lambda track: -len(track.packets))
        self._covers = [track for track in file.tracks if track.is_cover]
        self._painters = {track.number: FramePainter(track.aspect) for track in file.tracks}
        # One stream after the other on a common line of time, covers behind all: what the looks are spread over.
        ends = accumulate((track.duration_s + LOOK_EVERY_S for track in [*self._tracks, *self._covers]), initial=0.0)
        self._begins_s = {
            track.number: begin for track, begin in zip([*self._tracks, *self._covers], ends, strict=False)
        }
        self._skims = False
        self._threads = 1
        self._complaints: list[str] = []
        self._sizes: dict[int, tuple[int, int]] = {}
        self._pinned = {""}
        self._unseen_s = 0.0
        self._seen_until_s = 0.0

    def play(self) -> None:
        """Look at the file.

        :raises MediaError: there is nothing to look at, or it is too large.
        """
        if not self._file.tracks:
            self._refuse_empty()
        for track in self._file.tracks:
            costs.refuse_large(track.width, track.height, self._limits.max_pixels)
        # Decoded first, because they are cheap and the time may run out; offered last, because one that shows what the
        # video shows teaches nothing.
        covers = [self._cover(track) for track in self._covers[: self._limits.max_frames]]
        self._look_at_tracks()
        for offer in chain.from_iterable(covers):
            offer()

    def _cover(self, track: Track) -> list[Callable[[], None]]:
        offers: list[Callable[[], None]] = []
        for frame in self._frames(track, track.packets, "DEFAULT"):
            painter = self._painters[track.number]
            self._sizes[track.number] = painter.shown_size(frame)
            picture = Frame(pixels=painter.paint(frame).light, view=COVER)
            at_s = self._begins_s[track.number]
            offers.append(
                partial(self._sampler.offer, painter.miniature(frame), at_s, LONG_S, partial(tuple, [picture]))
            )
        return offers

    def _look_at_tracks(self) -> None:
        try:
            for track in self._tracks:
                self._refuse_costly()
                whole = _Stretch(track, track.packets, track.times[-1] + 1, is_last=True)
                self._look(whole, "DEFAULT")
                if self._deadline.over:
                    self._unseen_s += max(0.0, track.duration_s - self._seen_until_s)
        except _TooCostlyError:
            self._skim()

    def _refuse_costly(self) -> None:
        if sum(len(track.packets) * (track.pixels + _FRAME_OVERHEAD) for track in self._tracks) > ALL_FRAMES_COST:
            raise _TooCostlyError

    def _refuse_empty(self) -> None:
        name = self._kind.name
        if self._file.foreign_codecs:
            codecs = ", ".join(sorted(set(self._file.foreign_codecs)))
            raise MediaError(ItemStatus.UNSUPPORTED, f"{name} in the codec {codecs}, which is not decoded here")
        if self._file.complaint:
            raise MediaError(ItemStatus.UNREADABLE, f"{name} that cannot be decoded: {self._file.complaint}")
        raise MediaError(ItemStatus.UNREADABLE, f"{name} with no video in it")

    # --- long videos ---------------------------------------------------------------------------------------------------
    def _skim(self) -> None:
        """Key frames first, then what is between them, all streams in turn, until the time is up."""
        self._skims = True
        if max(track.pixels for track in self._tracks) <= _THREADED_PIXELS:
            self._threads = min(_MOST_THREADS, os.cpu_count() or 1)
        per_track = [self._stretches(track, self._look_at_keys(track)) for track in self._tracks]
        stretches = [stretch for turn in zip_longest(*per_track) for stretch in turn if stretch is not None]
        self._unseen_s = sum(stretch.seconds for stretch in stretches)
        for stretch in stretches:
            for skip in _FIRST_QUICKLY:
                if self._deadline.over:
                    return
                if self._look(stretch, skip, every_s=_LOOK_AGAIN_S) <= LOOK_EVERY_S:
                    break
            self._unseen_s -= stretch.seconds

    def _look_at_keys(self, track: Track) -> list[int]:
        """Look at key frames, of a dense row of them at one every 0.4 s; the places of their packets, ascending.

        Where the decoder can tell what a key frame is, the container's word counts for nothing but for which ones of a
        dense row are passed over: a stream that marks every frame as one, or none, is taken apart all the same.
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

    def _stretches(self, track: Track, keys: list[int]) -> list[_Stretch]:
        """What there is between key frames that are far apart, in an order of which every beginning is spread evenly."""
        stretches = []
        for first, following in pairwise([*keys, len(track.packets)]):
            is_last = following == len(track.packets)
            end = following
            end_time = track.times[-1] + 1 if is_last else track.packets[following].pts or 0
            # Frames that are shown before a key frame and stored behind it may need both sides of it.
            behind = track.packets[following + 1 : following + 1 + _MOST_LEADING]
            leading = sum(1 for _ in takewhile(partial(_is_before, end_time), behind))
            if leading:
                end += 1 + leading
            stretches.append(_Stretch(track, track.packets[first:end], end_time, is_last))
        order = [len(stretches) - 1, *spread_order(len(stretches) - 1)]
        return [stretches[place] for place in order if stretches[place].seconds > LOOK_EVERY_S or place == order[0]]

    # --- looking -------------------------------------------------------------------------------------------------------
    def _look(self, stretch: _Stretch, skip: Skip, *, every_s: float = 0.0) -> float:
        """Offer the frames of a stretch, each for as long as until the next one.

        The most seconds in a row of which frames were passed over by the decoder.
        """
        track = stretch.track
        self._seen_until_s = gap_s = 0.0
        before = stretch.packets[0].pts or 0
        # The one that is offered when it is known how long it is shown, and a later one that may not be worth it.
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
        self._seen_until_s = track.seconds(before)
        self._offer(track, seen, track.between_s(time_of(seen), stretch.end), is_last=stretch.is_last)
        return max(gap_s, track.passed_over_s(before, stretch.end))

    def _frames(self, track: Track, packets: Iterable[Packet[VideoStream]], skip: Skip) -> Iterator[VideoFrame]:
        decoder = self._file.decoder(track, skip, threads=self._threads)
        in_time = takewhile(lambda _: not self._deadline.over, packets)
        for frame in decoded(decoder, in_time, self._complaints.append):
            costs.refuse_large(frame.width, frame.height, self._limits.max_pixels)
            if frame.width * frame.height > track.pixels:  # than its container says
                track.pixels = frame.width * frame.height
                if not self._skims:
                    self._refuse_costly()
            if frame.is_corrupt:
                self._complaints.append(f"the frame at {track.seconds(time_of(frame)):.1f} s is broken")
            yield frame

    def _offer(self, track: Track, frame: VideoFrame, shown_s: float, *, is_last: bool = False) -> None:
        time = time_of(frame)
        at_s, number = track.seconds(time), track.place(time)
        painter = self._painters[track.number]
        self._sizes.setdefault(track.number, painter.shown_size(frame))
        view = self._view_of(track)

        def render() -> tuple[Frame, ...]:
            picture = painter.paint(frame)
            light = Frame(pixels=picture.light, index=number, at_s=at_s, view=view)
            if picture.dark is None:
                return (light,)
            return light, replace(light, pixels=picture.dark, view=view or rendering.ON_DARK)

        # The first frame and the last one, each once: both may be decoded twice.
        end = "last" if is_last else "first" if number == 0 else ""
        pinned = track is self._tracks[0] and end not in self._pinned
        self._pinned |= {end} if pinned else set()
        self._sampler.offer(
            painter.miniature(frame),
            self._begins_s[track.number] + at_s,
            shown_s,
            render,
            pinned=pinned,
        )

    def _view_of(self, track: Track) -> str:
        place = self._tracks.index(track)
        if place and self._kind is sniff.AVIF:
            return STILL_PICTURE
        return f"video stream {place + 1}" if place else ""

    # --- the outcome ---------------------------------------------------------------------------------------------------
    def result(self, *, is_cut_off: bool) -> DecodedMedia:
        """What was seen.

        :raises MediaError: UNREADABLE, nothing was.
        """
        frames = self._sampler.frames
        if not frames:
            complaint = next(chain(self._complaints, [self._file.complaint]), "") or "no picture came out"
            if self._deadline.over:
                complaint = f"no picture came out within {self._deadline.seconds:g} s"
            reason = f"{self._kind.name} that cannot be decoded: {complaint}"
            raise MediaError(ItemStatus.UNREADABLE, reason, decoder_broke=self._deadline.over)
        main = (self._tracks or self._covers)[0]
        width, height = self._sizes.get(main.number, (main.width, main.height))
        info = MediaInfo(
            media_type=self._kind.media_type,
            width=width,
            height=height,
            frame_count=max(1, len(main.packets)),
            duration_s=main.duration_s if self._tracks else None,
            anomalies=tuple(self._anomalies(is_cut_off=is_cut_off)),
        )
        return DecodedMedia(info=info, frames=frames)

    def _anomalies(self, *, is_cut_off: bool) -> Iterator[Anomaly]:
        complaints = [complaint for complaint in (self._file.complaint, *self._complaints) if complaint]
        if is_cut_off or self._file.is_cut_off:
            detail = "the file ends before its container says"
            for track in self._tracks:
                if len(track.packets) < track.declared:
                    detail = f"{len(track.packets)} of {track.declared} frames are there"
            yield Anomaly(kind=AnomalyKind.TRUNCATED, detail=detail)
        if complaints:
            more = f", and {len(complaints) - 1} more of such" if len(complaints) > 1 else ""
            yield Anomaly(kind=AnomalyKind.DAMAGED, detail=complaints[0] + more)
        for left_out in self._left_out():
            yield Anomaly(kind=AnomalyKind.FRAMES_LEFT_OUT, detail=left_out)
        not_kept = self._sampler.anomaly()
        if not_kept is not None:
            yield not_kept
        yield from self._embedded()

    def _left_out(self) -> Iterator[str]:
        if self._unseen_s > LONG_S:
            total_s = sum(track.duration_s for track in self._tracks)
            within = f"within {self._deadline.seconds:g} s"
            yield f"{self._unseen_s:.1f} of {total_s:.1f} s could not be looked at {within}"
        if self._file.is_endless:
            yield f"only the first {sum(len(track.packets) for track in self._tracks)} frames were read"
        for codec in sorted(set(self._file.foreign_codecs)):
            yield f"a video stream in the codec {codec}, which is not decoded here, was not looked at"

    def _embedded(self) -> Iterator[Anomaly]:
        for cover in self._covers:
            width, height = self._sizes.get(cover.number, (cover.width, cover.height))
            packet = cover.packets[0]
            detail = f"a cover picture of {width} x {height} px beside the video"
            yield Anomaly(kind=AnomalyKind.EMBEDDED_PICTURE, detail=detail, offset=packet.pos, size=packet.size)
        if self._kind is not sniff.AVIF:
            for track in self._tracks[1:]:
                detail = f"{self._view_of(track)}, which most players do not show"
                yield Anomaly(kind=AnomalyKind.EMBEDDED_PICTURE, detail=detail)
