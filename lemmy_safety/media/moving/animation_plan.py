"""Which frames of a GIF, APNG or WebP to decode when decoding all of them would take too long. Decodes nothing itself.

Every choice is made from the table of stored frames alone, so that the same file is always looked at in the same places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lemmy_safety.media.moving.sampling import LOOK_EVERY_S, spread_order

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from lemmy_safety.media.moving.animation_frames import StoredFrames

# What showing one frame costs: the pixels that are decoded, half of the canvas for composing and comparing it, and some
# for being a frame at all, in pixels' worth. On one core of 2.5 GHz 10 ns each.
_FRAME_OVERHEAD: Final = 50_000
#: Up to this cost every frame is looked at: 200 frames of 1920 x 1080, which take 3 to 7 s.
ALL_FRAMES_COST: Final = 600_000_000
#: What is looked at in no case costs more: 600 frames of that size, the most that fits into the deadline.
MOST_COST: Final = 1_800_000_000


def showing_cost(width: int, height: int, areas: Collection[int]) -> int:
    """What showing frames costs that change areas of these numbers of pixels on a canvas, in pixels' worth."""
    return sum(areas) + len(areas) * (width * height // 2 + _FRAME_OVERHEAD)


def cost_of(stored: StoredFrames, numbers: Collection[int]) -> int:
    """What showing these frames costs, in pixels' worth."""
    return showing_cost(stored.width, stored.height, [stored.frames[number].pixels for number in numbers])


def longest_unseen_s(stored: StoredFrames, numbers: Sequence[int]) -> float:
    """How long at most the viewer sees frames that are not among these, in one go."""
    starts = [*stored.starts_s, stored.duration_s]
    ends = [starts[number + 1] for number in numbers]
    return max(
        (start - end for end, start in zip(ends, [starts[number] for number in numbers[1:]], strict=False)), default=0.0
    )


def worth_showing(stored: StoredFrames) -> tuple[int, ...]:
    """Which frames to show so that looking at them takes a bounded time; all of them if that is cheap.

    Else frames are left out of which the viewer sees the next but ``LOOK_EVERY_S`` later at most: first those that leave
    no trace, because a frame that stands alone follows. If that is not enough, also others, the largest of each stretch
    of time stays; what is shown then has traces of older frames where those in between would have painted over them.
    At last, if frames are too large and too many even then, those that are shown longest, evenly spread.
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
