"""A decoder that does to its process what the worst files do to one; what it is to do is what it is given as data.

It is run in decoding processes, which import it by name; anything that is no command is decoded.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import signal
import stat
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from PIL import Image

from lemmy_safety.errors import MediaError
from lemmy_safety.media import decode, sniff
from lemmy_safety.media.decoding import looks
from lemmy_safety.media.stills import formats
from lemmy_safety.records import ItemStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lemmy_safety.media import DecodedMedia, MediaLimits

_MIB = 1024 * 1024
_kept: list[Any] = []


def break_or_decode(data: bytes, limits: MediaLimits) -> Iterator[DecodedMedia]:
    """Carry out the command that ``data`` is, else decode it."""
    command = COMMANDS.get(bytes(data))
    return looks(data, limits) if command is None else command()


def show_and_break(data: bytes, limits: MediaLimits) -> Iterator[DecodedMedia]:
    """Show a picture, and then carry out the command that ``data`` is, as if that were inside the picture."""
    stored = io.BytesIO()
    Image.linear_gradient("L").save(stored, "PNG")
    yield decode(stored.getvalue(), limits)
    yield COMMANDS[bytes(data)]()


#: Between a picture and the command that is carried out as if it were inside the picture.
INSIDE = b"and inside: "


def show_then_break(data: bytes, limits: MediaLimits) -> Iterator[DecodedMedia]:
    """Show the picture that ``data`` is, and then carry out the command behind ``INSIDE``; without one, decode."""
    picture, _, command = bytes(data).partition(INSIDE)
    both = looks(picture, limits)
    yield next(both)
    yield COMMANDS[command]() if command else next(both)


def _say(text: str) -> NoReturn:
    """The only way to get a text out of a decoder."""
    raise MediaError(ItemStatus.UNSUPPORTED, text)


def _segfault() -> NoReturn:
    ctypes.string_at(0)
    raise AssertionError


def _kill_from_outside() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _loop() -> NoReturn:
    while True:
        pass


def _announce() -> None:
    os.write(2, b"hanging\n")


def _announce_a_loop() -> NoReturn:
    _announce()
    _loop()


def _sleep() -> NoReturn:
    _announce()
    time.sleep(3600)
    raise AssertionError


def _hold_the_interpreter() -> NoReturn:
    """Hang in C without giving other threads a turn, as a decoder can that has a fault."""
    _announce()
    ctypes.PyDLL(None).sleep(3600)
    raise AssertionError


def _allocate_without_end() -> NoReturn:
    while True:
        _kept.append(np.ones(16 * _MIB, np.uint8))


def _reserve() -> NoReturn:
    """Ask for a terabyte at once, which is refused before any of it is used."""
    _kept.append(np.empty(1024 * 1024 * _MIB, np.uint8))
    raise AssertionError


def _reserve_and_take_it_for_damage() -> NoReturn:
    try:
        _reserve()
    except MemoryError as error:
        raise MediaError(ItemStatus.UNREADABLE, "damaged") from error


def _fill_slowly() -> NoReturn:
    """Use 384 MiB, which no limit on reservations of twice 256 MiB forbids."""
    _kept.extend(np.ones(16 * _MIB, np.uint8) for _ in range(24))
    time.sleep(3600)
    raise AssertionError


def _leak() -> NoReturn:
    _kept.append(np.ones(100 * _MIB, np.uint8))
    _say(str(os.getpid()))


def _print() -> NoReturn:
    print("a library has something to say")  # noqa: T201 - noise is the point
    os.write(1, b"a C library as well\n")
    os.write(2, b"libpng warning: iCCP: known incorrect sRGB profile\n")
    sys.stdout.flush()
    _say("still here")


def _answer_with_nonsense() -> Any:
    return _Surprise()


class _Surprise:
    """Pickled, it would run a program where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, ("echo taken over >&2",)


def _core_limit() -> NoReturn:
    import resource  # noqa: PLC0415 - exists on POSIX only

    _say(str(resource.getrlimit(resource.RLIMIT_CORE)[0]))


def _exit() -> NoReturn:
    os._exit(3)


def _leave() -> NoReturn:
    sys.exit("a library that ends the program")


def _fail() -> NoReturn:
    raise ZeroDivisionError("a fault of ours")


def _modules() -> NoReturn:
    _say(" ".join(sorted(sys.modules)))


def _threads() -> NoReturn:
    """How many there are while an AVIF is open, whose decoder keeps its threads as long as that."""
    stored = io.BytesIO()
    Image.linear_gradient("L").save(stored, "AVIF")
    (image,) = formats.open_pages(stored.getvalue(), sniff.AVIF).images
    image.load()
    _say(str(len(os.listdir("/proc/self/task"))))  # noqa: PTH208 - no folder of files


def _pid() -> NoReturn:
    _say(str(os.getpid()))


def _close_the_answers() -> NoReturn:
    """Take away the pipe of the answers, and live on."""
    import fcntl  # noqa: PLC0415 - exists on POSIX only

    for number in range(3, 64):
        with contextlib.suppress(OSError):  # most numbers are no open file
            if stat.S_ISFIFO(os.fstat(number).st_mode) and fcntl.fcntl(number, fcntl.F_GETFL) & os.O_WRONLY:
                os.close(number)
    time.sleep(3600)
    raise AssertionError


COMMANDS: dict[bytes, Callable[[], Any]] = {
    b"segfault": _segfault,
    b"abort": os.abort,
    b"exit": _exit,
    b"leave": _leave,
    b"kill": _kill_from_outside,
    b"loop": _loop,
    b"announce a loop": _announce_a_loop,
    b"sleep": _sleep,
    b"hold the interpreter": _hold_the_interpreter,
    b"allocate without end": _allocate_without_end,
    b"reserve": _reserve,
    b"reserve and take it for damage": _reserve_and_take_it_for_damage,
    b"fill slowly": _fill_slowly,
    b"leak": _leak,
    b"print": _print,
    b"nonsense": _answer_with_nonsense,
    b"close the answers": _close_the_answers,
    b"fail": _fail,
    b"modules": _modules,
    b"pid": _pid,
    b"threads": _threads,
    b"core limit": _core_limit,
}
