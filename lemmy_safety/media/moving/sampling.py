"""Chooses which frames of a moving picture to keep: the different ones, a limited number, spread over the whole length.

Frames are offered one by one, in the decoder's order, each with a miniature of it. Frames that look
alike are one *scene*, wherever in the file they are; one frame of each scene is kept. Only kept frames are rendered, so
``max_frames`` limits the memory however long the file is. If there are more scenes than that, those stay that
are shown longest and look least like the others.

Guarantees: the first and the last frame are kept. Every scene that is shown for LONG_S or more is kept, unless
the file has more than ``max_frames`` of those, however many shorter ones flash by. Two frames are of one scene only if
they differ by less than a 16th of the picture's area (or a tenth in brightness all over), so no picture that a
classifier
could recognise hides in another one's scene.

This module knows no container and no codec, and not what a picture shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from lemmy_safety.records import Anomaly, AnomalyKind

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from lemmy_safety.records import Frame

    Pixels = npt.NDArray[np.uint8]
    Render = Callable[[], tuple[Frame, ...]]

#: Width and height of a miniature; proportions do not matter for comparing.
MINIATURE: Final = 128
#: Anything shown for this many seconds in total is found, however many shorter flashes surround it.
LONG_S: Final = 0.5
#: If not every frame can be examined, two examined ones are at most this far apart; less than LONG_S, because converted
#: files have times that are off by a few hundredths.
LOOK_EVERY_S: Final = 0.4

_CELLS: Final = 32
_CELL: Final = MINIATURE // _CELLS
# Levels of 255 by which the average colour and the roughness of a cell may differ without effect: the noise that lossy
# codecs, dithering and film grain add to a still picture.
_COLOUR_NOISE: Final = 10
_DETAIL_NOISE: Final = 5
_DETAIL_WEIGHT: Final = 2
# Mean excess over that noise from which two frames are of different scenes. Measured: a still scene at h264 crf 45 or
# in
# dithered palettes reaches 0.5, a photo pasted over 1/36 of another one 1.8 to 3, over 1/16 3.8 to 7, over 1/9 7 to 13,
# a
# shift by 5 of 300 pixels 2 to 20, two photos of one and the same texture 22.
_DIFFERENT: Final = 3.0
# In multiples of that: from here on, a left-out frame is reported; this is a photo pasted over a ninth of the picture.
_ANOTHER_PICTURE: Final = 2.3

# Scenes to remember, of which at most max_frames are kept: dropped ones keep their time on screen.
_MIN_REMEMBERED: Final = 256
_REMEMBERED_PER_FRAME: Final = 2
# Longest time that a frame counts as shown: its author can write any length.
_MAX_SHOWN_S: Final = 60.0
# A scene replaces another one if it is worth this much more, so that two equal ones do not swap places forever.
_ADVANTAGE: Final = 1.25
# The largest distance between two looks, for one with nothing to compare; a time for frames without one; and
# the minimum value of a look's clearance.
_UNLIKE_ALL: Final = 255.0
_FLASH_S: Final = 0.001
_CROWDED: Final = 0.1
# The author can also write any time for a frame: beyond 30 years all times are equal, and sums stay finite.
_LONGEST_S: Final = 1e9
# For rounding, in multiples of the distance that makes another scene.
_COARSE_TOLERANCE: Final = 1.2


def spread_order(count: int) -> list[int]:
    """0 .. count - 1 so that every beginning of the list is spread evenly over all of it."""
    bits = max(1, (count - 1).bit_length())
    return sorted(range(count), key=lambda number: int(f"{number:0{bits}b}"[::-1], 2))


def on_both_pages(half: Pixels) -> Pixels:
    """A miniature of a frame with transparency: its look on a light page, and next to it on a dark one.

    ``half`` has shape (MINIATURE, MINIATURE / 2, 4), RGBA. Either page alone would hide what is drawn in its colour.
    """
    alpha = half[..., 3:].astype(np.uint16)
    colours = half[..., :3] * alpha
    pages = [(colours + page * (255 - alpha)) // 255 for page in (255, 0)]
    return np.concatenate(pages, axis=1).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class _Kept:
    """One kept look, in all its renderings."""

    scene: int
    at_s: float
    frames: tuple[Frame, ...]
    pinned: bool


class FrameSampler:
    """Keeps at most ``max_frames`` of the offered frames."""

    def __init__(self, max_frames: int) -> None:
        self._max_frames = max_frames
        remembered = max(_MIN_REMEMBERED, _REMEMBERED_PER_FRAME * max_frames)
        self._looks = np.zeros((remembered, 4, _CELLS, _CELLS), np.uint8)
        self._coarse_looks = np.zeros((remembered, 4, _CELLS // _CELL, _CELLS // _CELL), np.uint8)
        self._apart = np.zeros((remembered, remembered), np.float32)
        self._shown_s = np.zeros(remembered)
        self._scenes = 0
        self._current = -1
        self._forgotten = 0
        self._kept: list[_Kept] = []

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The kept frames, in order of time."""
        ordered = sorted(self._kept, key=lambda kept: kept.at_s)
        return tuple(frame for kept in ordered for frame in kept.frames)

    @property
    def left_out(self) -> int:
        """About how many more pictures were offered that look unlike all kept ones."""
        kept = self._kept_scenes()
        others = sorted(set(range(self._scenes)) - set(kept))
        if not others:
            return self._forgotten
        nearest = self._apart[np.ix_(others, kept)].min(axis=1)
        return self._forgotten + int(np.count_nonzero(nearest > _ANOTHER_PICTURE))

    def anomaly(self) -> Anomaly | None:
        """FRAMES_LEFT_OUT, with the numbers, if there was more to see than was kept."""
        left_out = self.left_out
        if not left_out:
            return None
        looks = len(self._kept)
        detail = f"checked {looks} of about {looks + left_out} different frames"
        return Anomaly(kind=AnomalyKind.FRAMES_LEFT_OUT, detail=detail)

    def offer(self, miniature: Pixels, at_s: float, shown_s: float, render: Render, *, pinned: bool = False) -> None:
        """Examine one frame; calls ``render`` at once if it is kept, and otherwise never.

        ``miniature`` has shape (MINIATURE, MINIATURE, 3), RGB. ``at_s`` orders the frames of a file, and kept frames
        are
        spread over it; ``shown_s`` is how long this one is on screen, or until the next offered one. Both may be any
        number. A ``pinned`` frame is kept even if its scene has one already.
        """
        at_s = at_s if math.isfinite(at_s) else 0.0
        scene = self._scene_of(_look_of(miniature))
        self._shown_s[scene] += min(shown_s, _MAX_SHOWN_S) if shown_s > 0 else 0.0
        if pinned or (scene not in self._kept_scenes() and self._deserves(scene, at_s)):
            self._measure(scene)
            self._kept.append(_Kept(scene, at_s, render(), pinned))
            if len(self._kept) > self._max_frames:
                del self._kept[self._least(self._kept)]

    def _kept_scenes(self) -> list[int]:
        return [kept.scene for kept in self._kept]

    def _scene_of(self, look: Pixels) -> int:
        """The scene of a look, which may be a new one."""
        if self._current >= 0 and _distances(self._looks[self._current : self._current + 1], look)[0] <= 1:
            return self._current
        coarse = _coarse(look)
        apart = _distances(self._coarse_looks[: self._scenes], coarse)
        similar = np.flatnonzero(apart <= _COARSE_TOLERANCE)
        if similar.size:
            distances = _distances(self._looks[similar], look)
            if distances.min() <= 1:
                self._current = int(similar[distances.argmin()])
                return self._current
        known = self._scenes
        if known < len(self._looks):
            self._scenes += 1
            self._current = scene = known
        else:
            self._current = scene = self._forget()
        self._looks[scene] = look
        self._coarse_looks[scene] = coarse
        self._shown_s[scene] = 0.0
        # The coarse distance is never larger, and near enough for scenes that are not kept.
        self._apart[scene, :known] = self._apart[:known, scene] = apart
        self._apart[scene, scene] = np.inf
        return scene

    def _forget(self) -> int:
        """Free the place of the scene that was shown least among those not kept."""
        kept = self._kept_scenes()
        order = self._shown_s.copy()
        order[[*kept, self._current]] = np.inf
        scene = int(order.argmin())
        if self._apart[scene, kept].min() > _ANOTHER_PICTURE:
            self._forgotten += 1
        return scene

    def _deserves(self, scene: int, at_s: float) -> bool:
        if len(self._kept) < self._max_frames:
            return True
        # In a file with too many scenes, this check alone rules out most of them.
        if self._shown_s[scene] < LONG_S and all(kept.pinned or self._is_long(kept.scene) for kept in self._kept):
            return False
        self._measure(scene)
        newcomer = _Kept(scene, at_s, (), pinned=False)
        return self._least([*self._kept, newcomer]) < len(self._kept)

    def _measure(self, scene: int) -> None:
        """Compute exactly how unlike the kept scenes one is."""
        others = [kept.scene for kept in self._kept if kept.scene != scene]
        self._apart[scene, others] = self._apart[others, scene] = _distances(self._looks[others], self._looks[scene])

    def _is_long(self, scene: int) -> bool:
        return bool(self._shown_s[scene] >= LONG_S)

    def _least(self, kept: list[_Kept]) -> int:
        """Index of the look to drop; the last one of ``kept`` is new and has to be clearly better.

        First drops those of short scenes, then those of long ones, pinned ones last. Among equals, the one that is
        worth least: how long it is shown, times how little it looks like the others, times how far it is from them.
        """
        scenes = np.array([one.scene for one in kept])
        apart = self._apart[np.ix_(scenes, scenes)]
        apart = np.where(scenes[:, None] == scenes[None, :], np.inf, apart)
        unlike = np.minimum(apart.min(axis=1), _UNLIKE_ALL)
        worth = np.sqrt(self._shown_s[scenes] + _FLASH_S) * unlike * _clearance([one.at_s for one in kept])
        worth[-1] /= _ADVANTAGE
        rank = [(one.pinned, self._is_long(one.scene), worth[number]) for number, one in enumerate(kept)]
        return min(range(len(kept)), key=rank.__getitem__)


def _clearance(times: list[float]) -> npt.NDArray[np.float64]:
    """For each time the distance to its neighbours: 1 if as large as with an even spread, else less."""
    at = np.clip(np.array(times), -_LONGEST_S, _LONGEST_S)
    order = np.argsort(at, kind="stable")
    ordered = at[order]
    even = (ordered[-1] - ordered[0]) / max(1, len(at) - 1)
    if even <= 0:
        return np.ones(len(at))
    gaps = np.diff(ordered)
    room = (np.concatenate((gaps[:1], gaps)) + np.concatenate((gaps, gaps[-1:]))) / 2
    clearance = np.empty(len(at))
    clearance[order] = np.clip(room / even, _CROWDED, 1.0)
    return clearance


def _look_of(miniature: Pixels) -> Pixels:
    """What frames are compared by: average colour (three planes) and roughness (one) of 32 x 32 cells; shape (4, 32,
    32).

    Roughness distinguishes pictures with the same colours in the same places, such as one in which only the
    fine structure was replaced.
    """
    planes = miniature.transpose(2, 0, 1).astype(np.int16, order="C")
    colour = _sums_of_cells(planes) >> 4
    mean = (colour[0] + 2 * colour[1] + colour[2]) >> 2
    grey = (planes[0] + 2 * planes[1] + planes[2]) >> 2
    rough = np.abs(grey.reshape(_CELLS, _CELL, _CELLS, _CELL) - mean[:, None, :, None])
    look = np.empty((4, _CELLS, _CELLS), np.uint8)
    look[:3] = colour
    look[3] = _sums_of_cells(rough.reshape(1, MINIATURE, MINIATURE))[0] >> 4
    return look


def _sums_of_cells(planes: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Sums over squares of four by four samples, written out because numpy's own sums over short axes are slow."""
    rows = planes.reshape(len(planes), -1, _CELL, planes.shape[2])
    columns = (rows[:, :, 0] + rows[:, :, 1] + rows[:, :, 2] + rows[:, :, 3]).reshape(*rows.shape[:2], -1, _CELL)
    sums: npt.NDArray[np.int16] = columns[..., 0] + columns[..., 1] + columns[..., 2] + columns[..., 3]
    return sums


def _coarse(look: Pixels) -> Pixels:
    """A look of 8 x 8 cells. Two looks are never nearer to each other than their coarse ones, give or take rounding."""
    return (_sums_of_cells(look.astype(np.int16)) >> 4).astype(np.uint8)


def _distances(looks: Pixels, look: Pixels) -> npt.NDArray[np.float32]:
    """The distance of a look from each of several; 1 is what makes another scene. All in bytes, for speed."""
    difference = np.maximum(looks, look) - np.minimum(looks, look)
    colour = np.maximum(np.maximum(difference[:, 0], difference[:, 1]), difference[:, 2])
    colour = np.maximum(colour, _COLOUR_NOISE) - np.uint8(_COLOUR_NOISE)
    detail = np.maximum(difference[:, 3], _DETAIL_NOISE) - np.uint8(_DETAIL_NOISE)
    excess = colour.sum(axis=(1, 2), dtype=np.uint32) + _DETAIL_WEIGHT * detail.sum(axis=(1, 2), dtype=np.uint32)
    distances: npt.NDArray[np.float32] = (excess / (look[0].size * _DIFFERENT)).astype(np.float32)
    return distances
