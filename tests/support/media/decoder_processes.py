"""Decoding in processes as its tests ask for it: what came of a medium, which process answers, when one hangs."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support.media import pictures

from lemmy_safety.errors import MediaError
from lemmy_safety.media import MediaLimits
from lemmy_safety.media.workers.pool import ProcessDecoder

if TYPE_CHECKING:
    from lemmy_safety.media import Decoder


posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds processes to such a limit")


LIMITS = MediaLimits(max_bytes=8 * 1024 * 1024, max_pixels=1_000_000)


MEMORY = 256 * 1024 * 1024


HEALTHY = pictures.encode(pictures.shapes(seed=1), "png")


def process_decoder(workers: int = 1, timeout_s: float = 30.0, **options) -> ProcessDecoder:
    return ProcessDecoder(LIMITS, workers=workers, timeout_s=timeout_s, memory_bytes=MEMORY, **options)


def outcome(decoder: Decoder, data: bytes) -> object:
    """What came of a medium, as something that can be compared."""
    try:
        media = decoder.decode(data)
    except MediaError as error:
        return (error.status, error.reason, error.decoder_broke)
    return (
        media.info,
        [(f.index, f.at_s, f.view, f.plain, f.pixels.shape, f.pixels.tobytes()) for f in media.frames],
    )


def refusal(decoder: Decoder, data: bytes) -> MediaError:
    with pytest.raises(MediaError) as caught:
        decoder.decode(data)
    return caught.value


def pid_of(decoder: ProcessDecoder) -> int:
    """The process that answers next, where there is one."""
    return int(refusal(decoder, b"pid").reason)


@contextmanager
def error_stream():
    """The error stream of processes that start meanwhile, as it is written. (What capfd reads while others write, it loses.)"""
    read_end, write_end = os.pipe()
    ours = os.dup(2)
    os.dup2(write_end, 2)
    os.close(write_end)
    try:
        with os.fdopen(read_end, encoding="utf-8") as lines:
            yield lines
    finally:
        os.dup2(ours, 2)
        os.close(ours)


def wait_for_the_hang(lines):
    """Until a decoder says that it is about to."""
    while "hanging" not in lines.readline():
        pass
