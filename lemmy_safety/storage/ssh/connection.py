"""The connections to one SSH server: who may use which channel, and what happens when a line breaks.

A *link* is one SSH transport with some channels. An SFTP session belongs to one thread at a time, and is lent and given
back (one session shared by eight threads hangs). sshd allows ten sessions per connection (MaxSessions), so further
links are opened when more are wanted, or sooner when the server says so. Knows no keys and no files.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING, TypeVar

import paramiko

from lemmy_safety.errors import StorageError, StorageUnreachable
from lemmy_safety.storage.ssh.errors import CONNECTION_ERRORS, translate
from lemmy_safety.storage.ssh.login import close_quietly
from lemmy_safety.storage.ssh.sftp import SftpSession
from lemmy_safety.storage.ssh.sftp_wire import SftpRefusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lemmy_safety.storage.ssh.login import SshLogin

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

#: Longest silence of the server within one operation. Spinning up a sleeping disk takes 10 to 15 s.
CHANNEL_TIMEOUT_S = 30.0

#: Pauses before the second and third try. sshd is back about a second after a restart; a longer outage is not ours to
#: sit out, the caller has a better idea of what to do meanwhile.
RETRY_DELAYS_S = (0.2, 1.5)


class _Link:
    """One transport. ``channels`` counts those in use and those that are idle; ``capacity`` is what the server allows."""

    def __init__(self, transport: paramiko.Transport, capacity: int) -> None:
        self.transport = transport
        self.capacity = capacity
        self.channels = 0
        self._opening = threading.Lock()
        self._retired = False

    @property
    def alive(self) -> bool:
        return not self._retired and self.transport.is_active()

    @property
    def is_openssh(self) -> bool:
        return str(self.transport.remote_version).startswith("SSH-2.0-OpenSSH")

    def open_channel(self) -> paramiko.Channel:
        """A new channel; a link whose server does not even refuse is given up.

        :raises paramiko.ChannelException: the server allows no more.
        """
        # One at a time: paramiko keeps one exception a transport, and of two refusals one would look like a dead line.
        with self._opening:
            if self._retired:
                raise paramiko.SSHException("the connection was given up")
            try:
                channel = self.transport.open_session(timeout=CHANNEL_TIMEOUT_S)
            except paramiko.ChannelException:
                raise
            except CONNECTION_ERRORS:
                self.give_up()
                raise
        channel.settimeout(CHANNEL_TIMEOUT_S)
        return channel

    def check(self) -> None:
        """See that the server answers: ask for one more channel; a refusal is an answer too.

        :raises paramiko.SSHException: it does not (EOFError and OSError too).
        """
        with contextlib.suppress(paramiko.ChannelException):
            close_quietly(self.open_channel())

    def retire_after(self, error: BaseException) -> None:
        """Give up a link whose server is silent or gone; if only a channel was closed, the others may go on."""
        if isinstance(error, TimeoutError) or not self.transport.is_active():
            self.give_up()

    def give_up(self) -> None:
        self._retired = True
        close_quietly(self.transport)


class SshConnections:
    """A pool of SFTP sessions and command channels over as few transports as possible. Safe for many threads."""

    def __init__(self, login: SshLogin, channels: int) -> None:
        """``channels`` is the most that are opened on one transport; nothing is opened before it is needed."""
        self._login = login
        self._capacity = channels
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._closing = threading.Event()
        self._links: list[_Link] = []
        self._idle: list[tuple[_Link, SftpSession]] = []

    def run(self, operation: Callable[[SftpSession], T]) -> T:
        """Do something with a session of one's own, and again on a new one when the line breaks.

        ``operation`` must be safe to repeat: it may have been carried out when the answer was lost. SftpRefusal and our
        own errors pass through and are not repeated.

        :raises StorageError: StorageUnreachable when the last try failed; what ``SshLogin.connect`` raises.
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

        ``complaint`` is given each line that the command writes to stderr.

        :raises StorageUnreachable: the line broke; not repeated, since output may have been used already.
        """
        link, channel = self._channel()
        try:
            with _deadline(channel):
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

    def _acquire(self) -> tuple[_Link, SftpSession]:
        with self._lock:
            while self._idle:
                link, session = self._idle.pop()
                if link.alive:
                    return link, session
        link, channel = self._channel()
        try:
            with _deadline(channel):
                channel.invoke_subsystem("sftp")
            return link, SftpSession(channel, resolves_links=link.is_openssh)
        except CONNECTION_ERRORS as error:
            close_quietly(channel)
            with self._lock:
                link.channels -= 1
            link.retire_after(error)
            if isinstance(error, paramiko.SSHException) and self._answers(link):
                raise StorageError(
                    f"The SSH server {self._login.where} does not offer SFTP: {error}",
                    hint="Switch it on in sshd_config: Subsystem sftp internal-sftp",
                ) from error
            raise translate(error, self._login.where) from error

    def _answers(self, link: _Link) -> bool:
        try:
            link.check()
        except CONNECTION_ERRORS:
            return False
        return True

    def _release(self, link: _Link, session: SftpSession, *, reusable: bool) -> None:
        if not reusable:
            close_quietly(session.channel)
        with self._lock:
            if reusable and link.alive:
                self._idle.append((link, session))
            else:
                link.channels -= 1

    def _channel(self) -> tuple[_Link, paramiko.Channel]:
        """A new channel on a link that has room, or on a new link."""
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
                    raise translate(error, self._login.where) from error
                _LOG.info("the SSH server allows %d sessions per connection", link.capacity)
            except CONNECTION_ERRORS as error:
                with self._lock:
                    link.channels -= 1
                raise translate(error, self._login.where) from error

    def _reserve(self) -> _Link:
        """A link with one channel more counted on it."""
        link = self._reserve_open()
        if link is not None:
            return link
        # One thread connects, the others wait and then find room on its link.
        with self._connecting:
            link = self._reserve_open()
            if link is not None:
                return link
            link = _Link(self._login.connect(), self._capacity)
            link.channels = 1
            with self._lock:
                if not self._closing.is_set():
                    self._links.append(link)
                    _LOG.debug("connected to %s, connection %d", self._login.where, len(self._links))
                    return link
        close_quietly(link.transport)
        raise self._closed_error()

    def _reserve_open(self) -> _Link | None:
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
    """A command that runs on the server. Read its output to the end, then ask for its status."""

    #: Longest line of stderr; find writes paths of at most 4 KiB, with some escaped.
    _LINE_BYTES = 65_536

    #: How long output is waited for before stderr is emptied in between.
    _POLL_S = 1.0

    def __init__(self, link: _Link, channel: paramiko.Channel, complaint: Callable[[str], None]) -> None:
        self._link = link
        self._channel = channel
        self._complaint = complaint
        self._line = b""

    def output(self) -> Iterator[bytes]:
        """Chunks of stdout as they come.

        A command may be silent for as long as it likes (find on a slow disk), as long as the server itself answers.
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

        :raises EOFError: there is none: the line broke, or the command was killed.
        """
        with _deadline(self._channel):
            status = self._channel.recv_exit_status()
        self._take_stderr()
        if self._line:
            self._complaint(self._line.decode("utf-8", errors="replace"))
        if status < 0:
            raise EOFError("the command on the server was cut off")
        return status

    def _take_stderr(self) -> None:
        """Read along what is there: when nobody does, the channel's window fills up and the command blocks."""
        while self._channel.recv_stderr_ready():
            said = self._channel.recv_stderr(self._LINE_BYTES)
            if not said:
                return
            *lines, rest = (self._line + said).split(b"\n")
            self._line = rest[: self._LINE_BYTES]
            for line in lines:
                self._complaint(line.decode("utf-8", errors="replace"))


@contextlib.contextmanager
def _deadline(channel: paramiko.Channel) -> Iterator[None]:
    """Close the channel if the server does not answer: paramiko waits for ever for the answer to a channel request.

    :raises TimeoutError: it was closed for that reason.
    """
    timer = threading.Timer(CHANNEL_TIMEOUT_S, close_quietly, (channel,))
    timer.daemon = True
    timer.start()
    try:
        yield
    except paramiko.SSHException as error:
        if timer.finished.is_set():
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()
