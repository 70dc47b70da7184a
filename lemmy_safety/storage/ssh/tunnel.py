"""A way to one address as an SSH server sees it (``direct-tcpip``, as ``ssh -L``), for clients of this process only.

It has an SSH connection of its own with the storage's settings. On the storage's connection an answer of a few bytes
waits behind files. Measured on a line of 20 Mbit/s that eight reading threads filled: a look-up took 14 ms on a
connection of its own, and 1.3 s on the storage's.

The library sshtunnel is not used: it reads keys, hosts and configuration in its own way, and serves connections of every
account of this machine.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from typing import TYPE_CHECKING, Final

import paramiko

from lemmy_safety.errors import (
    LemmySafetyError,
    PictrsError,
    PictrsNotForwarded,
    PictrsUnreachable,
    StorageError,
    StorageUnreachable,
)
from lemmy_safety.foreign import foreign
from lemmy_safety.storage.ssh.errors import CONNECTION_ERRORS, translate
from lemmy_safety.storage.ssh.link import Link
from lemmy_safety.storage.ssh.login import close_quietly
from lemmy_safety.storage.ssh.own_port import OwnPort
from lemmy_safety.storage.ssh.route import SshRoute

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lemmy_safety.storage.ssh.ssh_config import SshConfig

_LOG = logging.getLogger(__name__)

#: Bytes that are carried at a time.
_PIECE: Final = 65_536

_SSH_HINT: Final = (
    "Check that the SSH server is up, and the SSH_* settings ('lemmy-safety doctor' tries them as a storage)."
)

#: RFC 4254, section 5.1.
_PROHIBITED: Final = 1


class SshTunnel:
    """Clients connect to ``127.0.0.1`` and ``port`` after they have called ``ready``. Safe for several threads."""

    def __init__(  # noqa: PLR0913 - what an admin may set of a connection
        self,
        host: str,
        port: int | None,
        username: str | None,
        *,
        private_key: Path | None,
        passphrase: str | None,
        known_hosts: Path | None,
        config: SshConfig,
        ask_passphrase: Callable[[str], str] | None,
        target: tuple[str, int],
        what: str,
    ) -> None:
        """The first arguments are those of ``SshStorage``; connects to nothing yet.

        :param target: host and port as the SSH server is to resolve and reach them.
        :param what: what is there, for messages.
        :raises SettingsError: as ``SshRoute.login``.
        """
        self._login = SshRoute(
            config,
            private_key=private_key,
            passphrase=passphrase,
            known_hosts=known_hosts,
            ask_passphrase=ask_passphrase,
        ).login(config.lookup(host, port=port, username=username))
        self._target = target
        self._what = what
        self._connecting = threading.Lock()
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._own_port: OwnPort | None = None
        self._closed = False
        self._failure: LemmySafetyError | None = None

    @property
    def port(self) -> int:
        """Of ``127.0.0.1``; known once it is ready."""
        if self._own_port is None:
            raise RuntimeError("the tunnel is not open")
        return self._own_port.port

    def ready(self) -> None:
        """Connect to the SSH server, or again if that connection broke. The client's own time limits begin after it.

        :raises PictrsUnreachable: the server cannot be reached.
        :raises StorageError: what ``SshLogin.connect`` raises besides: the login is refused, the host key is unknown.
        """
        self._failure = None
        self._connected()
        with self._lock:
            if self._closed:
                raise self._was_closed()
            if self._own_port is None:
                self._own_port = OwnPort(self._serve)

    def _connected(self) -> Link:
        with self._connecting:
            if self._link is not None and self._link.alive:
                return self._link
            try:
                link = Link(self._login.connect(), 1)
            except StorageUnreachable as error:
                raise self._unreachable(error) from error
            with self._lock:
                if not self._closed:
                    self._link = link
                    _LOG.debug("connected to %s for %s", self._login.where, self._what)
                    return link
        close_quietly(link.transport)
        raise self._was_closed()

    def failure(self) -> LemmySafetyError | None:
        """Why the server opened no way for a connection since ``ready`` was called. None of its bytes were sent then."""
        return self._failure

    def close(self) -> None:
        """Close everything; clients find their connections closed. Closing twice is fine."""
        with self._lock:
            self._closed = True
            own_port, self._own_port = self._own_port, None
            link, self._link = self._link, None
        if link is not None:
            close_quietly(link.transport)
        if own_port is not None:
            own_port.close()

    def _serve(self, client: socket.socket) -> None:
        try:
            channel, link = self._way()
        except LemmySafetyError as error:
            self._failure = error
            return
        connection = _Connection(client, channel, link)
        try:
            connection.carry()
        finally:
            close_quietly(channel)

    def _way(self) -> tuple[paramiko.Channel, Link]:
        """A channel to the target; over a new connection if the present one had broken without being noticed."""
        link = self._connected()
        try:
            return self._way_on(link), link
        except PictrsUnreachable:
            if link.alive:
                raise
        link = self._connected()
        return self._way_on(link), link

    def _way_on(self, link: Link) -> paramiko.Channel:
        try:
            return link.open_way_to(*self._target)
        except paramiko.ChannelException as error:
            raise self._refused(error) from error
        except CONNECTION_ERRORS as error:
            raise self._unreachable(translate(error, self._login.where)) from error

    def _was_closed(self) -> PictrsUnreachable:
        return PictrsUnreachable(f"The way to {self._what} was closed.", hint="Open it again.")

    def _unreachable(self, error: StorageError) -> PictrsUnreachable:
        why = error.message[0].lower() + error.message[1:]
        return PictrsUnreachable(f"{self._what} cannot be reached: {why}", hint=_SSH_HINT)

    def _refused(self, error: paramiko.ChannelException) -> PictrsError:
        address = _shown(*self._target)
        if error.code == _PROHIBITED:
            return PictrsNotForwarded(
                f"{self._what} cannot be reached: the SSH server {self._login.where} does not forward connections to {address}.",
                hint=f"Set AllowTcpForwarding local and PermitOpen {address} (written exactly so) for this account in its "
                "sshd_config (docs/operations.md). In authorized_keys, permitopen= and restrict count as well.",
            )
        return PictrsUnreachable(
            f"{self._what} cannot be reached: the SSH server {self._login.where} itself gets no connection to {address}.",
            hint="Check that it is up, and that host and port are right as seen from the SSH server, not from here. The port "
            "of a container must be published there, for 127.0.0.1 alone (docs/operations.md).",
        )


class _Connection:
    """One connection of a client, and the channel that it is carried by."""

    def __init__(self, client: socket.socket, channel: paramiko.Channel, link: Link) -> None:
        self._client = client
        self._channel = channel
        self._link = link
        self._answer_due = False

    def carry(self) -> None:
        """Return when both sides have ended."""
        out = threading.Thread(target=self._send, name="tunnel-out", daemon=True)
        out.start()
        try:
            self._receive()
        except CONNECTION_ERRORS as error:
            _LOG.debug("a connection through SSH broke off: %s", foreign(error))
            close_quietly(self._channel)
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)
        out.join()

    def _send(self) -> None:
        try:
            while piece := self._client.recv(_PIECE):
                self._answer_due = True
                self._channel.sendall(piece)
            self._channel.shutdown_write()
        except CONNECTION_ERRORS as error:
            _LOG.debug("a connection through SSH broke off: %s", foreign(error))
            close_quietly(self._channel)

    def _receive(self) -> None:
        while True:
            try:
                piece = self._channel.recv(_PIECE)
            except TimeoutError:
                # The other side may take long for an answer, or have nothing to say; the SSH server must be alive.
                if self._answer_due:
                    self._link.check()
                continue
            if not piece:
                self._client.shutdown(socket.SHUT_WR)
                return
            self._answer_due = False
            self._client.sendall(piece)


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
