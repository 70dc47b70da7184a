"""Reads an upload's body into memory, within limits on its bytes, its time, and the memory of all bodies together.

Bytes are hashed as they come. A body is kept whole or not at all: one that was cut off, too slow or too large is
dropped, and no decision is made about it. If the file comes in an envelope, such as a form, only the file is kept, and
all limits apply to the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from lemmy_safety.uploads.records import Garbled, Upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


#: Seconds without a new byte before a body may be dropped for others. pict-rs sends from its own store, without a
#: pause.
STALL_S = 1.0

#: type/subtype of RFC 9110, without parameters; anything else is not a media type and is not kept.
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,60}/[A-Za-z0-9!#$&^_.+-]{1,60}")


def claimed_type(header: str) -> str:
    """The media type of a Content-Type header in lower case; empty if it is missing or invalid."""
    text = header.partition(";")[0].strip()
    return text.lower() if _MEDIA_TYPE.fullmatch(text) else ""


class BodyFault(Enum):
    """Why a body cannot be decided on."""

    BAD = auto()
    """It is empty, cut off, or not one file."""
    TOO_LARGE = auto()
    TOO_SLOW = auto()
    ENCODED = auto()
    """Compressed on the way."""
    NO_ROOM = auto()
    """No memory at the moment, or the service is stopping."""


class BadBody(Exception):
    """A body that cannot be decided on. ``text`` is a short reason for the sender.

    ``garbled`` is set if the whole body arrived, and pict-rs cannot have sent it in this form.
    """

    def __init__(self, fault: BodyFault, text: str, garbled: Garbled | None = None) -> None:
        super().__init__(text)
        self.fault = fault
        self.text = text
        self.garbled = garbled


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What an envelope says about its file. ``key`` is where pict-rs has stored it, if given."""

    media_type: str
    key: str | None


class Envelope(Protocol):
    """The wrapping around a file. ``most_overhead``: the most bytes it adds."""

    @property
    def most_overhead(self) -> int: ...

    def feed(self, data: bytes) -> bytes:
        """The file's bytes that this piece completes.

        :raises BadBody: it is unclear which bytes are the file.
        """
        ...

    def finish(self) -> Part:
        """What the envelope says about the file, once the body is complete.

        :raises BadBody: the file is incomplete.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimits:
    """``max_bytes`` of one body, ``memory_bytes`` of all held at a time, ``timeout_s`` to send one.

    pict-rs sends from its own store, and gives up after 30 s by default.
    """

    max_bytes: int
    memory_bytes: int
    timeout_s: float = 20.0


class BodyReader:
    """Reads the bodies of one service. Belongs to one event loop."""

    def __init__(
        self,
        limits: BodyLimits,
        *,
        reclaim: Callable[[], int] = lambda: 0,
        make_way: Callable[[], bool] = lambda: False,
    ) -> None:
        """``reclaim`` frees bodies without a waiting caller; it is called before a sender has to wait. ``make_way``
        ends a stalled body, if there is one; it is called while a sender waits.
        """
        self._limits = limits
        self._memory = BodyMemory(limits.memory_bytes, reclaim=reclaim, make_way=make_way)
        self._running: set[asyncio.Timeout] = set()
        self._stopped = False

    @property
    def bytes_held(self) -> int:
        """Bytes of all bodies, including those being received."""
        return self._memory.used

    async def read(
        self,
        stream: AsyncIterator[bytes],
        *,
        media_type: str,
        announced: int | None = None,
        envelope: Envelope | None = None,
    ) -> Upload:
        """``announced`` is the Content-Length, if given. Errors of the stream pass through.

        :raises BadBody: empty, not a form, too slow, too large, no memory in time, or stopping.
        """
        overhead = 0 if envelope is None else envelope.most_overhead
        if announced is not None and announced > self._limits.max_bytes + overhead:
            raise self._too_large
        share = self._memory.share()
        try:
            async with asyncio.timeout(0 if self._stopped else self._limits.timeout_s) as patience:
                self._running.add(patience)
                body = await self._read(stream, share, envelope)
        except TimeoutError:
            share.free()
            if self._stopped:
                raise BadBody(BodyFault.NO_ROOM, "stopping") from None
            raise (
                BadBody(BodyFault.NO_ROOM, "busy")
                if share.waited_last
                else BadBody(BodyFault.TOO_SLOW, "body too slow")
            ) from None
        except BaseException:
            share.free()
            raise
        finally:
            self._running.discard(patience)
        share.complete()
        return Upload(
            data=bytes(body.data),
            size=len(body.data),
            sha256=body.sha256.hexdigest(),
            media_type=claimed_type(media_type) or body.media_type,
            storage_key=body.key,
            free=share.free,
        )

    async def _read(self, stream: AsyncIterator[bytes], share: Share, envelope: Envelope | None) -> _Body:
        body = _Body()
        async for received in stream:
            chunk = received if envelope is None else envelope.feed(received)
            if not chunk:
                continue
            if len(body.data) + len(chunk) > self._limits.max_bytes:
                raise self._too_large
            await share.grow(len(chunk))
            body.add(chunk)
        if envelope is not None:
            part = envelope.finish()
            body.media_type, body.key = part.media_type, part.key
        if not body.data:
            raise BadBody(BodyFault.BAD, "empty body", Garbled.EMPTY)
        return body

    @property
    def _too_large(self) -> BadBody:
        return BadBody(BodyFault.TOO_LARGE, "body too large")

    def stop(self) -> None:
        """Answer everything that is being received with 503."""
        self._stopped = True
        now = asyncio.get_running_loop().time()
        for patience in self._running:
            if not patience.expired():
                patience.reschedule(now)


class _Body:
    def __init__(self) -> None:
        # One growing array: a list of one-byte chunks would take forty times the memory of its bytes.
        self.data = bytearray()
        self.sha256 = hashlib.sha256()
        # What an envelope says about its file.
        self.media_type = ""
        self.key: str | None = None

    def add(self, chunk: bytes) -> None:
        self.data += chunk
        self.sha256.update(chunk)


class BodyMemory:
    """Bytes of all bodies together. Without room for its bytes a sender waits, and TCP slows its peer down.

    Many half-received bodies could fill the room and wait for each other. So when none is complete, the oldest may
    exceed the limit: at most by the size of one body.
    """

    def __init__(self, limit: int, *, reclaim: Callable[[], int], make_way: Callable[[], bool]) -> None:
        self._limit = limit
        self._reclaim = reclaim
        self._make_way = make_way
        self._receiving: dict[Share, None] = {}
        self._complete = 0
        self.used = 0
        self._changed = asyncio.Event()

    def share(self) -> Share:
        share = Share(self)
        self._receiving[share] = None
        return share

    async def reserve(self, share: Share, size: int) -> None:
        while not self._fits(share, size):
            if self._reclaim():
                continue
            share.waited_last = True
            self._changed.clear()
            self._make_way()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STALL_S):
                    await self._changed.wait()
        share.waited_last = False
        share.size += size
        self.used += size

    def _fits(self, share: Share, size: int) -> bool:
        if self.used + size <= self._limit:
            return True
        return self._complete == 0 and next(iter(self._receiving)) is share

    def complete(self, share: Share) -> None:
        del self._receiving[share]
        self._complete += 1
        self._changed.set()

    def free(self, share: Share) -> None:
        if not share.freed:
            share.freed = True
            self.used -= share.size
            if share in self._receiving:
                del self._receiving[share]
            else:
                self._complete -= 1
            self._changed.set()


class Share:
    """One body's part of the memory."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self.size = 0
        self.freed = False
        #: Whether this body is waiting for memory.
        self.waited_last = False

    async def grow(self, size: int) -> None:
        """Wait until ``size`` more bytes may be held."""
        await self._memory.reserve(self, size)

    def complete(self) -> None:
        """The body is complete."""
        self._memory.complete(self)

    def free(self) -> None:
        """The body is forgotten. Freeing twice is fine."""
        self._memory.free(self)
