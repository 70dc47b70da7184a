"""Tells a real memory shortage from a false one: FFmpeg reports one for damaged files as well.

FFmpeg never allocates more than MOST_AT_ONCE; if a damaged file claims a larger table, the error is "cannot allocate
memory", however much there is. So we check at that moment, while the decoder still holds its memory: if that much can
still be allocated at once, no allocation of FFmpeg's was refused. If there was never that much, damage is
treated as a shortage, and a file of which nothing is known is not reported as containing no picture.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np
from av.error import FFmpegError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: ``max_alloc_size`` of FFmpeg's libavutil/mem.c, which is never changed here.
MOST_AT_ONCE: Final = 2**31 - 1


class AbsurdDemand(ValueError):
    """The bytes make FFmpeg ask for more memory than it ever allocates: they are damaged."""


@contextmanager
def shortage_or_damage() -> Iterator[None]:
    """Put this around calls of FFmpeg, inside whatever frees its memory: it distinguishes real shortages from damage.

    :raises MemoryError: a plain one: there is too little.
    :raises AbsurdDemand: there is enough.
    """
    try:
        yield
    except MemoryError as error:
        if not isinstance(error, FFmpegError):
            raise
        if is_short():
            raise MemoryError("FFmpeg got less than it asked for") from error
        raise AbsurdDemand("it asks for more memory than any file may have") from error


def is_short() -> bool:
    """Whether FFmpeg may have been refused memory: some of its decoders report that as invalid data."""
    try:
        np.empty(MOST_AT_ONCE, np.uint8)  # never touched, so it takes only address space
    except MemoryError:
        return True
    return False


def ran_out(error: BaseException) -> bool:
    """Whether an exception, or one that it came from, is a shortage of memory."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError) and not isinstance(seen, FFmpegError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
