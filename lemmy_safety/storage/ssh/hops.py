"""The ways to reach an SSH server: a TCP connection, a channel of a jump host, or a program in between.

Each yields an object that paramiko's transport can use as its socket. Closing it ends what lies behind it.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from typing import Protocol

import paramiko

from lemmy_safety.errors import HostUnknown, SettingsError, StorageError, StorageUnreachable
from lemmy_safety.foreign import foreign
from lemmy_safety.storage.ssh.errors import CONNECTION_ERRORS, translate

_LOG = logging.getLogger(__name__)

#: A TCP connection over the slowest line is made within a few round trips; three lost packets cost 7 s.
CONNECT_TIMEOUT_S = 10.0

#: A jump host may look up the name before it connects.
_FORWARD_TIMEOUT_S = 30.0

#: How long sent data may stay unacknowledged before the kernel drops the connection (where it can: Linux). Without it
#: a dead line is noticed after 15 minutes.
UNACKNOWLEDGED_MS = 30_000

#: A program that was asked to end has this long before it is killed.
_END_S = 1.0

#: A shell's exit statuses for a program that it may not run, or cannot find (POSIX, Shell Command Language, 2.8.2).
_NO_PROGRAM = (126, 127)

#: RFC 4254, section 5.1.
_PROHIBITED = 1


class Line(Protocol):
    """What paramiko needs of a socket."""

    def send(self, data: bytes, /) -> int: ...
    def recv(self, size: int, /) -> bytes: ...
    def settimeout(self, seconds: float | None, /) -> None: ...
    def close(self) -> None: ...


class Way(Protocol):
    """One way to a server. ``shown`` names it in a word or two, empty for a plain connection."""

    shown: str

    def dial(self) -> Line:
        """:raises StorageError: HostUnknown, StorageUnreachable, and what the login to a jump host raises."""


class Direct:
    """By TCP."""

    shown = ""

    def __init__(self, address: str, port: int, where: str) -> None:
        self._address = address
        self._port = port
        self._where = where
        self._resolved_before = False

    def dial(self) -> socket.socket:
        try:
            connection = socket.create_connection((self._address, self._port), timeout=CONNECT_TIMEOUT_S)
        except (OSError, UnicodeError) as error:
            ours = translate(error, self._where)
            if isinstance(ours, HostUnknown) and self._resolved_before:
                # The name resolved before, so this is an outage of the name service.
                ours = StorageUnreachable(ours.message)
            raise ours from error
        self._resolved_before = True
        # Measured: without it a 100 KB file takes 17 ms on loopback, with it 1 ms (paramiko does not set it).
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        user_timeout = getattr(socket, "TCP_USER_TIMEOUT", None)
        if user_timeout is not None:
            connection.setsockopt(socket.IPPROTO_TCP, user_timeout, UNACKNOWLEDGED_MS)
        return connection


class Login(Protocol):
    """An account on a jump host (``login.SshLogin``, which itself goes one of these ways). ``where`` names it in messages."""

    where: str

    def connect(self) -> paramiko.Transport:
        """:raises StorageError: it cannot be reached or logged in to."""


class Jump:
    """Through another SSH server, after logging in to it (``ProxyJump``)."""

    def __init__(self, login: Login, address: str, port: int, where: str) -> None:
        self._login = login
        self._address = address
        self._port = port
        self._where = where
        self.shown = f"through {login.where}"

    def dial(self) -> Line:
        transport = self._login.connect()
        try:
            channel = transport.open_channel(
                "direct-tcpip", (self._address, self._port), ("127.0.0.1", 0), timeout=_FORWARD_TIMEOUT_S
            )
        except paramiko.ChannelException as error:
            transport.close()
            raise self._refused(error) from error
        except CONNECTION_ERRORS as error:
            transport.close()
            raise translate(error, self._login.where) from error
        return _Tunnel(channel, transport)

    def _refused(self, error: paramiko.ChannelException) -> StorageError:
        message = f"The jump host {self._login.where} opens no way to {self._where}: {foreign(error.text or error)}."
        if error.code == _PROHIBITED:
            return StorageError(
                message,
                hint="Let it forward connections: AllowTcpForwarding yes in its sshd_config (and PermitOpen, permitopen= or "
                "restrict in authorized_keys must allow this address).",
            )
        return StorageUnreachable(
            message, hint="The jump host must be able to resolve and reach that address itself; try it there."
        )


class _Tunnel:
    """A jump host's channel as a socket. Closing it closes the connection to the jump host, which has no other use."""

    def __init__(self, channel: paramiko.Channel, transport: paramiko.Transport) -> None:
        self._channel = channel
        self._transport = transport
        self.send = channel.send
        self.recv = channel.recv
        self.settimeout = channel.settimeout

    @property
    def _closed(self) -> bool:  # paramiko reads this name from its sockets
        return self._channel.closed

    def close(self) -> None:
        with suppress(*CONNECTION_ERRORS):
            self._channel.close()
        with suppress(*CONNECTION_ERRORS):
            self._transport.close()


class Command:
    """Through a program that connects its stdin and stdout to the server (``ProxyCommand``).

    As ssh does, we pass the line to a shell, /bin/sh, with ``exec`` before it. Names that are inserted contain no
    character
    with a meaning for a shell (``ssh_config``). paramiko's ProxyCommand is not used: it uses no shell, does not read
    stderr, so that a talkative program blocks, and spins after the program has ended.
    """

    def __init__(self, command: str, where: str) -> None:
        self._command = command
        self._where = where
        self.shown = "through ProxyCommand"

    def dial(self) -> Line:
        if os.name != "posix":
            # On Windows a socket cannot be the standard input of a program.
            raise SettingsError(
                f"ProxyCommand for {self._where} is not supported on this system.",
                hint="Use ProxyJump in the SSH config file.",
            )
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = subprocess.Popen(  # noqa: S603 - what the admin's config file says
                    ["/bin/sh", "-c", f"exec {self._command}"],
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
        except OSError as error:
            ours.close()
            raise translate(error, self._where) from error
        return ProgramSocket(ours, process, self._where)


class ProgramSocket:
    """Our end of the program's standard streams. Closing it ends the program and its children."""

    def __init__(self, connection: socket.socket, process: subprocess.Popen[bytes], where: str) -> None:
        self._connection = connection
        self._process = process
        self._where = where
        self._last_words = ""
        self._closing = threading.Lock()
        self.recv = connection.recv
        self.send = connection.send
        self.settimeout = connection.settimeout
        self._listener = threading.Thread(target=self._listen, name="ssh-proxy-command", daemon=True)
        self._listener.start()

    @property
    def _closed(self) -> bool:
        return self._connection.fileno() < 0

    def why_it_ended(self) -> StorageError | None:
        """Our error with the program's last output, once it has ended; None while it runs.

        If the shell did not find the program, a retry will not either.
        """
        try:
            status = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return None
        self._listener.join(_END_S)
        said = f": {self._last_words}" if self._last_words else ""
        message = f"The ProxyCommand for {self._where} ended with status {status}{said}."
        if status in _NO_PROGRAM:
            return StorageError(message, hint="Install that program, or correct its line in the SSH config file.")
        return StorageUnreachable(message, hint="Try the line of the SSH config file by hand.")

    def close(self) -> None:
        with self._closing:
            self._connection.close()
            for sign in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, sign)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_END_S)
                    return

    def _listen(self) -> None:
        if self._process.stderr is None:
            return
        with self._process.stderr as stderr:
            while line := stderr.readline(500):
                said = " ".join(foreign(line.decode("utf-8", errors="replace")).split())
                if said:
                    self._last_words = said
                    _LOG.info("ProxyCommand for %s: %s", self._where, said)
