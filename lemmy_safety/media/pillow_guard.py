"""Makes Pillow safe to call from many threads on bytes that an attacker chose. Imports nothing of this room.

Pillow has three process-wide switches that matter here. What happens to each, and why nothing else is disturbed:

``ImageFile.LOAD_TRUNCATED_IMAGES``
    Pillow reads this module variable during decoding, so setting it for one file would affect the files of
    the other threads. We replace it with an object whose truth is per thread: false everywhere, as Pillow ships it,
    true only inside ``tolerate_damage()``. Pillow only ever uses its truth (a test checks that).
``Image.MAX_IMAGE_PIXELS``
    Only ever raised, to the largest requested ``max_pixels``, so that our limit decides and Pillow's own checks inside
    its GIF, TIFF and WebP readers still catch what no header announces.
``warnings``
    Pillow warns about odd metadata, which does not help an admin, and is an error under ``-W error``. All threads share
    the filters and ``catch_warnings`` is not thread-safe, so a filter that mutes modules named ``PIL.*`` is put
    in front once, and again if other code has put a filter before it.
"""

from __future__ import annotations

import re
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

from PIL import Image, ImageFile

if TYPE_CHECKING:
    from collections.abc import Iterator

_PILLOW_MODULES: Final = r"PIL\."
_MUTED: Final = ("ignore", None, Warning, re.compile(_PILLOW_MODULES), 0)
_lock: Final = threading.Lock()


class _TruePerThread(threading.local):
    """Replaces a boolean that Pillow reads; every thread has its own value."""

    tolerant = False

    def __bool__(self) -> bool:
        return self.tolerant


_truncation_switch: Final = _TruePerThread()


def prepare(max_pixels: int) -> None:
    """Set the three switches; called before every decode, because other libraries may change them too."""
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        with _lock:
            Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, max_pixels)
    if ImageFile.LOAD_TRUNCATED_IMAGES is not cast("bool", _truncation_switch):
        ImageFile.LOAD_TRUNCATED_IMAGES = cast("bool", _truncation_switch)
    if not warnings.filters or tuple(warnings.filters[0]) != _MUTED:
        with _lock:
            warnings.filterwarnings("ignore", module=_PILLOW_MODULES)


@contextmanager
def tolerate_damage() -> Iterator[None]:
    """Within this block, and in this thread only, Pillow keeps what it has of a truncated or damaged file."""
    _truncation_switch.tolerant = True
    try:
        yield
    finally:
        _truncation_switch.tolerant = False
