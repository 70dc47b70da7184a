"""The decoders that the measurements use, with the product's own default limits."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from lemmy_safety.media import InlineDecoder, MediaLimits
from lemmy_safety.media.workers.pool import ProcessDecoder
from lemmy_safety.settings.limits import LimitSettings

_MEBI = 1024 * 1024


def default_options() -> dict[str, Any]:
    """The options of the section Limits with their defaults."""
    return {field.name: field.default for field in fields(LimitSettings)}


def default_limits() -> MediaLimits:
    options = default_options()
    return MediaLimits(
        max_bytes=int(options["max_mb"] * _MEBI),
        max_pixels=int(options["max_megapixels"] * 1_000_000),
        max_frames=options["max_frames"],
        crop_ratio=options["crop_ratio"],
    )


def inline_decoder() -> InlineDecoder:
    """Decodes in the calling thread."""
    return InlineDecoder(default_limits())


def process_decoder(*, workers: int = 1) -> ProcessDecoder:
    """Decodes in processes of its own, as in a real run."""
    options = default_options()
    return ProcessDecoder(
        default_limits(),
        workers=workers,
        timeout_s=options["decode_timeout_s"],
        memory_bytes=int(options["decode_memory_mb"] * _MEBI),
    )
