"""From an address to a transport that is logged in: socket, host key, private key. Nothing is read or written here.

paramiko's ``SSHClient`` is not used: it sets no TCP_NODELAY, offers one known host key type only, and its order of keys
and its exceptions hide whether a key was locked, wrong or refused.
"""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import paramiko

from lemmy_safety.errors import HostUnknown, LoginRefused, PrivateKeyError, StorageUnreachable
from lemmy_safety.storage.ssh.errors import CONNECTION_ERRORS, translate
from lemmy_safety.storage.ssh.known_hosts import KnownHosts
from lemmy_safety.storage.ssh.private_keys import PrivateKeys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOG = logging.getLogger(__name__)

#: A TCP connection over the slowest line is made within a few round trips; three lost packets cost 7 s.
CONNECT_TIMEOUT_S = 10.0

#: sshd answers at once, or after its own name look-ups (UseDNS: two tries of 5 s).
BANNER_TIMEOUT_S = 15.0

#: Key exchange on a Raspberry Pi takes a second or two; sshd itself gives up after 120 s (LoginGraceTime).
HANDSHAKE_TIMEOUT_S = 30.0

#: PAM modules may look things up before they answer.
AUTH_TIMEOUT_S = 30.0

#: Home routers forget an idle connection after 60 s at the earliest seen; four signs of life before that.
KEEPALIVE_S = 15

#: How long sent data may stay unacknowledged before the kernel drops the connection (where it can: Linux). Without it
#: a dead line is noticed after 15 minutes.
UNACKNOWLEDGED_MS = 30_000


class SshLogin:
    """Where and as whom to log in."""

    def __init__(
        self,
        host: str,
        port: int,
        username: str,
        *,
        private_key: Path | None,
        passphrase: str | None,
        known_hosts: Path,
        ask_passphrase: Callable[[str], str] | None,
    ) -> None:
        self.where = f"{username}@{host}:{port}"
        self._host = host
        self._port = port
        self._username = username
        self._key_file = private_key
        self._keys = PrivateKeys(private_key, passphrase, ask_passphrase)
        self._known_hosts = KnownHosts(known_hosts, host, port)
        self._resolved_before = False

    def connect(self) -> paramiko.Transport:
        """A new transport, logged in, with keepalive. Called by one thread at a time.

        :raises StorageError: HostUnknown, StorageUnreachable, HostKeyUnknown, HostKeyChanged, PrivateKeyError or
            LoginRefused.
        """
        _quiet_paramiko()
        connection = self._dial()
        try:
            transport = paramiko.Transport(connection)
        except CONNECTION_ERRORS as error:
            connection.close()
            raise translate(error, self.where) from error
        try:
            self._shake_hands(transport)
            self._authenticate(transport)
        except CONNECTION_ERRORS as error:
            close_quietly(transport)
            raise translate(error, self.where) from error
        except BaseException:
            close_quietly(transport)
            raise
        transport.set_keepalive(KEEPALIVE_S)
        return transport

    def _dial(self) -> socket.socket:
        try:
            connection = socket.create_connection((self._host, self._port), timeout=CONNECT_TIMEOUT_S)
        except (OSError, UnicodeError) as error:
            ours = translate(error, self.where)
            if isinstance(ours, HostUnknown) and self._resolved_before:
                # The name was right before, so this is an outage of the name service.
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

    def _shake_hands(self, transport: paramiko.Transport) -> None:
        transport.banner_timeout = BANNER_TIMEOUT_S
        transport.handshake_timeout = HANDSHAKE_TIMEOUT_S
        transport.auth_timeout = AUTH_TIMEOUT_S
        self._prefer_known_key_types(transport)
        # On timeout start_client returns without a word, and the next line says "No existing session".
        transport.start_client(timeout=HANDSHAKE_TIMEOUT_S)
        key = transport.get_remote_server_key()
        self._known_hosts.check(key.get_name(), key.asbytes())

    def _prefer_known_key_types(self, transport: paramiko.Transport) -> None:
        """Ask the server for a key of a type that known_hosts has, as ssh does; else a good key looks changed."""
        options = transport.get_security_options()
        offered = list(options.key_types)
        known = set(self._known_hosts.key_types())
        if "ssh-rsa" in known:
            # One key type, several signature algorithms (RFC 8332).
            known |= {"rsa-sha2-512", "rsa-sha2-256"}
        options.key_types = sorted(offered, key=lambda name: name not in known)

    def _authenticate(self, transport: paramiko.Transport) -> None:
        refused = []
        for label, key in self._keys.candidates():
            try:
                still_wanted = transport.auth_publickey(self._username, key)
            except paramiko.BadAuthenticationType as error:
                raise self._login_refused([f"keys at all, only {', '.join(error.allowed_types)}"]) from error
            except paramiko.AuthenticationException as error:
                if "timeout" in str(error).lower():  # paramiko has no class of its own for it
                    raise StorageUnreachable(
                        f"The SSH server {self.where} did not answer the login within {AUTH_TIMEOUT_S:g} s."
                    ) from error
                refused.append(label)
                if transport.is_active():
                    continue
                if len(refused) > 1:
                    # sshd hangs up after MaxAuthTries (6) keys.
                    raise self._login_refused(refused) from error
                raise StorageUnreachable(
                    f"The SSH server closed the connection {self.where} in the middle of the login."
                ) from error
            if not still_wanted:
                return
            refused.append(f"{label} alone (it also wants {', '.join(still_wanted)})")
        if not refused:
            raise PrivateKeyError(
                f"There is no private key to log in as {self.where}: none is set, the SSH agent has none, and "
                "~/.ssh has no default key that can be used.",
                hint="Set SSH_PRIVKEY to a key file.",
            )
        raise self._login_refused(refused)

    def _login_refused(self, refused: list[str]) -> LoginRefused:
        file = f"{self._key_file}.pub" if self._key_file else "the public key"
        return LoginRefused(
            f"The SSH server refused the login {self.where}: it does not accept {', '.join(refused)}.",
            hint=f"Check SSH_USERNAME, and that {file} is a line of ~{self._username}/.ssh/authorized_keys there.",
        )


def _quiet_paramiko() -> None:
    """Leave paramiko's own log to --debug: it prints tracebacks of faults that are retried or reported by us."""
    vendor = logging.getLogger("paramiko")
    if vendor.level == logging.NOTSET and not _LOG.isEnabledFor(logging.DEBUG):
        vendor.setLevel(logging.CRITICAL)


def close_quietly(item: paramiko.Transport | paramiko.Channel) -> None:
    """Close what may be broken already: saying good-bye over a dead line raises."""
    with suppress(paramiko.SSHException, EOFError, OSError):
        item.close()
