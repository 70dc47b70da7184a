"""Turns one decoded video frame into what a viewer sees: colours, proportions, rotation, transparency, limited size.

Takes FFmpeg's frames; other modules decide which to examine. This follows players where they agree:

- The colours are those that the frame states (BT.601, BT.709, BT.2020; limited or full range); if it states none,
  BT.709
  from 720 rows on and BT.601 below, as browsers guess.
- HDR (PQ and HLG) is mapped to the range of an ordinary screen: paper white stays, highlights are rolled off.
- Interlaced frames are shown with both fields woven together, as in browsers.
- Pixels that are not square, and the rotation or mirroring that a phone writes into the container, are applied.
- Transparency (VP8, VP9, ProRes, PNG, ...) is composited as on a web page, light and dark.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from av.video.reformatter import Colorspace, ColorTrc, Interpolation, VideoReformatter
from PIL import Image

from lemmy_safety.media.moving.sampling import MINIATURE, on_both_pages
from lemmy_safety.media.pixels import rendering

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    from av.buffer import Buffer
    from av.video.frame import VideoFrame

    Pixels = npt.NDArray[np.uint8]

_UNSPECIFIED: Final = 2
_HD_ROWS: Final = 720
_MATRIX_SIZE: Final = 36
_ANY_TIME_BASE: Final = Fraction(1, 1000)
# No real video has proportions beyond this: the picture is then judged as it is stored.
_MOST_SQUEEZED: Final = 8
_HDR_TRANSFERS: Final = frozenset({ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67})


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame on a light page, and on a dark one if that differs; shape (height, width, 3), RGB, C-contiguous."""

    light: Pixels
    dark: Pixels | None


class FramePainter:
    """Paints the frames of one stream; keeps the tables of its two scalers between frames."""

    def __init__(self, aspect: Fraction | None) -> None:
        squeezed = float(aspect) if aspect else 1.0
        self._aspect = squeezed if 1 / _MOST_SQUEEZED <= squeezed <= _MOST_SQUEEZED else 1.0
        self._turns: dict[int, _Turn] = {}
        self._small = VideoReformatter()
        self._large = VideoReformatter()

    def shown_size(self, frame: VideoFrame) -> tuple[int, int]:
        """Width and height in pixels as a player shows the frame."""
        width, height = self._upright_size(frame)
        return (height, width) if self._turn(frame).sideways else (width, height)

    def miniature(self, frame: VideoFrame) -> Pixels:
        """The copy by which frames are compared; not turned."""
        if _has_alpha(frame):
            half = self._scaled(self._small, frame, (MINIATURE // 2, MINIATURE), "rgba")
            return on_both_pages(half)
        return self._scaled(self._small, frame, (MINIATURE, MINIATURE), "rgb24")

    def paint(self, frame: VideoFrame) -> Picture:
        """The whole frame as a viewer sees it, scaled down like a still."""
        size = rendering.frame_size(*self._upright_size(frame))
        turn = self._turn(frame)
        if _has_alpha(frame):
            # At its full size first: scaling would mix in colours from fully transparent areas.
            whole = self._scaled(self._large, frame, (frame.width, frame.height), "rgba")
            light, dark = rendering.render_on_pages(Image.fromarray(whole), size, 1)
            return Picture(turn.apply(np.asarray(light)), None if dark is None else turn.apply(np.asarray(dark)))
        if frame.color_trc in _HDR_TRANSFERS:
            return Picture(turn.apply(_tone_mapped(self._wide(frame, size), frame.color_trc)), None)
        return Picture(turn.apply(self._scaled(self._large, frame, size, "rgb24")), None)

    def _turn(self, frame: VideoFrame) -> _Turn:
        # Looked up once per angle: PyAV's objects for side data keep the frame, with its megabytes, until the garbage
        # collector
        # runs.
        if frame.rotation not in self._turns:
            self._turns[frame.rotation] = _turn_of(frame)
        return self._turns[frame.rotation]

    def _upright_size(self, frame: VideoFrame) -> tuple[int, int]:
        """Width and height with square pixels, before turning."""
        if self._aspect >= 1:
            return max(1, round(frame.width * self._aspect)), frame.height
        return frame.width, max(1, round(frame.height / self._aspect))

    def _scaled(self, scaler: VideoReformatter, frame: VideoFrame, size: tuple[int, int], pixel_format: str) -> Pixels:
        unsaid = Colorspace.ITU709 if frame.height >= _HD_ROWS else Colorspace.ITU601
        scaled = scaler.reformat(
            frame,
            width=size[0],
            height=size[1],
            format=pixel_format,
            src_colorspace=unsaid if frame.colorspace == _UNSPECIFIED else None,
            interpolation=Interpolation.AREA,
            threads=1,
        )
        return np.ascontiguousarray(cast("Pixels", scaled.to_ndarray()))

    def _wide(self, frame: VideoFrame, size: tuple[int, int]) -> npt.NDArray[np.uint16]:
        scaled = self._large.reformat(
            frame, width=size[0], height=size[1], format="rgb48le", interpolation=Interpolation.AREA, threads=1
        )
        return cast("npt.NDArray[np.uint16]", scaled.to_ndarray())


def _has_alpha(frame: VideoFrame) -> bool:
    return frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components)


# --- rotation ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Turn:
    """How a display matrix turns the picture: transposed first, then mirrored."""

    sideways: bool = False
    mirrored: bool = False
    upside_down: bool = False

    def apply(self, pixels: Pixels) -> Pixels:
        if self.sideways:
            pixels = pixels.transpose(1, 0, 2)
        if self.mirrored:
            pixels = pixels[:, ::-1]
        if self.upside_down:
            pixels = pixels[::-1]
        return np.ascontiguousarray(pixels)


_UPRIGHT: Final = _Turn()
# Angles counter-clockwise.
_BY_ANGLE: Final = {
    90: _Turn(sideways=True, upside_down=True),
    180: _Turn(mirrored=True, upside_down=True),
    270: _Turn(sideways=True, mirrored=True),
}


def _without_profile(frame: VideoFrame) -> VideoFrame:
    """The same frame, without copying. PyAV frees a colour profile's name twice when a frame's side data are read.

    PNG's decoder gives profiles names. FFmpeg's filter removes the profile from a second reference to the frame.
    """
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=_ANY_TIME_BASE)
    graph.link_nodes(source, graph.add("sidedata", "mode=delete:type=ICC_PROFILE"), graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    return cast("VideoFrame", graph.pull())


def _turn_of(frame: VideoFrame) -> _Turn:
    """The turn in the container's display matrix, to the nearest quarter: players support no others."""
    try:
        matrix = bytes(cast("Mapping[str, Buffer]", _without_profile(frame).side_data)["DISPLAYMATRIX"])
    except KeyError:
        return _UPRIGHT
    except (FFmpegError, ValueError):
        # An FFmpeg without that filter; or PyAV has no name for some other side data, and then returns none of it. It
        # still
        # reports the angle.
        return _BY_ANGLE.get(frame.rotation % 360, _UPRIGHT)
    if len(matrix) < _MATRIX_SIZE:
        return _UPRIGHT
    # Nine numbers in rows (a b u, c d v, x y w); the picture's point (x, y) goes to (a x + c y, b x + d y).
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return _Turn(mirrored=a < 0, upside_down=d < 0)
    return _Turn(sideways=True, mirrored=c < 0, upside_down=b < 0)


# --- HDR ---------------------------------------------------------------------------------------------------------------
# Recommendation ITU-R BT.2100-2, tables 4 and 5.
_PQ_M1, _PQ_M2 = 2610 / 16384, 2523 / 4096 * 128
_PQ_C1, _PQ_C2, _PQ_C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_PQ_PEAK: Final = 10_000.0
_HLG_A, _HLG_B, _HLG_C = 0.17883277, 0.28466892, 0.55991073
_HLG_GAMMA: Final = 1.2
_HLG_PEAK: Final = 1_000.0
#: The brightness of white paper in HDR, in candela a square metre (ITU-R BT.2408-7, 2.1).
_PAPER: Final = 203.0
# Highlights above this share of paper white are rolled off instead of being cut.
_KNEE: Final = 0.75
# From the primaries of BT.2020 to those of BT.709 (ITU-R BT.2087-0).
_TO_709: Final = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
_LUMINANCE: Final = np.array([0.2627, 0.6780, 0.0593], np.float32)
_SIXTEEN_BIT: Final = 65_535
_SRGB_STEPS: Final = 4_096
_SRGB_LINEAR: Final = 0.0031308  # IEC 61966-2-1


def _tone_mapped(samples: npt.NDArray[np.uint16], transfer: int) -> Pixels:
    """Samples of 16 bits, coded by PQ or HLG with BT.2020 primaries, as sRGB."""
    levels = (np.arange(_SIXTEEN_BIT + 1) / _SIXTEEN_BIT).astype(np.float32)
    if transfer == ColorTrc.SMPTE2084:
        light = _pq_light(levels)[samples]
    else:
        light = _hlg_light(levels)[samples]
        luminance = (light @ _LUMINANCE)[..., None]
        light = (light * luminance ** (_HLG_GAMMA - 1) * _HLG_PEAK).astype(np.float32)
    light = np.maximum(light @ _TO_709.T / _PAPER, 0)
    # Rolled off by the brightest channel, so that colours keep their hue.
    brightest = light.max(axis=2, keepdims=True)
    over = np.maximum(brightest - _KNEE, 0) / (1 - _KNEE)
    rolled = np.where(brightest > _KNEE, _KNEE + (1 - _KNEE) * over / (1 + over), brightest)
    light = light * (rolled / np.maximum(brightest, 1e-6))
    curve = np.arange(_SRGB_STEPS) / (_SRGB_STEPS - 1)
    curve = np.where(curve <= _SRGB_LINEAR, 12.92 * curve, 1.055 * curve ** (1 / 2.4) - 0.055)
    shown = np.rint(255 * curve).astype(np.uint8)
    pixels: Pixels = shown[np.rint(np.minimum(light, 1) * (_SRGB_STEPS - 1)).astype(np.uint16)]
    return pixels


def _pq_light(levels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Candela a square metre."""
    root = levels ** (1 / _PQ_M2)
    light = _PQ_PEAK * (np.maximum(root - _PQ_C1, 0) / (_PQ_C2 - _PQ_C3 * root)) ** (1 / _PQ_M1)
    return cast("npt.NDArray[np.float32]", light.astype(np.float32))


def _hlg_light(levels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Light of the scene, 0..1."""
    light = np.where(levels <= 0.5, levels**2 / 3, (np.exp((levels - _HLG_C) / _HLG_A) + _HLG_B) / 12)  # noqa: PLR2004 - the standard's own
    return cast("npt.NDArray[np.float32]", light.astype(np.float32))
