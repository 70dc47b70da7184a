"""Options: what one medium, and all of them together, may cost."""

from __future__ import annotations

from dataclasses import dataclass

from lemmy_safety.settings.option import option

SECTION = "Limits"


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """What one medium, and all of them together, may cost."""

    max_mb: float = option(
        64.0,
        "Largest object that is read, in MiB (pict-rs's own limit is 40).",
        kind=float,
        section=SECTION,
        minimum=0.001,
        maximum=4096,
    )
    max_megapixels: float = option(
        100.0,
        "Largest picture that is decoded, in million pixels (pict-rs's own limit is 40).",
        kind=float,
        section=SECTION,
        minimum=0.001,
        maximum=10_000,
    )
    memory_mb: float = option(
        512.0,
        "Bytes of undecoded objects held in memory at the same time, in MiB, and the same again for decoded pictures.",
        kind=float,
        section=SECTION,
        minimum=1,
        maximum=1_048_576,
    )
    max_mbit: float | None = option(
        None,
        "Megabits a second that passes read from the storage, at most, all together; without it there is no limit.",
        kind=float,
        section=SECTION,
        flag=True,
        minimum=0.1,
        maximum=100_000,
        example="20",
    )
    max_frames: int = option(
        32,
        "Different frames of an animation or video that are checked, at most.",
        kind=int,
        section=SECTION,
        minimum=1,
        maximum=1000,
    )
    look_s: float = option(
        20.0,
        "Seconds spent on one animation or video with everything in it, at most; what was seen by then is judged."
        " Never more than two thirds of LEMMY_SAFETY_DECODE_TIMEOUT_S.",
        kind=float,
        section=SECTION,
        minimum=0.1,
        maximum=3600,
    )
    crop_ratio: float = option(
        1.4,
        "Check the ends of pictures wider or taller than this ratio as well; 0: never.",
        kind=float,
        section=SECTION,
        minimum=0,
        maximum=1000,
    )
    decode_workers: int = option(
        0,
        "Processes that decode; 0: as many as there are processor cores, at most 8.",
        kind=int,
        section=SECTION,
        minimum=0,
        maximum=64,
    )
    decode_timeout_s: float = option(
        30.0,
        "Seconds that decoding one object may take before it is given up as unreadable.",
        kind=float,
        section=SECTION,
        minimum=1,
        maximum=3600,
    )
    decode_memory_mb: float = option(
        2048.0,
        "Memory that a decoding process may take for one object, in MiB.",
        kind=float,
        section=SECTION,
        minimum=256,
        maximum=1_048_576,
    )
