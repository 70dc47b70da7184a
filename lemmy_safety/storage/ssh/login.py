"""From a way to a server to a logged-in transport: host key, private key. Reads and writes no files.

paramiko's ``SSHClient`` is not used: it sets no TCP_NODELAY, offers only one type of known host key, and its order of
keys
and its exceptions hide whether a key was locked, wrong or refused.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import paramiko

from lemmy_safety.errors import LoginRefused, PrivateKeyError, StorageUnreachable
from lemmy_safety.foreign import foreign
from lemmy_safety.storage.ssh.algorithms import Transport, nothing_in_common
from lemmy_safety.storage.ssh.certificates import SUFFIX
from lemmy_safety.storage.ssh.errors import CONNECTION_ERRORS, translate
from lemmy_safety.storage.ssh.hops import ProgramSocket

if TYPE_CHECKING:
    from lemmy_safety.storage.ssh.hops import Way
    from lemmy_safety.storage.ssh.known_hosts import KnownHosts
    from lemmy_safety.storage.ssh.private_keys import PrivateKeys

_LOG = logging.getLogger(__name__)

#: sshd answers at once, or after its own name look-ups (UseDNS: two tries of 5 s).
BANNER_TIMEOUT_S = 15.0

#: Key exchange on a Raspberry Pi takes a second or two; sshd itself gives up after 120 s (LoginGraceTime).
HANDSHAKE_TIMEOUT_S = 30.0

#: PAM modules may look things up before they answer.
AUTH_TIMEOUT_S = 30.0

#: The fastest home routers seen forget an idle connection after 60 s; this sends four keepalives before that.
KEEPALIVE_S = 15


class SshLogin:
    """One account on one server."""

    def __init__(self, where: str, username: str, *, way: Way, keys: PrivateKeys, known_hosts: KnownHosts) -> None:
        """``where`` names user, host and port in messages."""
        self.where = where
        self.way = way
        self._username = username
        self._keys = keys
        self._known_hosts = known_hosts

    def connect(self) -> paramiko.Transport:
        """A new transport, logged in, with keepalive. Called by one thread at a time.

        :raises StorageError: HostUnknown, StorageUnreachable, HostKeyUnknown, HostKeyChanged, PrivateKeyError or
            LoginRefused; StorageError itself if the two sides have no algorithm in common.
        """
        _quiet_paramiko()
        self._keys.read_named_file()
        connection = self.way.dial()
        try:
            transport = Transport(connection)
        except CONNECTION_ERRORS as error:
            connection.close()
            raise translate(error, self.where) from error
        try:
            self._shake_hands(transport)
            self._authenticate(transport)
        except paramiko.ssh_exception.IncompatiblePeer as error:
            ours = nothing_in_common(transport, error, self.where)
            close_quietly(transport)
            raise ours from error
        except CONNECTION_ERRORS as error:
            ended = connection.why_it_ended() if isinstance(connection, ProgramSocket) else None
            close_quietly(transport)
            raise ended or translate(error, self.where) from error
        except BaseException:
            close_quietly(transport)
            raise
        transport.set_keepalive(KEEPALIVE_S)
        return transport

    def _shake_hands(self, transport: paramiko.Transport) -> None:
        transport.banner_timeout = BANNER_TIMEOUT_S
        transport.handshake_timeout = HANDSHAKE_TIMEOUT_S
        transport.auth_timeout = AUTH_TIMEOUT_S
        self._prefer_known_key_types(transport)
        transport.start_client(timeout=HANDSHAKE_TIMEOUT_S)
        if not transport.initial_kex_done:
            # On timeout start_client returns silently, and get_remote_server_key reports "No existing session".
            raise TimeoutError
        key = transport.get_remote_server_key()
        certificate = key.public_blob.key_blob if key.public_blob else None
        self._known_hosts.check(key.get_name(), key.asbytes(), certificate)

    def _prefer_known_key_types(self, transport: paramiko.Transport) -> None:
        """Ask the server for a key of a type that known_hosts has, as ssh does; else a good key looks changed."""
        options = transport.get_security_options()
        offered = list(options.key_types)
        known = set(self._known_hosts.key_types())
        if "ssh-rsa" in known:
            # One key type, several signature algorithms (RFC 8332).
            known |= {"rsa-sha2-512", "rsa-sha2-256"}
        preferred = sorted(offered, key=lambda name: name not in known)
        if self._known_hosts.trusts_authorities():
            preferred = [*(name + SUFFIX for name in preferred), *preferred]
        options.key_types = preferred

    def _authenticate(self, transport: paramiko.Transport) -> None:
        refused = []
        for label, key in self._keys.candidates():
            try:
                still_wanted = transport.auth_publickey(self._username, key)
            except paramiko.BadAuthenticationType as error:
                raise self._login_refused([f"keys at all, only {foreign(', '.join(error.allowed_types))}"]) from error
            except paramiko.AuthenticationException as error:
                if "timeout" in str(error).lower():  # paramiko has no separate class for it
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
                hint=" ".join([*self._keys.skipped, "Set SSH_PRIVKEY to a key file."]),
            )
        raise self._login_refused(refused)

    def _login_refused(self, refused: list[str]) -> LoginRefused:
        file = f"{self._keys.file}.pub" if self._keys.file else "the public key"
        return LoginRefused(
            f"The SSH server refused the login {self.where}: it does not accept {', '.join(refused)}.",
            hint=f"Check SSH_USERNAME, that {file} is a line of ~{self._username}/.ssh/authorized_keys there, and that the "
            "account is neither locked nor expired.",
        )


def _quiet_paramiko() -> None:
    """Show paramiko's own log only with --debug: it prints tracebacks of faults that we retry or report ourselves."""
    vendor = logging.getLogger("paramiko")
    if vendor.level == logging.NOTSET and not _LOG.isEnabledFor(logging.DEBUG):
        vendor.setLevel(logging.CRITICAL)


def close_quietly(item: paramiko.Transport | paramiko.Channel) -> None:
    """Close something that may already be broken: closing over a dead connection raises."""
    with suppress(paramiko.SSHException, EOFError, OSError):
        item.close()
