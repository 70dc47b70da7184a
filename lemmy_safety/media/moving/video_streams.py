"""Opens a video file: its video streams, their packets in memory, and decoders for them. PyAV, from memory only.

This module blocks what an attacker could reach through a container. The demuxer is the one for the sniffed kind, so no
playlist, picture sequence or concatenation script is ever treated as a video. A demuxer's attempts to open anything
except the given bytes are refused. Decoders are on a list: FFmpeg has hundreds, most of them for unusual formats.

Packets are kept in memory, as many bytes as the file has: returning to a key frame then means feeding a decoder
from there, which works in every container, instead of trusting the file's own index.
"""

from __future__ import annotations

import io
import re
from fractions import Fraction
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, Self, cast

import av
from av.stream import Disposition

from lemmy_safety.media import sniff
from lemmy_safety.media.complaints import complaint_of
from lemmy_safety.media.deadline import Deadline, Pace
from lemmy_safety.media.memory import shortage_or_damage
from lemmy_safety.media.moving.video_tracks import Track

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import NoReturn

    from av.container import InputContainer
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


#: What a decoder skips, in FFmpeg's words: nothing, frames that no other needs, all but key frames.
Skip = Literal["DEFAULT", "NONREF", "NONKEY"]

#: Which demuxer reads a kind; the animations are here for those that Pillow gives up on.
DEMUXERS: Final[Mapping[sniff.Kind, str]] = {
    sniff.MP4: "mov",
    sniff.QUICKTIME: "mov",
    sniff.THREE_GP: "mov",
    sniff.WEBM: "matroska",
    sniff.MATROSKA: "matroska",
    sniff.AVI: "avi",
    sniff.OGG: "ogg",
    sniff.FLASH_VIDEO: "flv",
    sniff.MPEG: "mpeg",
    sniff.MPEG_TS: "mpegts",
    sniff.WINDOWS_MEDIA: "asf",
    sniff.GIF: "gif",
    sniff.APNG: "apng",
    sniff.AVIF: "mov",
}
# Containers that FFmpeg may detect in a file with an unknown beginning: those of videos, and never a playlist.
_CONTAINERS: Final = ",".join(sorted({*DEMUXERS.values()} - {"gif", "apng"}))
_MPEG_WITHOUT_CONTAINER: Final = b"\0\0\1\xb3"

#: Decoders that receive hostile bytes: for what browsers play, what cameras and phones wrote, and cover pictures.
CODECS: Final = frozenset(
    {"h264", "hevc", "vp8", "vp9", "av1", "vvc", "theora", "mpeg1video", "mpeg2video", "mpeg4", "h263", "h263p", "flv1"}
    | {"vp6", "vp6f", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "wmv3", "vc1", "mjpeg", "prores", "dnxhd"}
    | {"dvvideo", "ffv1", "png", "apng", "gif", "bmp", "webp", "tiff", "rawvideo", "qtrle", "svq3"}
)
_DECODERS: Final = ",".join(sorted(CODECS | {"libdav1d", "flv", "msmpeg4"}))
# FFmpeg's own decoders of these ignore transparency, which WebM stores separately.
_WITH_ALPHA: Final = {"vp8": "libvpx", "vp9": "libvpx-vp9"}

# Decoders themselves refuse only pictures this much larger than our limit; our own refusal states the numbers.
_ROOM: Final = 4
_MOST_PIXELS: Final = 2**31 - 1  # the most that FFmpeg accepts for it
# Packets after this many are ignored: two hours at 30 frames a second, and some 100 MB of bookkeeping.
_MOST_PACKETS: Final = 200_000
_LOOKED_AT_THE_CLOCK: Final = 1_000  # packets between two checks of the clock
_SANE_TIME: Final = 2**61
# Containers' names of codecs for which FFmpeg has no decoder.
_MATROSKA_CODEC: Final = re.compile(rb"V_[A-Z0-9_/]{2,30}")
_MOST_NAMES: Final = 8
_SAMPLE_DESCRIPTION: Final = re.compile(rb"stsd.{12}([ -~]{4})", re.DOTALL)


class VideoFile:
    """One file in memory and the decoders of its streams.

    :raises Exception: when opening; whatever FFmpeg and PyAV raise on bytes that they cannot read.
    """

    def __init__(self, data: bytes, kind: sniff.Kind, *, max_pixels: int, deadline: Deadline) -> None:
        self._data = data
        self._max_pixels = str(min(_ROOM * max_pixels, _MOST_PIXELS))
        self._deadline = deadline
        self._demuxer = DEMUXERS[kind]
        if kind is sniff.MPEG and data.startswith(_MPEG_WITHOUT_CONTAINER):
            self._demuxer = "mpegvideo"
        self._opened: dict[str, InputContainer] = {}
        #: The first error while reading packets, for a person; empty if there was none.
        self.complaint = ""
        #: Some packets were incomplete, or there are fewer than the file says.
        self.is_cut_off = False
        #: There are more packets than are read, or than could be read in time.
        self.is_endless = False
        #: Codecs of streams that cannot be decoded.
        self.foreign_codecs: list[str] = []
        self.tracks = self._read_tracks()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for container in self._opened.values():
            container.close()

    def decoder(self, track: Track, skip: Skip, *, threads: int = 1) -> VideoCodecContext:
        """The decoder of a stream, ready to start at any key frame.

        There is one decoder per value of ``skip``, because some read it only when they are opened; ``threads`` counts
        only at
        the first call.
        """
        if skip not in self._opened:
            self._opened[skip] = self._open()
        stream = self._opened[skip].streams[track.number]
        context = cast("VideoCodecContext", stream.codec_context)
        if track.has_alpha:
            context = cast("VideoCodecContext", av.CodecContext.create(_WITH_ALPHA[track.codec], "r"))
        if not context.is_open:
            context.options = {"max_pixels": self._max_pixels}
            context.thread_count = threads
            context.thread_type = "AUTO"
            context.skip_frame = "DEFAULT" if track.has_alpha else skip
        context.flush_buffers()
        return context

    @shortage_or_damage()
    def _open(self) -> InputContainer:
        # What was once read in time is read as fast again, and its frames may be all that is seen.
        deadline = None if self._opened else self._deadline
        # The file still contains what an edit list leaves out, and some players show it.
        return _opened(self._data, self._demuxer, deadline, max_pixels=self._max_pixels, ignore_editlist="1")

    def _read_tracks(self) -> list[Track]:
        container = self._opened["DEFAULT"] = self._open()
        tracks: dict[int, Track] = {}
        for stream in container.streams.video:
            codec = stream.codec_context.codec.canonical_name if stream.codec_context is not None else ""
            if codec not in CODECS:
                self.foreign_codecs.append(codec or self._name_in_container)
                continue
            tracks[stream.index] = _track_of(stream, codec)
            if self._demuxer != "mov":  # others count what they do not store, such as an AVI that repeats a frame
                tracks[stream.index].declared = 0
        try:
            with shortage_or_damage():
                self._read_packets(container, tracks)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - hostile bytes; what was read so far is examined
            self.complaint = complaint_of(error)
        for track in tracks.values():
            track.times.sort()
            if 0 < len(track.packets) < track.declared:
                self.is_cut_off = True
        return [track for track in tracks.values() if track.packets]

    def _read_packets(self, container: InputContainer, tracks: Mapping[int, Track]) -> None:
        streams = [container.streams[number] for number in tracks]
        left = _MOST_PACKETS
        for packet in container.demux(*streams) if streams else ():
            # The empty packets at the end name the first stream, whichever they belong to.
            track = tracks.get(packet.stream_index) if packet.size else None
            if track is None or (track.is_cover and track.packets):
                continue
            if not left or (left % _LOOKED_AT_THE_CLOCK == 1 and self._deadline.over):
                self.is_endless = True
                return
            left -= 1
            self.is_cut_off |= packet.is_corrupt
            time = packet.pts if packet.pts is not None else packet.dts
            if time is None or abs(time) > _SANE_TIME:
                time = track.times[-1] + min(max(packet.duration or 1, 1), 2**32) if track.times else 0
            packet.pts = time
            track.packets.append(cast("Packet[VideoStream]", packet))
            track.times.append(time)

    @cached_property
    def _name_in_container(self) -> str:
        """The name of a codec that FFmpeg does not know; searched once, however many streams have one."""
        found = _MATROSKA_CODEC.search(self._data)
        if found is not None:
            return found[0].decode("ascii")
        described = islice(_SAMPLE_DESCRIPTION.finditer(self._data), _MOST_NAMES)
        names = dict.fromkeys(found[1].decode("ascii") for found in described)
        return " or ".join(names) if names else "unknown"


class _TimedBytes(io.BytesIO):
    """Bytes with a time limit for reading: FFmpeg reads a header of millions of boxes to its end in one call."""

    def __init__(self, data: bytes, deadline: Deadline | None) -> None:
        super().__init__(data)
        #: None if there is no limit.
        self.pace = None if deadline is None else Pace(deadline)

    def read(self, size: int | None = -1, /) -> bytes:
        read = super().read(size)
        # FFmpeg understands an end of file; it would lose an error on the way back.
        return b"" if self.pace is not None and self.pace.is_over(len(read)) else read


def container_of(data: bytes, deadline: Deadline) -> sniff.Kind | None:
    """The kind of container that FFmpeg finds in a file by reading all of its beginning; None if it finds none.

    For files whose own label says that they contain no video.

    :raises MemoryError: there was too little memory.
    """
    try:
        with shortage_or_damage(), _opened(data, None, deadline, format_whitelist=_CONTAINERS) as container:
            names = container.format.name.split(",")
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - hostile bytes; PyAV raises some ten classes for them
        return None
    return next((kind for kind, demuxer in DEMUXERS.items() if demuxer in names), None)


def _opened(data: bytes, demuxer: str | None, deadline: Deadline | None, **more: str) -> InputContainer:
    """The file with its header read.

    :raises TimeoutError: the deadline passed.
    """
    source = _TimedBytes(data, deadline)
    try:
        container = av.open(
            source,
            mode="r",
            format=demuxer,
            metadata_errors="replace",
            io_open=_refuse,
            options={"codec_whitelist": _DECODERS, "protocol_whitelist": "none", "threads": "1", **more},
        )
    except Exception as error:
        if source.pace is not None and source.pace.is_over():
            raise TimeoutError(f"its header could not be read {source.pace}") from error
        raise
    source.pace = None
    return container


def _track_of(stream: VideoStream, codec: str) -> Track:
    has_alpha = codec in _WITH_ALPHA and stream.metadata.get("alpha_mode") == "1"
    return Track(
        number=stream.index,
        codec=codec,
        width=stream.codec_context.width,
        height=stream.codec_context.height,
        time_base=stream.time_base or Fraction(1, 1000),
        aspect=stream.sample_aspect_ratio,
        is_cover=bool(stream.disposition & Disposition.attached_pic),
        has_alpha=has_alpha and _WITH_ALPHA[codec] in av.codecs_available,
        intra_only=stream.codec_context.codec.intra_only,
        declared=stream.frames,
        pixels=stream.codec_context.width * stream.codec_context.height,
    )


def time_of(frame: VideoFrame) -> int:
    """When a frame is shown, in units of its stream's time base."""
    return next((time for time in (frame.pts, frame.dts) if time is not None), 0)


def _refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:  # noqa: ARG001 - PyAV's signature
    raise PermissionError("the file refers to another file or address, which is not opened")


def decoded(
    decoder: VideoCodecContext, packets: Iterable[Packet[VideoStream]], complain: Callable[[str], None]
) -> Iterator[VideoFrame]:
    """The frames of packets in the order of showing; reports and skips what cannot be decoded.

    :raises MemoryError: there was too little memory.
    """
    for packet in packets:
        yield from _tried(decoder, packet, complain)
    yield from _tried(decoder, None, complain)


def _tried(
    decoder: VideoCodecContext, packet: Packet[VideoStream] | None, complain: Callable[[str], None]
) -> list[VideoFrame]:
    try:
        with shortage_or_damage():
            return decoder.decode(packet)
    except MemoryError:
        raise
    except EOFError:
        return []
    except Exception as error:  # noqa: BLE001 - hostile bytes; PyAV raises some ten classes for them
        complain(complaint_of(error))
        return []
