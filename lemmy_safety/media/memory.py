"""Whether a library that says it has no memory has none. FFmpeg says so of damaged files as well.

It never asks for more than MOST_AT_ONCE; a table whose size a damaged file claims to be larger is "cannot allocate
memory", however much there is. Which it is is asked where it shows, while the decoder holds what it holds: if so much can
still be had at once, nothing that FFmpeg asked for was refused. Where not even that much is there to begin with, damage is
taken for a shortage, and a file of which nothing is known is not called one that holds no picture.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np
from av.error import FFmpegError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: ``max_alloc_size`` of FFmpeg's libavutil/mem.c, which nobody here changes.
MOST_AT_ONCE: Final = 2**31 - 1


class AbsurdDemand(ValueError):
    """The bytes make FFmpeg ask for more memory than it ever takes: they are damaged."""


@contextmanager
def shortage_or_damage() -> Iterator[None]:
    """Around calls of FFmpeg, and within whatever frees what it holds: its shortages of memory are told apart.

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
    """Whether FFmpeg may have been refused what it asked for: some of its decoders call that invalid data."""
    try:
        np.empty(MOST_AT_ONCE, np.uint8)  # never touched, so it is address space and nothing else
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
