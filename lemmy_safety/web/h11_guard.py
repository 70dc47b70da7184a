"""uvicorn's HTTP/1.1 protocol, plus what it lacks: time limits on heads and answers, and a bound on connections.

The bound is on idle and busy connections together, and idle ones give way (``connections.py``). Callers with an allowed
address have slots of their own, which callers that will be refused for their address cannot fill.

uvicorn waits forever for the rest of a request line or header, and for the first byte of a new connection. A few
hundred such connections (the "slow loris") would exhaust the service. So would callers that do not read their answers:
an answer with a medium stays in memory for each of them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from lemmy_safety.web.connections import Places

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from lemmy_safety.access.rules import Access
    from lemmy_safety.uploads.metrics import Meters

_HUNG_UP: Final = "lemmy_safety.hung_up"

#: Under this key the application finds the function to call once the answer is decided, and only the rest of a body is
#: still read: from then on the connection counts as idle. Otherwise refused callers that send no body would keep their
#: slots.
ANSWERED: Final = "lemmy_safety.answered"

#: Seconds for a caller to read an answer that is too large for the buffers on the way. pict-rs gives up on an upload
#: after 30 s, so a slower worker is useless.
_READ_S = 30.0

_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbusy"
_NO_HTTP = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 7\r\n\r\nno HTTP"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 13\r\n\r\nhead too slow"


def hung_up(scope: MutableMapping[str, Any]) -> asyncio.Event:
    """Set when the peer of a request stops sending. A closed connection looks like a half-closed one, so do not hand
    such a peer something that others could use.
    """
    event: asyncio.Event = scope.setdefault(_HUNG_UP, asyncio.Event())
    return event


class GuardedProtocol(H11Protocol):
    """One connection. ``guarded`` makes the class that uvicorn is given."""

    head_timeout_s: ClassVar[float]
    access: ClassVar[Access]
    known: ClassVar[Places]
    strangers: ClassVar[Places]
    meters: ClassVar[Meters]

    _places: Places

    _is_answered = False
    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = None if self.client is None else self.client[0]
        self._places = self.known if self.access.may_ask_from(peer) else self.strangers
        if self._places.enter(self):
            self._watch_head()
        else:
            self._turn_away(503, _BUSY)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def handle_events(self) -> None:
        """Read what has come so far."""
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete and not self._is_answered:
            self._places.becomes_busy(self)
            self.scope[ANSWERED] = self._answered  # type: ignore[typeddict-unknown-key]

    def _answered(self) -> None:
        self._is_answered = True
        self._places.becomes_idle(self)

    def on_response_complete(self) -> None:
        """The answer was written."""
        self._places.becomes_idle(self)
        self._is_answered = False
        super().on_response_complete()

    def give_way(self) -> None:
        """Make room for another connection; see ``Places``."""
        # Between two requests nothing is waited for.
        if self._is_answered or self.cycle is None or self.conn.trailing_data[0]:
            self.meters.rejected(503)
            self.transport.write(_BUSY)
        # Not closed, which would wait for a caller that does not read.
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._places.leave(self)
        self._forget_timer()
        self._forget_read_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The caller reads more slowly than it is answered."""
        super().pause_writing()
        if self._read_timer is None:
            # Not closed, which would wait for the buffer to drain.
            self._read_timer = self.loop.call_later(_READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        self._forget_read_timer()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The peer will send no more, but may still read: a complete request gets its answer, an incomplete one 400."""
        whole = self.conn.their_state in (h11.DONE, h11.MUST_CLOSE)
        if whole and self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            hung_up(self.scope).set()  # type: ignore[arg-type]
            return True
        if self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]:
            self.conn.receive_data(b"")
            self.handle_events()
        return False

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - one text for all, whatever uvicorn says
        """Answer input that is not HTTP. If the application is already running, it sees a broken connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._turn_away(400, _NO_HTTP)
        else:  # in the middle of an answer
            self.transport.close()
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _watch_head(self) -> None:
        """Limit the time from the connection, or the head's first byte, to the head's last. Keep-alive has its own
        limit.
        """
        if self.transport.is_closing() or self.conn.their_state is not h11.IDLE:
            self._forget_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout_s, self._turn_away, 408, _TOO_SLOW)

    def _turn_away(self, status: int, answer: bytes) -> None:
        self.meters.rejected(status)
        self.transport.write(answer)
        self.transport.close()

    def _forget_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _forget_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def guarded(*, head_timeout: float, most_connections: int, rules: Access, counts: Meters) -> type[GuardedProtocol]:
    """The protocol of one service. ``most_connections`` may be open for callers that ``rules`` may accept, and as many
    for all others.

    Beyond that an idle connection gives way to a new one; if none is idle, the new one gets 503 at once.
    """

    class Guarded(GuardedProtocol):
        head_timeout_s = head_timeout
        access = rules
        known = Places(most_connections)
        strangers = Places(most_connections)
        meters = counts

    return Guarded
