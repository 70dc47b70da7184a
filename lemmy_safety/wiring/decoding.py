"""How many objects are decoded at a time, in which processes, and what one may cost."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lemmy_safety.packages import DECODING_PACKAGES, check_whole

if TYPE_CHECKING:
    from lemmy_safety.media import Decoder, MediaLimits
    from lemmy_safety.media.workers.pool import ProcessDecoder
    from lemmy_safety.settings import Settings


_MIB = 1024 * 1024


#: More processes than this would decode faster than any graphics card judges, and each may fill its share of memory.
_MOST_DECODE_WORKERS = 8


#: Part of the time limit for decoding: after the last check the frames are still rendered, cut and handed over.
_LOOKING_SHARE = 2 / 3


def decode_workers(settings: Settings) -> int:
    """How many objects are decoded at the same time."""
    return settings.decode_workers or min(os.cpu_count() or 1, _MOST_DECODE_WORKERS)


def max_bytes(settings: Settings) -> int:
    """Bytes of the largest object that is read."""
    return int(settings.max_mb * _MIB)


def media_limits(settings: Settings) -> MediaLimits:
    """What one medium may cost."""
    from lemmy_safety.media import MediaLimits as Limits

    return Limits(
        max_bytes=max_bytes(settings),
        max_pixels=int(settings.max_megapixels * 1_000_000),
        max_frames=settings.max_frames,
        look_s=min(settings.look_s, _LOOKING_SHARE * settings.decode_timeout_s),
        crop_ratio=settings.crop_ratio,
    )


def start_decoder(settings: Settings) -> Decoder:
    """Decodes in separate processes; a context manager. They start in the background: models take longer to load."""
    decoder = build_decoder(settings)
    decoder.start()
    return decoder


def build_decoder(settings: Settings) -> ProcessDecoder:
    """As ``start_decoder``; its processes start with the first medium."""
    check_whole(*DECODING_PACKAGES, needed_for="Decoding")
    from lemmy_safety.media.workers.pool import ProcessDecoder

    return ProcessDecoder(
        media_limits(settings),
        workers=decode_workers(settings),
        timeout_s=settings.decode_timeout_s,
        memory_bytes=int(settings.decode_memory_mb * _MIB),
        quiet=not settings.debug,
    )


def memory_bytes(settings: Settings) -> int:
    """Bytes of undecoded objects in memory at a time; the same again for decoded ones."""
    return int(settings.memory_mb * _MIB)
