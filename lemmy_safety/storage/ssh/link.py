"""One SSH transport and the channels on it: how many the server allows, and whether it still answers."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import paramiko

from lemmy_safety.storage.ssh.errors import CONNECTION_ERRORS
from lemmy_safety.storage.ssh.login import close_quietly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Longest silence of the server within one operation. Spinning up a sleeping disk takes 10 to 15 s.
CHANNEL_TIMEOUT_S = 30.0


class Link:
    """One transport. ``channels`` counts those in use and idle ones; ``capacity`` is the server's limit.

    ``served``: it has opened a channel at least once.
    """

    def __init__(self, transport: paramiko.Transport, capacity: int) -> None:
        self.transport = transport
        self.capacity = capacity
        self.channels = 0
        self.served = False
        self._opening = threading.Lock()
        self._retired = False

    @property
    def alive(self) -> bool:
        return not self._retired and self.transport.is_active()

    @property
    def is_openssh(self) -> bool:
        return str(self.transport.remote_version).startswith("SSH-2.0-OpenSSH")

    def open_channel(self) -> paramiko.Channel:
        """A new session; a link whose server does not even refuse is given up.

        :raises paramiko.ChannelException: the server allows no more.
        """
        return self._opened(self._open_session)

    def open_way_to(self, host: str, port: int) -> paramiko.Channel:
        """A channel to this address as the server sees it; a link whose server does not even refuse is given up.

        :raises paramiko.ChannelException: the server may not or cannot connect to it.
        """
        from_here = ("127.0.0.1", 0)
        return self._opened(
            lambda: self.transport.open_channel("direct-tcpip", (host, port), from_here, timeout=CHANNEL_TIMEOUT_S)
        )

    def _opened(self, open_one: Callable[[], paramiko.Channel]) -> paramiko.Channel:
        # One at a time: paramiko keeps one exception per transport, so the second of two refusals would look like a
        # dead connection.
        with self._opening:
            if self._retired:
                raise paramiko.SSHException("the connection was given up")
            try:
                channel = open_one()
            except paramiko.ChannelException:
                raise
            except CONNECTION_ERRORS:
                self.give_up()
                raise
        self.served = True
        channel.settimeout(CHANNEL_TIMEOUT_S)
        return channel

    def _open_session(self) -> paramiko.Channel:
        try:
            return self.transport.open_session(timeout=CHANNEL_TIMEOUT_S)
        except paramiko.ChannelException:
            # sshd still counts a session that was just closed until it has answered this.
            return self.transport.open_session(timeout=CHANNEL_TIMEOUT_S)

    def check(self) -> None:
        """Check that the server answers: ask for one more channel; a refusal is an answer too.

        :raises paramiko.SSHException: it does not (EOFError and OSError too).
        """
        with contextlib.suppress(paramiko.ChannelException):
            close_quietly(self.open_channel())

    def answers(self) -> bool:
        """The same check as a boolean."""
        try:
            self.check()
        except CONNECTION_ERRORS:
            return False
        return True

    def retire_after(self, error: BaseException) -> None:
        """Give up a link whose server is silent or gone; if only a channel was closed, the others may continue."""
        if isinstance(error, TimeoutError) or not self.transport.is_active():
            self.give_up()

    def give_up(self) -> None:
        self._retired = True
        close_quietly(self.transport)


@contextlib.contextmanager
def deadline(channel: paramiko.Channel) -> Iterator[None]:
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
