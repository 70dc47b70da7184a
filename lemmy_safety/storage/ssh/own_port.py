"""A port of this machine on which only this process is served: libraries connect to it, and other programs cannot.

libpq can use nothing but a socket of its own, so a port is needed; every account of the machine can connect to a port.
The system knows which process each end of a loopback connection belongs to, and this module asks it before a byte is
carried. Knows no SSH.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import threading
from typing import TYPE_CHECKING, Any, Final

import psutil

from lemmy_safety.foreign import foreign

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG = logging.getLogger(__name__)

HOST: Final = "127.0.0.1"

#: How often the listening thread looks whether it is to end, in seconds.
_POLL_S: Final = 0.5


class OwnPort(socketserver.ThreadingTCPServer):
    """Calls ``serve`` with each connection of this process, in a thread of its own, and closes it afterwards."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = False

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        """Listens at once, on a port that the system chooses."""
        self._serve = serve
        self._told = False
        super().__init__((HOST, 0), socketserver.BaseRequestHandler)
        self.port: int = self.server_address[1]
        self._thread = threading.Thread(target=self.serve_forever, args=(_POLL_S,), name="own-port", daemon=True)
        self._thread.start()

    def server_bind(self) -> None:
        # Windows lets another program bind a port that is in use, unless this is set.
        exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
        if exclusive is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, exclusive, 1)
        super().server_bind()

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - as socketserver calls it
        """Whether the other end is a socket of this process. A connection that cannot be told is refused."""
        try:
            ours = psutil.Process().net_connections("tcp4")
        except (psutil.Error, OSError) as error:
            self._refuse(f"its process is not known ({foreign(error)})")
            return False
        here = (HOST, self.port)
        if any(each.laddr == client_address and each.raddr == here for each in ours):
            return True
        self._refuse("it is of another program")
        return False

    def _refuse(self, why: str) -> None:
        """Tell it once: another program may try for ever."""
        _LOG.log(
            logging.DEBUG if self._told else logging.WARNING,
            "a connection to port %d, which is only for this process, was refused: %s",
            self.port,
            why,
        )
        self._told = True

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as socketserver calls it
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._serve(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as socketserver calls it
        _LOG.debug("a connection to port %d ended", self.port, exc_info=True)

    def close(self) -> None:
        """Stop listening. Connections are left to those who serve them."""
        self.shutdown()
        self._thread.join()
        with contextlib.suppress(OSError):
            self.server_close()
