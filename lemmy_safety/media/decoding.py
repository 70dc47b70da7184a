"""Stored bytes to everything in them that is examined: what the medium shows, its parts, and what is hidden in it.

The composition of this room: sniff, then stills, animation or video; then hidden content, one level
deep; then the parts outside a classifier's middle square. Everything is in memory. Whatever the bytes are, only
``MediaError`` is raised. Nothing here says whether a picture is good or bad.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from lemmy_safety.errors import MediaError
from lemmy_safety.fingerprints import pdq_of
from lemmy_safety.media import containers, sniff
from lemmy_safety.media.base import DecodedMedia, Decoder, MediaLimits
from lemmy_safety.media.deadline import Deadline, Pace
from lemmy_safety.media.hidden.embedded import Content
from lemmy_safety.media.hidden.search import find_hidden
from lemmy_safety.media.moving import video_streams
from lemmy_safety.media.moving.animation import decode_animation
from lemmy_safety.media.moving.video import decode_video
from lemmy_safety.media.pixels import complexity, likeness, views
from lemmy_safety.media.stills import formats
from lemmy_safety.media.stills.still import decode_still
from lemmy_safety.media.structure import boxes
from lemmy_safety.records import Anomaly, AnomalyKind, ItemStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lemmy_safety.media.hidden.embedded import Embedded
    from lemmy_safety.records import Frame, MediaInfo

log = logging.getLogger(__name__)

#: What this installation can decode: the number rises when this room can do something new, the names follow the
#: available
#: libraries. Their versions are left out on purpose: they change many times a year, files that one release refuses and
#: the next one reads are rare, and each change makes the next pass read every undecodable object again.
DECODER_VERSION: Final = "+".join(["media-3", *formats.OPTIONAL_FORMATS])

_BOXED: Final = frozenset({sniff.MP4, sniff.QUICKTIME, sniff.THREE_GP})
_BOX_READER: Final = video_streams.DEMUXERS[sniff.MP4]
_INTERLACED: Final = frozenset({sniff.GIF, sniff.APNG})
_BROKEN: Final = frozenset({AnomalyKind.TRUNCATED, AnomalyKind.DAMAGED})
# A medium's share of the time if there is more inside it, and the share of the remaining time for each thing inside it
# except the last one: however long each of them is, none hides those after it.
_OWN_SHARE: Final = 3 / 4
# The share of the time for searching for more.
_SEARCH_SHARE: Final = 1 / 4
_INNER_SHARE: Final = 1 / 2
_BROKE: Final = "the decoder failed on it"


class InlineDecoder(Decoder):
    """Decodes in the calling thread. A crash, a hang or a memory shortage then hits the caller."""

    def __init__(self, limits: MediaLimits) -> None:
        self._limits = limits

    @property
    def version(self) -> str:
        return f"{DECODER_VERSION} ({self._limits})"

    def decode(self, data: bytes) -> DecodedMedia:
        both = looks(data, self._limits)
        alone = None
        try:
            alone = next(both)
            return next(both)
        except MediaError as error:
            if alone is None:
                raise
            return without_the_rest(alone, error.reason)
        except Exception as error:  # our bug or a library's; it costs this one object, or what is inside it
            log.exception("the decoder failed on a medium of %d bytes", len(data))
            if alone is None:
                raise MediaError(ItemStatus.UNREADABLE, _BROKE, decoder_broke=True) from error
            return without_the_rest(alone, _BROKE)

    def close(self) -> None:
        """Holds nothing between calls."""


def decode(data: bytes, limits: MediaLimits, *, deadline: Deadline | None = None) -> DecodedMedia:
    """Decode one medium. Thread-safe.

    The first frame is the medium's own, whole, with an empty ``view``: a still, or the first frame of an animation or
    video.
    Each frame is followed by its parts (``views``); a still with transparency comes a second time as a dark page shows
    it.
    After these come pictures and videos hidden in the file, and previews that show something else, with views
    such as ``picture at byte 48213``. A frame's shorter side is at most 512 px and its longer one at most 4096 px;
    ``info``
    has the real size. Moving content in the file and inside it share one ``deadline`` (``limits.look_s`` from now).

    :raises MediaError: UNREADABLE, UNSUPPORTED or TOO_LARGE, with a reason for a person.
    """
    both = looks(data, limits, deadline=deadline)
    alone = next(both)
    try:
        return next(both)
    except MediaError as error:
        return without_the_rest(alone, error.reason)


def looks(data: bytes, limits: MediaLimits, *, deadline: Deadline | None = None) -> Iterator[DecodedMedia]:
    """Decode one medium as ``decode`` does, in two steps: what it shows, and then that with everything inside it.

    The frames of the first step come first in the second. Whatever happens in the second step, the first result
    is valid (``without_the_rest``).

    :raises MediaError: as ``decode``; after the first step, only if memory runs out.
    """
    deadline = deadline or Deadline(limits.look_s)
    kind = sniff.sniff(data)
    try:
        _refuse_unfit(data, kind, limits)
        handed = containers.lean(data, kind)
        # A still comes before everything inside it. Moving content shares its time with that, so search first.
        hidden = find_hidden(data, kind, Pace(deadline, _SEARCH_SHARE)) if _may_move(*handed) else None
        own = deadline.part(_OWN_SHARE if hidden is None or hidden.embedded else 1)
        media, shown_kind = _medium(data, kind, limits, own, handed)
        alone = _finished(media.info, _with_parts(media, limits))
        yield alone
        if hidden is None or shown_kind is not kind:
            hidden = find_hidden(data, shown_kind, Pace(deadline, _SEARCH_SHARE))
        inner = _Inner(data, media.frames, limits, deadline)
        # If there was nothing else to show, a track of the same file has already been played.
        played = media.info.duration_s is not None
        inner.look_at([one for one in hidden.embedded if not (played and _is_all_of(one, data))])
        info = replace(media.info, anomalies=(*media.info.anomalies, *hidden.anomalies, *inner.anomalies))
        inside = _finished(info, inner.frames)
    except MemoryError as error:
        raise MediaError(ItemStatus.UNREADABLE, "out of memory", decoder_broke=True) from error
    yield replace(alone, info=info, frames=(*alone.frames, *inside.frames), pdqs=(*alone.pdqs, *inside.pdqs))


def without_the_rest(alone: DecodedMedia, reason: str) -> DecodedMedia:
    """What a medium shows, if examining its other content failed; the anomaly says so."""
    detail = f"other content of the file was not checked: {reason}"
    anomaly = Anomaly(kind=AnomalyKind.FRAMES_LEFT_OUT, detail=detail)
    return replace(alone, info=replace(alone.info, anomalies=(*alone.info.anomalies, anomaly)))


def _finished(info: MediaInfo, frames: Iterable[Frame]) -> DecodedMedia:
    """The frames with all their attributes."""
    finished = tuple(replace(frame, plain=complexity.is_plain(frame.pixels)) for frame in frames)
    return DecodedMedia(info=info, frames=finished, pdqs=tuple(pdq_of(frame.pixels) for frame in finished))


def _is_all_of(one: Embedded, data: bytes) -> bool:
    """Whether it is the tracks of the file itself."""
    return one.kind is sniff.MP4 and len(one.data) == len(data)


def _may_move(data: bytes, kind: sniff.Kind) -> bool:
    return kind.family is sniff.Family.VIDEO or kind is sniff.APNG or sniff.is_animated(data, kind)


def _refuse_unfit(data: bytes, kind: sniff.Kind, limits: MediaLimits) -> None:
    """Raise for what needs no decoder to decide."""
    if kind is sniff.EMPTY:
        raise MediaError(ItemStatus.UNREADABLE, "empty file (0 bytes)")
    if len(data) > limits.max_bytes:
        reason = f"{len(data)} bytes are over the limit of {limits.max_bytes} bytes"
        raise MediaError(ItemStatus.TOO_LARGE, reason)


def _medium(
    data: bytes,
    kind: sniff.Kind,
    limits: MediaLimits,
    deadline: Deadline,
    handed: tuple[bytes, sniff.Kind] | None = None,
) -> tuple[DecodedMedia, sniff.Kind]:
    """What the file itself shows, in whole frames, and the kind of file that showed it.

    ``handed`` is what ``containers.lean`` made of it, if known. A label that leads to no picture is not final:
    players look for tracks, whatever the label says.
    """
    try:
        return _as_labelled(*(handed or containers.lean(data, kind)), limits, deadline), kind
    except MediaError as error:
        is_missing = error.status is ItemStatus.UNSUPPORTED and kind.family is sniff.Family.STILL
        if is_missing and boxes.movie(data) is None:
            raise  # a picture of a kind that another library could read here
        for other in _other_readings(data, kind, deadline):
            try:
                return decode_video(data, other, limits, deadline=deadline), other
            except MediaError as second:
                is_none = second.status is ItemStatus.UNREADABLE and not second.decoder_broke
                if not is_none and (error.status is ItemStatus.UNREADABLE or second.status is ItemStatus.TOO_LARGE):
                    raise second from error  # there is a video, but it cannot be decoded
        raise


def _other_readings(data: bytes, kind: sniff.Kind, deadline: Deadline) -> Iterator[sniff.Kind]:
    """The kinds of video to try for a file that is not a video by its label, or not of that kind."""
    tried = {video_streams.DEMUXERS[kind]} if kind.family is sniff.Family.VIDEO else set()
    if boxes.may_begin(data) and _BOX_READER not in tried:
        tried.add(_BOX_READER)
        yield sniff.MP4
    # FFmpeg treats a file of boxes, once read as one, as nothing else.
    found = None if kind in _BOXED else video_streams.container_of(data, deadline)
    if found is not None and video_streams.DEMUXERS[found] not in tried:
        yield found


def _as_labelled(data: bytes, kind: sniff.Kind, limits: MediaLimits, deadline: Deadline) -> DecodedMedia:
    if kind.family is sniff.Family.OTHER:
        called = kind.name if kind is sniff.UNKNOWN else f"looks like {kind.name}"
        raise MediaError(ItemStatus.UNREADABLE, f"not a picture: {called}")
    if kind.family is sniff.Family.VIDEO:
        return decode_video(data, kind, limits, deadline=deadline)
    if kind.family is sniff.Family.PICTURE:
        raise MediaError(ItemStatus.UNSUPPORTED, f"{kind.name}; this version cannot decode those")
    if kind is sniff.HEIC:
        return _heic(data, limits, deadline)
    if not _may_move(data, kind):
        return decode_still(data, kind, limits)
    # An animated PNG of one frame is an animation too: that frame need not be the picture stored first in the file.
    try:
        media = decode_animation(data, kind, limits, deadline=deadline)
    except MediaError as error:
        if error.status is ItemStatus.UNSUPPORTED or error.decoder_broke:
            raise
        return _as_still(data, kind, limits, error)
    # One frame where the structure lists several is a sign of damage as well.
    if kind in _INTERLACED and (_is_broken(media) or (kind is sniff.GIF and media.info.frame_count == 1)):
        return _with_filled_frame(media, data, kind, limits)
    return media


def _heic(data: bytes, limits: MediaLimits, deadline: Deadline) -> DecodedMedia:
    """A HEIC's still pictures; if there are none, or no library to read them, its track of pictures.

    A track next to still pictures is found with the other hidden content.

    :raises MediaError: neither can be decoded.
    """
    try:
        return decode_still(data, sniff.HEIC, limits)
    except MediaError as error:
        if containers.movie_box(data) is None:
            raise
        try:
            media = decode_video(data, sniff.MP4, limits, deadline=deadline)
        except MediaError:
            raise error from None
    return DecodedMedia(info=replace(media.info, media_type=sniff.HEIC.media_type), frames=media.frames)


def _as_still(data: bytes, kind: sniff.Kind, limits: MediaLimits, error: MediaError) -> DecodedMedia:
    """The first frame of an animation that cannot be played, as shown by a viewer that cannot play animations.

    Also if one of its later frames is too large: a damaged GIF is full of data that looks like frames.
    """
    try:
        return decode_still(data, kind, limits)
    except MediaError:
        raise error from None


def _is_broken(media: DecodedMedia) -> bool:
    return any(anomaly.kind in _BROKEN for anomaly in media.info.anomalies)


def _with_filled_frame(media: DecodedMedia, data: bytes, kind: sniff.Kind, limits: MediaLimits) -> DecodedMedia:
    """A damaged animation: its first frame as browsers show it, with missing passes filled, then what was played."""
    try:
        still = decode_still(data, kind, limits)
    except MediaError:
        return media
    if not _is_broken(still) or any(
        likeness.same_picture(frame.pixels, still.frames[0].pixels) for frame in media.frames
    ):
        return media
    damage = () if _is_broken(media) else tuple(one for one in still.info.anomalies if one.kind in _BROKEN)
    info = replace(media.info, anomalies=(*damage, *media.info.anomalies))
    return DecodedMedia(info=info, frames=(*still.frames, *media.frames))


def _with_parts(media: DecodedMedia, limits: MediaLimits) -> Iterator[Frame]:
    """All frames and their parts. A whole frame without a view comes first: some callers judge only one frame.

    For an animation whose only output is the picture for viewers without animation, it is that picture.
    """
    first = next((number for number, frame in enumerate(media.frames) if not frame.view), 0)
    frames = [replace(media.frames[first], view=""), *media.frames[:first], *media.frames[first + 1 :]]
    several = len({frame.index for frame in frames}) > 1
    return views.with_parts(frames, crop_ratio=limits.crop_ratio, moving=several)


class _Inner:
    """Content found inside one medium: decoded one level deep, within the remaining limits and time."""

    def __init__(self, data: bytes, shown: Sequence[Frame], limits: MediaLimits, deadline: Deadline) -> None:
        self.frames: list[Frame] = []
        self.anomalies: list[Anomaly] = []
        self._data = data
        self._shown = shown
        self._limits = limits
        self._deadline = deadline
        self._frames_left = limits.max_frames
        self._pixels_left = limits.max_pixels

    def look_at(self, found: Sequence[Embedded]) -> None:
        """Add the frames of embedded media, except those that show the same as the medium around them."""
        for embedded in found:
            self._look_at(embedded, self._deadline.part(1 if embedded is found[-1] else _INNER_SHARE))

    def _look_at(self, embedded: Embedded, deadline: Deadline) -> None:
        name = f"{embedded.what} at byte {embedded.offset}"
        try:
            media = self._decoded(embedded, deadline)
        except MediaError as error:
            if error.status is not ItemStatus.UNREADABLE or error.decoder_broke:
                detail = f"the {name} was not checked: {error.reason}"
                self._note(AnomalyKind.FRAMES_LEFT_OUT, detail, embedded)
            return
        self._pixels_left -= media.info.width * media.info.height
        if any(likeness.same_picture(frame.pixels, media.frames[0].pixels) for frame in self._shown):
            if len(media.frames) == 1:
                return
        elif embedded.what is Content.THUMBNAIL:
            detail = f"the preview at byte {embedded.offset} shows another picture than the file does"
            self._note(AnomalyKind.OTHER_THUMBNAIL, detail, embedded)
        for anomaly in media.info.anomalies:
            if anomaly.kind is AnomalyKind.FRAMES_LEFT_OUT:
                self._note(anomaly.kind, f"{name}: {anomaly.detail}", embedded)
        self._frames_left -= len(media.frames)
        for frame in _with_parts(media, self._limits):
            self.frames.append(replace(frame, view=f"{name}, {frame.view}" if frame.view else name))

    def _decoded(self, embedded: Embedded, deadline: Deadline) -> DecodedMedia:
        if self._frames_left < 1 or self._pixels_left < 1:
            raise MediaError(ItemStatus.TOO_LARGE, "the limits were reached before it")
        if deadline.over:
            reason = f"looking at what comes before it was not over {self._deadline}"
            raise MediaError(ItemStatus.UNREADABLE, reason, decoder_broke=True)
        limits = replace(self._limits, max_frames=self._frames_left, max_pixels=self._pixels_left)
        try:
            return _medium(bytes(embedded.data), embedded.kind, limits, deadline)[0]
        except MediaError as error:
            if error.status is not ItemStatus.UNREADABLE or error.decoder_broke or not embedded.offset:
                raise
            # Tracks after a picture may count their offsets from its beginning.
            if boxes.movie(embedded.data) is None or boxes.movie(self._data) is None:
                raise
            return decode_video(self._data, sniff.MP4, limits, deadline=deadline)

    def _note(self, kind: AnomalyKind, detail: str, embedded: Embedded) -> None:
        self.anomalies.append(Anomaly(kind=kind, detail=detail, offset=embedded.offset, size=embedded.size))
