"""The protocol between a decoding process and the program that started it, over two plain pipes.

A message is a number of parts and their sizes, then the parts. The first message is a pickled task; after that, each is
one part, the bytes of a medium. An answer is a pickled record, then the pixels of its frames as separate parts, so that
they are copied only into the pipe and out of it.

Strangers choose the bytes that a decoder works on, so an answer is read as if they controlled the decoder:
with limited size, and made only of the records below and arrays. Nothing here starts or ends a process.
"""

from __future__ import annotations

import io
import pickle
import struct
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from lemmy_safety.media.base import DecodedMedia

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

    import numpy.typing as npt

    from lemmy_safety.media.base import MediaLimits
    from lemmy_safety.records import Frame, ItemStatus, MediaInfo, Pdq

_MEBI: Final = 1024 * 1024
_COUNT: Final = struct.Struct("<Q")
#: One for each frame and one for the record; limits allow 1000 frames, each in a few views.
_MOST_PARTS: Final = 65_536
#: Up to this size, copying a part to its neighbours costs less than waking the reader once more.
_COPIED_BYTES: Final = 128 * 1024

_RECORD_MODULES: Final = frozenset(
    {
        "lemmy_safety.records.media",
        "lemmy_safety.records.objects",
        "lemmy_safety.media.base",
        "lemmy_safety.media.workers.messages",
    }
)
#: How numpy pickles arrays and numbers; the module names differ between its versions 1 and 2.
_NUMPY_MODULES: Final = frozenset({"numpy", "numpy.core.numeric", "numpy.core.multiarray"})
_NUMPY_NAMES: Final = frozenset({"_frombuffer", "_reconstruct", "dtype", "ndarray", "scalar"})


class DecodeFunction(Protocol):
    """A module's function that decodes; the process imports it by name."""

    def __call__(self, data: bytes, limits: MediaLimits, /) -> DecodedMedia | Iterator[DecodedMedia]:
        """One medium, or an iterator: first the medium alone, then with what else the file holds.

        The frames of the first come first in the second.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Sent to a process once. ``memory_bytes`` is above what it needs to start, ``timeout_s`` is for one medium."""

    decode: DecodeFunction
    limits: MediaLimits
    timeout_s: float
    memory_bytes: int

    @property
    def out_of_memory(self) -> str:
        return f"out of memory (limit {self.memory_bytes / _MEBI:g} MiB)"


@dataclass(frozen=True, slots=True)
class Ready:
    """The process has loaded everything and waits for its first medium."""

    pid: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The decoder raised ``MediaError``."""

    status: ItemStatus
    reason: str
    decoder_broke: bool


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """The decoder asked for more memory than allowed."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Any other exception: the name of its class, and the traceback for the log."""

    exception: str
    trace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """What a file itself shows; an answer with its other content follows, unless the process ends over that."""

    media: DecodedMedia


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """After ``Alone``: the additional frames, one hash each, and what is now known of the whole."""

    info: MediaInfo
    frames: tuple[Frame, ...]
    pdqs: tuple[Pdq, ...]


Answer = DecodedMedia | Alone | Rest | Ready | Refused | OutOfMemory | Fault


class BadAnswer(Exception):
    """The bytes from the pipe are not an answer."""


def send(stream: IO[bytes], parts: Sequence[bytes | memoryview]) -> None:
    """Write one message to an unbuffered pipe; waits until it is in the pipe.

    :raises OSError: the other side is gone.
    """
    together = bytearray()
    for size in (len(parts), *(len(part) for part in parts)):
        together += _COUNT.pack(size)
    for part in parts:
        if len(part) <= _COPIED_BYTES:
            together += part
        else:
            _write(stream, together)
            together = bytearray()
            _write(stream, part)
    _write(stream, together)


def _write(stream: IO[bytes], part: bytes | bytearray | memoryview) -> None:
    rest = memoryview(part)
    while rest:
        rest = rest[stream.write(rest) :]


def receive(stream: IO[bytes], *, max_bytes: int) -> tuple[bytes, list[memoryview]]:
    """Wait for one message from a buffered pipe: its first part, and the others, which are read-only.

    :raises EOFError: the other side is gone.
    :raises BadAnswer: the message has too many parts, or more than ``max_bytes`` bytes.
    """
    count = _read_number(stream)
    if not 1 <= count <= _MOST_PARTS:
        raise BadAnswer(f"{count} parts")
    sizes = [_read_number(stream) for _ in range(count)]
    if sum(sizes) > max_bytes:
        raise BadAnswer(f"{sum(sizes)} bytes")
    return _read(stream, sizes[0]), [_read_pixels(stream, size) for size in sizes[1:]]


def _read_pixels(stream: IO[bytes], size: int) -> memoryview:
    # numpy asks the system for large pages, without which 40 MB take twice as long to fill.
    pixels: npt.NDArray[np.uint8] = np.empty(size, np.uint8)
    if stream.readinto(pixels) < size:  # type: ignore[attr-defined]
        raise EOFError
    return pixels.data.toreadonly()


def _read_number(stream: IO[bytes]) -> int:
    number: int = _COUNT.unpack(_read(stream, _COUNT.size))[0]
    return number


def _read(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def pack(answer: Answer) -> list[bytes | memoryview]:
    """The parts of an answer; the frames' pixels are not copied."""
    buffers: list[pickle.PickleBuffer] = []
    head = io.BytesIO()
    _AnswerWriter(head, protocol=5, buffer_callback=buffers.append).dump(answer)
    return [head.getvalue(), *(buffer.raw() for buffer in buffers)]


def unpack(record: bytes, pixels: Sequence[memoryview]) -> Answer:
    """Reverse ``pack``; the answer's arrays are views of ``pixels``.

    :raises BadAnswer: not a valid answer.
    """
    try:
        answer = _AnswerReader(io.BytesIO(record), buffers=pixels).load()
    except Exception as error:
        # A damaged pickle raises whatever its opcodes cause.
        raise BadAnswer(f"{type(error).__name__}: {error}") from error
    if not isinstance(answer, Answer):
        raise BadAnswer(type(answer).__name__)
    looked_at: Any = answer.media if isinstance(answer, Alone) else answer
    if isinstance(answer, Alone) and not isinstance(looked_at, DecodedMedia):
        raise BadAnswer(type(looked_at).__name__)
    if isinstance(looked_at, DecodedMedia | Rest) and len(looked_at.pdqs) != len(looked_at.frames):
        raise BadAnswer(f"{len(looked_at.pdqs)} hashes of {len(looked_at.frames)} frames")
    return answer


class _AnswerWriter(pickle.Pickler):
    """Writes enumerations by value, which needs only their class.

    Python before 3.11.4, such as Debian 12's, writes ``getattr`` into a pickle, which an answer may not contain.
    """

    def reducer_override(self, obj: Any) -> Any:
        return (type(obj), (obj.value,)) if isinstance(obj, Enum) else NotImplemented


class _AnswerReader(pickle.Unpickler):
    """Creates only our records and arrays."""

    def find_class(self, module: str, name: str) -> Any:
        plain = module.replace("numpy._core.", "numpy.core.")
        if plain in _NUMPY_MODULES and name in _NUMPY_NAMES:
            return super().find_class(module, name)
        if module in _RECORD_MODULES:
            found = super().find_class(module, name)
            # A dotted name could lead from a module of ours to anything that it imports.
            if isinstance(found, type) and (found.__module__, found.__qualname__) == (module, name):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is not part of an answer")
