"""Chooses which frames of a GIF, APNG or WebP to decode if decoding all would take too long. Decodes nothing itself.

Every choice uses only the table of stored frames, so the same file is always examined in the same places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lemmy_safety.media.moving.sampling import LOOK_EVERY_S, spread_order

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from lemmy_safety.media.moving.animation_frames import StoredFrames

# The cost of showing one frame: the decoded pixels, half of the canvas for composing and comparing it, and a fixed
# cost per frame, in pixels' worth. On one core of 2.5 GHz 10 ns each.
_FRAME_OVERHEAD: Final = 50_000
#: Up to this cost every frame is examined: 200 frames of 1920 x 1080, which take 3 to 7 s.
ALL_FRAMES_COST: Final = 600_000_000
#: Examining never costs more than this: 600 frames of that size, the most that fits into the deadline.
MOST_COST: Final = 1_800_000_000


def showing_cost(width: int, height: int, areas: Collection[int]) -> int:
    """The cost of showing frames that change areas of these sizes on a canvas, in pixels' worth."""
    return sum(areas) + len(areas) * (width * height // 2 + _FRAME_OVERHEAD)


def cost_of(stored: StoredFrames, numbers: Collection[int]) -> int:
    """The cost of showing these frames, in pixels' worth."""
    return showing_cost(stored.width, stored.height, [stored.frames[number].pixels for number in numbers])


def longest_unseen_s(stored: StoredFrames, numbers: Sequence[int]) -> float:
    """The longest time in which the viewer sees only frames that are not among these."""
    starts = [*stored.starts_s, stored.duration_s]
    ends = [starts[number + 1] for number in numbers]
    return max(
        (start - end for end, start in zip(ends, [starts[number] for number in numbers[1:]], strict=False)), default=0.0
    )


def worth_showing(stored: StoredFrames) -> tuple[int, ...]:
    """Which frames to show so that examining them takes a limited time; all of them if that is cheap.

    Else skips frames if the viewer sees the next shown one at most ``LOOK_EVERY_S`` later: first those without a
    trace, because a frame that stands alone follows. If that is not enough, skips others too, and the largest in each
    stretch of time stays; shown frames then have traces of older ones that the skipped ones would have painted over.
    Finally, if frames are still too large and too many, shows those with the longest durations, evenly spread.
    """
    everything = range(len(stored.frames))
    if cost_of(stored, everything) <= ALL_FRAMES_COST:
        return tuple(everything)
    for choose in (_without_trace, _largest_of_each_stretch, _longest):
        numbers = choose(stored)
        if cost_of(stored, numbers) <= MOST_COST:
            break
    return tuple(numbers)


def _without_trace(stored: StoredFrames) -> list[int]:
    starts = [*stored.starts_s, stored.duration_s]
    alone = [number for number, frame in enumerate(stored.frames) if number and frame.stands_alone]
    kept: list[int] = []
    looked_s = -LOOK_EVERY_S
    for first, following in zip([0, *alone], [*alone, len(stored.frames)], strict=True):
        needed = first - 1
        for number in range(first, following):
            if number in {0, len(stored.frames) - 1} or starts[number + 1] - looked_s > LOOK_EVERY_S:
                needed = number
                looked_s = starts[number]
        kept.extend(range(first, needed + 1))
    return kept


def _largest_of_each_stretch(stored: StoredFrames) -> list[int]:
    stretch_s = LOOK_EVERY_S / 2
    largest: dict[int, int] = {}
    kept = {0, len(stored.frames) - 1}
    for number, (start_s, frame) in enumerate(zip(stored.starts_s, stored.frames, strict=True)):
        stretch = int(start_s / stretch_s)
        rival = stored.frames[largest.setdefault(stretch, number)]
        if (frame.pixels, frame.end - frame.start) > (rival.pixels, rival.end - rival.start):
            largest[stretch] = number
        if frame.shown_s >= stretch_s:
            kept.add(number)
    return sorted(kept | set(largest.values()))


def _longest(stored: StoredFrames) -> list[int]:
    candidates = _largest_of_each_stretch(stored)
    spread = [candidates[place] for place in spread_order(len(candidates))]
    spread.sort(key=lambda number: stored.frames[number].shown_s, reverse=True)
    kept = {0, len(stored.frames) - 1}
    cost = cost_of(stored, kept)
    for number in spread:
        cost += cost_of(stored, (number,))
        if cost > MOST_COST:
            break
        kept.add(number)
    return sorted(kept)
