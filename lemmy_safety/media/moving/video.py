"""Videos by FFmpeg (PyAV): the frames worth examining, over the whole length, in limited time and memory.

A short video is decoded from beginning to end. In a longer one, the key frames of the whole length come first,
then what is between them, stretch by stretch in an order that spreads, without the frames that no other frame needs;
each
stretch until two examined frames are at most 0.4 s apart. That continues until everything is seen or the time is up,
and
what was seen by then is judged. Examines all video streams of a file, and its cover pictures, but not sound and
subtitles.

Whatever the bytes are, only ``MediaError`` is raised. Nothing is written anywhere, and nothing is opened but the bytes.
"""

from __future__ import annotations

import os
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Final

from lemmy_safety.errors import MediaError
from lemmy_safety.media import containers, costs, memory, sniff
from lemmy_safety.media.base import DecodedMedia, MediaLimits
from lemmy_safety.media.complaints import complaint_of
from lemmy_safety.media.deadline import Deadline
from lemmy_safety.media.moving.sampling import LONG_S, LOOK_EVERY_S
from lemmy_safety.media.moving.video_looking import Looker, Stretch, stretches_between
from lemmy_safety.media.moving.video_streams import Skip, VideoFile
from lemmy_safety.records import Anomaly, AnomalyKind, ItemStatus, MediaInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.media.moving.video_tracks import Track

#: The view of a picture that players show before or instead of the video.
COVER: Final = "cover picture"
#: The view of what an AVIF holds besides its moving picture: its still one, or its transparency.
STILL_PICTURE: Final = "still picture"

# The cost of examining one frame, besides decoding it, in pixels' worth: on one core of 2.5 GHz a pixel takes 2 ns
# (AV1) to
# 6 ns (VP9), comparing a frame 1 ms.
_FRAME_OVERHEAD: Final = 250_000
#: Up to this cost every frame is decoded: 250 frames of 1920 x 1080, 500 of 1280 x 720; 2 to 4 s.
ALL_FRAMES_COST: Final = 600_000_000
# In a longer one, examining frames closer together than this is pointless.
_LOOK_AGAIN_S: Final = 0.1
# Decoding processes already keep several cores busy. More threads are used only for videos that may not end in time,
# and
# not for frames of which each thread would hold a few hundred megabytes.
_MOST_THREADS: Final = 4
_THREADED_PIXELS: Final = 16_000_000


def decode_video(
    data: bytes, kind: sniff.Kind, limits: MediaLimits, *, deadline: Deadline | None = None
) -> DecodedMedia:
    """Examine a video of a kind that ``video_streams`` has a demuxer for.

    Frames have their number in the order of showing and the second since the first one. Of the examined frames,
    the different ones are kept (see ``FrameSampler``); those of a second video stream have a view that says so, and so
    does a cover picture (``COVER``), unless it shows what the video shows. TRUNCATED, DAMAGED, FRAMES_LEFT_OUT and
    EMBEDDED_PICTURE anomalies say what was odd.

    :raises MediaError: UNREADABLE (no video in it, or no frame came out), UNSUPPORTED (a codec that is not decoded
        here)
        or TOO_LARGE.
    """
    deadline = deadline or Deadline(limits.look_s)
    try:
        with VideoFile(data, kind, max_pixels=limits.max_pixels, deadline=deadline) as file:
            player = _Player(file, kind, limits, deadline)
            with memory.shortage_or_damage():
                player.play()
            return player.result(is_cut_off=_is_cut_off(data, kind))
    except MediaError:
        raise
    except MemoryError as error:
        raise MediaError(ItemStatus.UNREADABLE, "out of memory", decoder_broke=True) from error
    except Exception as error:  # hostile bytes; PyAV raises some ten classes for them
        reason = f"{kind.name} that cannot be decoded: {complaint_of(error)}"
        raise MediaError(ItemStatus.UNREADABLE, reason, decoder_broke=isinstance(error, TimeoutError)) from error


def _is_cut_off(data: bytes, kind: sniff.Kind) -> bool:
    """Whether the file ends before its container says; False for a recorder that was never stopped."""
    return kind in _SAYING_THEIR_END and containers.structure_of(data, kind).end is None


_SAYING_THEIR_END: Final = frozenset({sniff.MP4, sniff.QUICKTIME, sniff.THREE_GP, sniff.WEBM, sniff.MATROSKA})


def _arranged(tracks: list[Track], kind: sniff.Kind) -> tuple[list[Track], list[Track]]:
    """The streams, starting with the one that players show, and the covers; each with its role in the file."""
    moving = [track for track in tracks if not track.is_cover]
    if kind is sniff.AVIF:  # its still picture is stored before the moving one
        moving.sort(key=lambda track: -len(track.packets))
    covers = [track for track in tracks if track.is_cover]
    begins_s = 0.0
    for place, track in enumerate([*moving, *covers]):
        track.is_main = place == 0 and not track.is_cover
        track.begins_s = begins_s
        begins_s += track.duration_s + LOOK_EVERY_S
        if track.is_cover:
            track.view = COVER
        elif place:
            track.view = STILL_PICTURE if kind is sniff.AVIF else f"video stream {place + 1}"
    return moving, covers


class _TooCostlyError(Exception):
    """Examining every frame would take too long."""


_FIRST_QUICKLY: Final[tuple[Skip, ...]] = ("NONREF", "DEFAULT")


class _Player:
    """One playback of one file, and what it showed."""

    def __init__(self, file: VideoFile, kind: sniff.Kind, limits: MediaLimits, deadline: Deadline) -> None:
        self._file = file
        self._kind = kind
        self._limits = limits
        self._deadline = deadline
        self._looker = Looker(file, limits, deadline)
        self._sampler = self._looker.sampler
        self._tracks, self._covers = _arranged(file.tracks, kind)
        self._unseen_s = 0.0

    def play(self) -> None:
        """Examine the file.

        :raises MediaError: there is nothing to examine, or it is too large.
        """
        if not self._file.tracks:
            self._refuse_empty()
        for track in self._file.tracks:
            costs.refuse_large(track.width, track.height, self._limits.max_pixels)
        # Decoded first, because they are cheap and the time may run out; offered last, because one that shows what the
        # video shows adds nothing.
        covers = [self._looker.look_at_cover(track) for track in self._covers[: self._limits.max_frames]]
        self._look_at_tracks()
        for offer in chain.from_iterable(covers):
            offer()

    def _look_at_tracks(self) -> None:
        self._looker.on_growth = self._refuse_costly
        try:
            for track in self._tracks:
                self._refuse_costly()
                whole = Stretch(track, track.packets, track.times[-1] + 1, is_last=True)
                self._looker.look(whole, "DEFAULT")
                if self._deadline.over:
                    self._unseen_s += max(0.0, track.duration_s - self._looker.seen_until_s)
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
        self._looker.on_growth = None
        if max(track.pixels for track in self._tracks) <= _THREADED_PIXELS:
            self._looker.threads = min(_MOST_THREADS, os.cpu_count() or 1)
        per_track = [stretches_between(track, self._looker.look_at_keys(track)) for track in self._tracks]
        stretches = [stretch for turn in zip_longest(*per_track) for stretch in turn if stretch is not None]
        self._unseen_s = sum(stretch.seconds for stretch in stretches)
        for stretch in stretches:
            for skip in _FIRST_QUICKLY:
                if self._deadline.over:
                    return
                if self._looker.look(stretch, skip, every_s=_LOOK_AGAIN_S) <= LOOK_EVERY_S:
                    break
            self._unseen_s -= stretch.seconds

    # --- the outcome ---------------------------------------------------------------------------------------------------
    def result(self, *, is_cut_off: bool) -> DecodedMedia:
        """What was seen.

        :raises MediaError: UNREADABLE, nothing was.
        :raises MemoryError: nothing was, and a memory shortage may be the reason.
        """
        frames = self._sampler.frames
        if not frames:
            if memory.is_short():
                raise MemoryError
            complaint = next(chain(self._looker.complaints, [self._file.complaint]), "") or "no picture came out"
            if self._deadline.over:
                complaint = f"no picture came out {self._deadline}"
            reason = f"{self._kind.name} that cannot be decoded: {complaint}"
            raise MediaError(ItemStatus.UNREADABLE, reason, decoder_broke=self._deadline.over)
        main = (self._tracks or self._covers)[0]
        width, height = self._looker.sizes.get(main.number, (main.width, main.height))
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
        complaints = [complaint for complaint in (self._file.complaint, *self._looker.complaints) if complaint]
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
            yield f"{self._unseen_s:.1f} of {total_s:.1f} s could not be checked {self._deadline}"
        if self._file.is_endless:
            yield f"only the first {sum(len(track.packets) for track in self._tracks)} frames were read"
        for codec in sorted(set(self._file.foreign_codecs)):
            yield f"a video stream in the codec {codec}, which is not decoded here, was not checked"

    def _embedded(self) -> Iterator[Anomaly]:
        for cover in self._covers:
            width, height = self._looker.sizes.get(cover.number, (cover.width, cover.height))
            packet = cover.packets[0]
            detail = f"a cover picture of {width} x {height} px alongside the video"
            yield Anomaly(kind=AnomalyKind.EMBEDDED_PICTURE, detail=detail, offset=packet.pos, size=packet.size)
        if self._kind is not sniff.AVIF:
            for track in self._tracks[1:]:
                detail = f"{track.view}, which most players do not show"
                yield Anomaly(kind=AnomalyKind.EMBEDDED_PICTURE, detail=detail)
