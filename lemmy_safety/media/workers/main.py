"""The inside of a decoding process: reads bytes from its standard input, answers on its standard output.

Only ``process`` starts it. It imports what decodes and nothing more: no storage, no model, no
database, no credentials; ``environment`` defines what it inherits. It ends when its input ends.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import traceback
from collections.abc import Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from lemmy_safety.errors import MediaError
from lemmy_safety.media.memory import ran_out
from lemmy_safety.media.workers import confinement
from lemmy_safety.media.workers.messages import (
    Alone,
    Answer,
    Fault,
    OutOfMemory,
    Ready,
    Refused,
    Rest,
    pack,
    receive,
    send,
)

if TYPE_CHECKING:
    from typing import IO, NoReturn

    from lemmy_safety.media.base import DecodedMedia, MediaLimits
    from lemmy_safety.media.workers.messages import DecodeFunction, Task

# Jobs come from our parent process, which has its own limits.
_ANY_SIZE: Final = sys.maxsize


def main() -> NoReturn:
    """Work until the input ends."""
    confinement.ignore_stop_signals()
    confinement.leave_no_core_dump()
    confinement.decode_in_one_thread()
    jobs, answers = _take_the_pipes()
    task: Task = pickle.loads(receive(jobs, max_bytes=_ANY_SIZE)[0])  # noqa: S301 - written by our parent process
    overtime = confinement.Overtime(task.timeout_s)
    inbox: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_take_jobs, args=(jobs, inbox), daemon=True).start()
    confinement.keep_freed_memory(task.memory_bytes)
    confinement.limit_memory(task.memory_bytes)
    send(answers, pack(Ready(os.getpid())))
    while True:
        # The main thread decodes: other threads have a stack of half a megabyte on macOS.
        data = inbox.get()
        with overtime.watch():
            for answer in _decode(task.decode, data, task.limits):
                send(answers, pack(answer))
        del data, answer


def _take_the_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Reserve the pipes: what a library prints must not get between the answers."""
    jobs, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    return jobs, answers


def _take_jobs(jobs: IO[bytes], inbox: SimpleQueue[bytes]) -> None:
    """Runs next to the decoder, to notice the end of the parent process in the middle of a medium."""
    try:
        while True:
            inbox.put(receive(jobs, max_bytes=_ANY_SIZE)[0])
    finally:
        os._exit(0)


def _decode(decode: DecodeFunction, data: bytes, limits: MediaLimits) -> Iterator[Answer]:
    """The answers to one medium; only the last one is not an ``Alone``."""
    try:
        yield from _looked_at(decode(data, limits))
    except MediaError as error:
        # Our limit can look to a decoder like damage or like a too large picture.
        yield OutOfMemory() if ran_out(error) else Refused(error.status, error.reason, error.decoder_broke)
    except MemoryError:
        yield OutOfMemory()
    except Exception as error:  # noqa: BLE001 - strangers choose the bytes; the parent process logs it
        yield Fault(type(error).__name__, traceback.format_exc())


def _looked_at(found: DecodedMedia | Iterator[DecodedMedia]) -> Iterator[Answer]:
    """No frame is sent twice."""
    if not isinstance(found, Iterator):
        yield found
        return
    alone = next(found)
    yield Alone(media=alone)
    whole, known = next(found, alone), len(alone.frames)
    yield Rest(info=whole.info, frames=whole.frames[known:], pdqs=whole.pdqs[known:])
