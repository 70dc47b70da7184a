"""Animations by Pillow: GIF, APNG, WebP and AVIF as browsers play them, and the frames worth examining.

Pillow does composition, disposal and transparency by the same rules as browsers; a frame's duration is
what browsers make of the file's times. A damaged animation is judged by the frames that can be decoded: a broken
frame is skipped, and where Pillow gives up at once, FFmpeg's decoders are used. Whatever the bytes are, only
``MediaError`` is raised.
"""

from __future__ import annotations

import io
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import AvifImagePlugin, GifImagePlugin, Image, PngImagePlugin, WebPImagePlugin

from lemmy_safety.errors import MediaError
from lemmy_safety.media import containers, costs, pillow_guard, sniff
from lemmy_safety.media.base import DecodedMedia, MediaLimits
from lemmy_safety.media.complaints import complaint_of
from lemmy_safety.media.deadline import Deadline
from lemmy_safety.media.moving import animation_pictures, video
from lemmy_safety.media.moving.animation_frames import mended, only, shown_by_browsers_s, stored_frames
from lemmy_safety.media.moving.animation_plan import ALL_FRAMES_COST, longest_unseen_s, showing_cost, worth_showing
from lemmy_safety.media.moving.sampling import LONG_S, LOOK_EVERY_S, FrameSampler
from lemmy_safety.media.pixels import rendering
from lemmy_safety.media.stills import formats
from lemmy_safety.records import Anomaly, AnomalyKind, Frame, ItemStatus, MediaInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from PIL import ImageFile

    from lemmy_safety.media.moving.animation_frames import StoredFrames

_READERS: Final[Mapping[sniff.Kind, type[ImageFile.ImageFile]]] = {
    sniff.GIF: GifImagePlugin.GifImageFile,
    sniff.APNG: PngImagePlugin.PngImageFile,
    sniff.WEBP: WebPImagePlugin.WebPImageFile,
    sniff.AVIF: AvifImagePlugin.AvifImageFile,
}
# FFmpeg can play these, too. It has no demuxer for animated WebP.
_SECOND_PLAYER: Final = frozenset({sniff.GIF, sniff.APNG, sniff.AVIF})

#: The picture of an APNG outside its animation: viewers without APNG show it.
DEFAULT_PICTURE: Final = "picture for viewers without animation"
# Skipping a broken frame costs decoding all frames before it once more.
_MOST_TRIES: Final = 6
_BROKEN: Final = frozenset({AnomalyKind.DAMAGED, AnomalyKind.TRUNCATED})


def decode_animation(
    data: bytes,
    kind: sniff.Kind,
    limits: MediaLimits,
    *,
    deadline: Deadline | None = None,
) -> DecodedMedia:
    """Examine a GIF, APNG, WebP or AVIF over its whole length; a still one gives its one frame.

    Frames have their number in the file and the second at which they appear. Every frame is examined if that is
    cheap, else at least one every 0.4 s (see ``worth_showing``); of those, the different ones are kept (see
    ``FrameSampler``). TRUNCATED, DAMAGED and FRAMES_LEFT_OUT anomalies say what could not be examined.

    :raises MediaError: UNREADABLE (no frame came out), UNSUPPORTED (a format that is not installed) or TOO_LARGE.
    """
    words = formats.missing(kind)
    if words is not None:
        raise MediaError(ItemStatus.UNSUPPORTED, f"{kind.name}; {words}")
    pillow_guard.prepare(limits.max_pixels)
    player = _PillowPlayer(data, kind, limits, deadline or Deadline(limits.look_s))
    try:
        player.play()
    except Image.DecompressionBombError as error:
        reason = f"its frames are larger than the limit of {costs.megapixels(limits.max_pixels)}"
        raise MediaError(ItemStatus.TOO_LARGE, reason) from error
    except MemoryError as error:
        raise MediaError(ItemStatus.UNREADABLE, "out of memory", decoder_broke=True) from error
    if player.wants_help and kind in _SECOND_PLAYER:
        return _helped(player)
    return player.result()


def _helped(player: _PillowPlayer) -> DecodedMedia:
    """FFmpeg's result, or Pillow's if FFmpeg does no better.

    :raises MediaError: neither can decode it.
    """
    try:
        media = video.decode_video(player.data, player.kind, player.limits, deadline=player.deadline)
    except MediaError as error:
        if player.shown == 0 and not player.complaint:
            raise
        if error.status is ItemStatus.TOO_LARGE:
            raise
        return player.result()
    if not player.complaint or any(anomaly.kind in _BROKEN for anomaly in media.info.anomalies):
        return media
    damage = Anomaly(kind=AnomalyKind.DAMAGED, detail=player.complaint)
    return replace(media, info=replace(media.info, anomalies=(damage, *media.info.anomalies)))


class _PillowPlayer:
    """One playback of one animation, and what it showed."""

    def __init__(self, data: bytes, kind: sniff.Kind, limits: MediaLimits, deadline: Deadline) -> None:
        self.data = data
        self.kind = kind
        self.limits = limits
        self.deadline = deadline
        #: The first error, for a person; empty if there was none.
        self.complaint = ""
        #: Number of examined frames.
        self.shown = 0
        self._stored = stored_frames(data, kind)
        self._sampler = FrameSampler(limits.max_frames)
        self._count = 1
        self._planned = 1
        self._duration_s = 0.0
        self._size = (1, 1)
        self._orientation = 1
        self._gaps_s = 0.0
        self._too_costly = False
        canvas = None if self._stored is None else (self._stored.width, self._stored.height)
        if kind is sniff.WEBP:  # WebP allocates its canvas twice when opened, with frames or without
            canvas = containers.webp_canvas(data)
        if canvas is not None:
            costs.refuse_large(*canvas, limits.max_pixels)

    @property
    def wants_help(self) -> bool:
        """Whether another decoder may see more."""
        gave_up = self.shown == 0 or (self._stored is None and bool(self.complaint))
        return self._too_costly or (gave_up and not self.deadline.over)

    def play(self) -> None:
        """Examine the frames.

        :raises MediaError: TOO_LARGE.
        :raises DecompressionBombError: the same, for a frame.
        :raises MemoryError: there was too little memory.
        """
        if self._stored is None:
            self._attempt(self._whole(), tolerant=False)
            return
        if self.kind is sniff.GIF and self._stored.reach > self.limits.max_pixels:
            # Pillow enlarges the canvas for a frame that does not fit; browsers and FFmpeg crop the frame.
            self._too_costly = True
            return
        self._count, self._duration_s = len(self._stored.frames), self._stored.duration_s
        numbers = list(worth_showing(self._stored))
        self._planned = len(numbers)
        self._gaps_s = longest_unseen_s(self._stored, numbers)
        as_it_is = len(numbers) == self._count and self._stored.announced in {None, self._count}
        source = self.data if as_it_is else only(self.data, self._stored, numbers)
        tolerant = False
        for _ in range(_MOST_TRIES):
            if self._attempt(self._chosen(self._stored, source, numbers), tolerant=tolerant) or self.shown >= len(
                numbers
            ):
                return
            if tolerant:  # it failed even so: continue without the frame at which it stopped
                del numbers[self.shown]
                if not numbers:
                    return
            tolerant = True
            source = mended(only(self.data, self._stored, numbers), self.kind, max_bytes=self.limits.max_bytes)

    def _attempt(self, showing: Iterator[None], *, tolerant: bool) -> bool:
        """Examine what comes; whether it reached its end, or the time limit."""
        try:
            with pillow_guard.tolerate_damage() if tolerant else nullcontext():
                for _ in showing:
                    if self.deadline.over:
                        break
        except (MediaError, Image.DecompressionBombError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - broken files make Pillow raise some ten unrelated classes
            if not self.complaint:
                self.complaint = f"frame {self.shown}: {complaint_of(error)}"
            return False
        return True

    def _chosen(self, stored: StoredFrames, source: bytes, numbers: Sequence[int]) -> Iterator[None]:
        """Show these frames of the file, which are all that ``source`` has; skips those examined before."""
        starts = [*stored.starts_s, stored.duration_s]
        times = [starts[number] for number in numbers] + [starts[-1]]
        with _READERS[self.kind](io.BytesIO(source)) as image:
            self._refuse_large(image)
            first = 1 if getattr(image, "default_image", False) else 0
            if first and not self.shown:
                image.load()
                self._note(image)
                self._look(image, times[-1] + LOOK_EVERY_S, LONG_S, view=DEFAULT_PICTURE)
            for place, (start_s, end_s) in enumerate(pairwise(times)):
                image.seek(first + place)
                if place < self.shown:
                    continue
                image.load()
                self._note(image)
                last = place == len(numbers) - 1
                self._look(image, start_s, end_s - start_s, number=numbers[place], pinned=place == 0 or last)
                self.shown += 1
                yield

    def _whole(self) -> Iterator[None]:
        """Show all frames of a file whose frames are not known beforehand; the library knows their times."""
        with _READERS[self.kind](io.BytesIO(self.data)) as image:
            self._refuse_large(image)
            self._count = self._planned = max(1, int(getattr(image, "n_frames", 1)))
            moves = sniff.is_animated(self.data, self.kind)
            pixels = image.width * image.height
            if showing_cost(*image.size, [pixels] * self._count) > ALL_FRAMES_COST or (moves and self._count == 1):
                self._too_costly = True
                return
            at_s = 0.0
            for number in range(self._count):
                image.seek(number)
                image.load()
                self._note(image)
                shown_s = shown_by_browsers_s(float(image.info.get("duration") or 0) / 1000)
                self._look(image, at_s, shown_s, number=number, pinned=number in {0, self._count - 1})
                at_s += shown_s
                self.shown += 1
                self._duration_s = at_s
                yield

    def _refuse_large(self, image: Image.Image) -> None:
        costs.refuse_large(image.width, image.height, self.limits.max_pixels)

    def _note(self, image: Image.Image) -> None:
        """Update facts about the whole file from a decoded frame: a GIF's frames can enlarge its canvas."""
        self._refuse_large(image)
        if not self.shown:
            self._orientation = rendering.orientation_of(image)
        self._size = image.size

    def _look(
        self, image: Image.Image, at_s: float, shown_s: float, *, number: int = 0, view: str = "", pinned: bool = False
    ) -> None:
        """Offer one decoded frame to the sampler."""
        image = animation_pictures.without_needless_alpha(image)
        seen_at = None if view else at_s

        def render() -> tuple[Frame, ...]:
            light, dark = rendering.render_on_pages(
                animation_pictures.reduced(image), rendering.frame_size(*image.size), self._orientation
            )
            frames = [Frame(pixels=np.asarray(light), index=number, at_s=seen_at, view=view)]
            if dark is not None:
                frames.append(
                    Frame(pixels=np.asarray(dark), index=number, at_s=seen_at, view=view or rendering.ON_DARK)
                )
            return tuple(frames)

        self._sampler.offer(animation_pictures.miniature(image), at_s, shown_s, render, pinned=pinned)

    def result(self) -> DecodedMedia:
        """What was seen.

        :raises MediaError: UNREADABLE, nothing was.
        """
        frames = self._sampler.frames
        if not frames:
            if self.complaint:
                raise MediaError(ItemStatus.UNREADABLE, f"{self.kind.name} that cannot be decoded: {self.complaint}")
            reason = f"{self.kind.name} of which no frame came out {self.deadline}"
            raise MediaError(ItemStatus.UNREADABLE, reason, decoder_broke=True)
        width, height = self._size
        if self._orientation in rendering.SIDEWAYS:
            width, height = height, width
        info = MediaInfo(
            media_type=self.kind.media_type,
            width=width,
            height=height,
            frame_count=self._count,
            duration_s=self._duration_s or None,
            anomalies=tuple(self._anomalies()),
        )
        return DecodedMedia(info=info, frames=frames)

    def _anomalies(self) -> Iterator[Anomaly]:
        if self._stored is not None and self._stored.cut_off:
            yield Anomaly(kind=AnomalyKind.TRUNCATED, detail=self.complaint or "the file ends before its end marker")
        elif self.complaint:
            yield Anomaly(kind=AnomalyKind.DAMAGED, detail=self.complaint)
        count = f"{self._count}"
        if self._stored is not None and self._stored.endless:
            count = f"more than {self._count}"
        unseen = ""
        if self.shown < self._planned:
            why = f" {self.deadline}" if self.deadline.over else ""
            unseen = f"only {self.shown} of {count} frames could be checked{why}"
        elif self._gaps_s > LONG_S:
            unseen = f"checked {self.shown} of {count} frames, at most {self._gaps_s:.1f} s were passed over at once"
        elif count != f"{self._count}":
            unseen = f"checked the beginning of {count} frames"
        if unseen:
            yield Anomaly(kind=AnomalyKind.FRAMES_LEFT_OUT, detail=unseen)
        left_out = self._sampler.anomaly()
        if left_out is not None:
            yield left_out
