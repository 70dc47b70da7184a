"""The connections to one SSH server: which thread may use which channel, and what happens when a connection breaks.

A *link* is one SSH transport with some channels. An SFTP session belongs to one thread at a time, which borrows and
returns it (one session shared by eight threads hangs). sshd allows ten sessions per connection (MaxSessions), so
further
links are opened when more are needed, or earlier if the server refuses. Knows no keys and no files.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING, TypeVar

import paramiko

from lemmy_safety.errors import StorageError, StorageUnreachable
from lemmy_safety.storage.ssh import no_sftp
from lemmy_safety.storage.ssh.errors import CONNECTION_ERRORS, translate
from lemmy_safety.storage.ssh.link import CHANNEL_TIMEOUT_S, Link, deadline
from lemmy_safety.storage.ssh.login import close_quietly
from lemmy_safety.storage.ssh.sftp import SftpSession
from lemmy_safety.storage.ssh.sftp_wire import SftpBroken, SftpRefusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lemmy_safety.storage.ssh.login import SshLogin

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds before the second and third try. sshd is back about a second after a restart; longer outages are left to
#: the caller, who knows better what to do meanwhile.
RETRY_DELAYS_S = (0.2, 1.5)

#: Why a channel was refused (RFC 4254, section 5.1): the one temporary reason.
_RESOURCE_SHORTAGE = 4


class SshConnections:
    """A pool of SFTP sessions and command channels over as few transports as possible. Safe for many threads."""

    def __init__(self, login: SshLogin, channels: int) -> None:
        """``channels`` is the most that are opened on one transport; opens nothing before it is needed."""
        self._login = login
        self._capacity = channels
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._closing = threading.Event()
        self._links: list[Link] = []
        self._idle: list[tuple[Link, SftpSession]] = []

    def run(self, operation: Callable[[SftpSession], T]) -> T:
        """Run an operation with its own session, and again with a new one if the connection breaks.

        ``operation`` must be safe to repeat: it may have been carried out when the answer was lost. SftpRefusal and our
        own errors pass through and are not repeated.

        :raises StorageError: StorageUnreachable if the last try failed; what ``SshLogin.connect`` raises.
        """
        for delay in RETRY_DELAYS_S:
            try:
                with self._session() as session:
                    return operation(session)
            except StorageUnreachable as error:
                if self._closing.wait(delay):
                    raise
                _LOG.info("retrying after: %s", error.message)
        with self._session() as session:
            return operation(session)

    @contextlib.contextmanager
    def command(self, command: bytes, complaint: Callable[[str], None]) -> Iterator[RemoteCommand]:
        """Run a command in the account's shell; the channel is closed at the end, which stops the command.

        ``complaint`` receives each line that the command writes to stderr.

        :raises StorageUnreachable: the connection broke; not repeated, since output may have been used already.
        """
        link, channel = self._channel()
        try:
            with deadline(channel):
                channel.exec_command(command)
            yield RemoteCommand(link, channel, complaint)
        except CONNECTION_ERRORS as error:
            link.retire_after(error)
            raise translate(error, self._login.where) from error
        finally:
            close_quietly(channel)
            with self._lock:
                link.channels -= 1

    def close(self) -> None:
        """Close all connections; operations in other threads end with StorageUnreachable. Closing twice is fine."""
        self._closing.set()
        with self._lock:
            links, self._links, self._idle = self._links, [], []
        for link in links:
            close_quietly(link.transport)

    @contextlib.contextmanager
    def _session(self) -> Iterator[SftpSession]:
        link, session = self._acquire()
        reusable = False
        try:
            yield session
            reusable = True
        except (SftpRefusal, StorageError):
            reusable = True
            raise
        except CONNECTION_ERRORS as error:
            link.retire_after(error)
            raise translate(error, self._login.where) from error
        finally:
            self._release(link, session, reusable=reusable)

    def _acquire(self) -> tuple[Link, SftpSession]:
        with self._lock:
            while self._idle:
                link, session = self._idle.pop()
                if link.alive:
                    return link, session
        link, channel = self._channel()
        try:
            with deadline(channel):
                channel.invoke_subsystem("sftp")
            return link, SftpSession(channel, resolves_links=link.is_openssh)
        except CONNECTION_ERRORS as error:
            ours = self._why_no_session(link, channel, error)
            close_quietly(channel)
            with self._lock:
                link.channels -= 1
            link.retire_after(error)
            raise ours from error

    def _why_no_session(self, link: Link, channel: paramiko.Channel, error: Exception) -> StorageError:
        """Only a server that still answers can have a reason; else the connection broke."""
        where = self._login.where
        ours = None
        if isinstance(error, SftpBroken):
            ours = no_sftp.ended(where, link, channel, error)
        elif isinstance(error, paramiko.SSHException):
            ours = no_sftp.refused(where, error)
        return ours if ours is not None and link.answers() else translate(error, where)

    def _release(self, link: Link, session: SftpSession, *, reusable: bool) -> None:
        if not reusable:
            close_quietly(session.channel)
        with self._lock:
            if reusable and link.alive:
                self._idle.append((link, session))
            else:
                link.channels -= 1

    def _channel(self) -> tuple[Link, paramiko.Channel]:
        """A new channel on a link with room, or on a new link."""
        while True:
            link = self._reserve()
            try:
                return link, link.open_channel()
            except paramiko.ChannelException as error:
                with self._lock:
                    link.channels -= 1
                    link.capacity = link.channels
                if link.capacity == 0:
                    link.give_up()
                    if link.served:  # a session that was just closed still counts on the server
                        continue
                    if error.code == _RESOURCE_SHORTAGE:
                        raise translate(error, self._login.where) from error
                    raise no_sftp.no_channels(self._login.where) from error
                _LOG.info("the SSH server allows %d sessions per connection", link.capacity)
            except CONNECTION_ERRORS as error:
                with self._lock:
                    link.channels -= 1
                raise translate(error, self._login.where) from error

    def _reserve(self) -> Link:
        """A link with one more channel counted on it."""
        link = self._reserve_open()
        if link is not None:
            return link
        # One thread connects, the others wait and then find room on its link.
        with self._connecting:
            link = self._reserve_open()
            if link is not None:
                return link
            link = Link(self._login.connect(), self._capacity)
            link.channels = 1
            with self._lock:
                if not self._closing.is_set():
                    self._links.append(link)
                    _LOG.debug("connected to %s, connection %d", self._login.where, len(self._links))
                    return link
        close_quietly(link.transport)
        raise self._closed_error()

    def _reserve_open(self) -> Link | None:
        with self._lock:
            if self._closing.is_set():
                raise self._closed_error()
            self._links = [link for link in self._links if link.alive]
            self._idle = [(link, session) for link, session in self._idle if link.alive]
            for link in self._links:
                if link.channels < link.capacity:
                    link.channels += 1
                    return link
        return None

    def _closed_error(self) -> StorageError:
        return StorageUnreachable(f"The connection to {self._login.where} was closed.", hint="Open the storage again.")


class RemoteCommand:
    """A command that runs on the server. Read its output to the end, then get its status."""

    #: Longest line of stderr; find writes paths of at most 4 KiB, with some escaped.
    _LINE_BYTES = 65_536

    #: How long to wait for output before emptying stderr in between.
    _POLL_S = 1.0

    def __init__(self, link: Link, channel: paramiko.Channel, complaint: Callable[[str], None]) -> None:
        self._link = link
        self._channel = channel
        self._complaint = complaint
        self._line = b""

    def output(self) -> Iterator[bytes]:
        """Chunks of stdout as they come.

        A command may be silent for any time (find on a slow disk), as long as the server itself answers.
        """
        self._channel.settimeout(self._POLL_S)
        silent_s = 0.0
        while True:
            try:
                chunk = self._channel.recv(262_144)
            except TimeoutError:
                silent_s += self._POLL_S
                if silent_s >= CHANNEL_TIMEOUT_S:
                    self._link.check()
                    silent_s = 0.0
                self._take_stderr()
                continue
            self._take_stderr()
            if not chunk:
                return
            silent_s = 0.0
            yield chunk

    def exit_status(self) -> int:
        """The status of a command whose output has ended.

        :raises EOFError: there is none: the connection broke, or the command was killed.
        """
        with deadline(self._channel):
            status = self._channel.recv_exit_status()
        self._take_stderr()
        if self._line:
            self._complaint(self._line.decode("utf-8", errors="replace"))
        if status < 0:
            raise EOFError("the command on the server was cut off")
        return status

    def _take_stderr(self) -> None:
        """Read what is there: otherwise the channel's window fills up and the command blocks."""
        while self._channel.recv_stderr_ready():
            said = self._channel.recv_stderr(self._LINE_BYTES)
            if not said:
                return
            *lines, rest = (self._line + said).split(b"\n")
            self._line = rest[: self._LINE_BYTES]
            for line in lines:
                self._complaint(line.decode("utf-8", errors="replace"))
