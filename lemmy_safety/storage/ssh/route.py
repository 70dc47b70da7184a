"""From the settings and OpenSSH's config file to a login: the server itself, and every jump host before it."""

from __future__ import annotations

import getpass
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lemmy_safety.errors import SettingsError
from lemmy_safety.home import expanded_if_known
from lemmy_safety.storage.ssh.hops import Command, Direct, Jump
from lemmy_safety.storage.ssh.known_hosts import KnownHosts, file_to_add_to
from lemmy_safety.storage.ssh.login import SshLogin
from lemmy_safety.storage.ssh.private_keys import PrivateKeys
from lemmy_safety.storage.ssh.ssh_config import HIGHEST_PORT

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.storage.ssh.hops import Way
    from lemmy_safety.storage.ssh.ssh_config import SshConfig, SshHost

#: More jump hosts than this indicate a loop.
_MOST_HOPS = 8


class SshRoute:
    """Makes the login of a host, with those of its jump hosts inside it.

    The settings' user, port and private key apply only to the server. Its known_hosts file and passphrase also apply
    to jump hosts for which the config file sets none.
    """

    def __init__(
        self,
        config: SshConfig,
        *,
        private_key: Path | None,
        passphrase: str | None,
        known_hosts: Path | None,
        ask_passphrase: Callable[[str], str] | None,
    ) -> None:
        self._config = config
        self._private_key = private_key
        self._passphrase = passphrase
        self._known_hosts = known_hosts
        self._ask = ask_passphrase

    def login(self, host: SshHost) -> SshLogin:
        """:raises SettingsError: no user name, a jump host that cannot be understood, or jump hosts in a circle."""
        if self._known_hosts is not None:
            host = replace(host, known_hosts=(self._known_hosts,))
        return self._login(host, self._private_key, on_the_way=())

    def _login(self, host: SshHost, private_key: Path | None, on_the_way: tuple[str, ...]) -> SshLogin:
        username = host.username or (_own_name() if on_the_way else None)
        if not username:
            raise SettingsError(
                f"No user name is known for the SSH {'jump host' if on_the_way else 'server'} {host.name}.",
                hint="Write a line User into its block of the SSH config file."
                if on_the_way
                else "Set SSH_USERNAME, or write a line User into its block of the SSH config file.",
            )
        where = f"{username}@{host.address}:{host.port}"
        known_hosts = host.known_hosts or (self._known_hosts or Path("~/.ssh/known_hosts"),)
        return SshLogin(
            where,
            username,
            way=self._way(host, where, on_the_way),
            keys=PrivateKeys(
                private_key,
                self._passphrase,
                self._ask,
                identities=host.identity_files,
                certificates=host.certificate_files,
                identities_only=host.identities_only,
            ),
            known_hosts=KnownHosts(
                known_hosts,
                host.address,
                host.port,
                alias=host.host_key_alias,
                asked_by=self._asked_by(host, username, file_to_add_to(known_hosts)),
            ),
        )

    def _asked_by(self, host: SshHost, username: str, known_hosts: Path) -> str:
        """The command that adds the host key if ssh-keyscan cannot reach the host, or would write another name."""
        if not (host.jumps or host.proxy_command or host.host_key_alias):
            return ""
        config = [] if self._config.path is None else ["-F", str(self._config.path)]
        options = [*config, "-o", f"UserKnownHostsFile={expanded_if_known(known_hosts)}", "-p", str(host.port)]
        return shlex.join(["ssh", *options, f"{username}@{host.name}"])

    def _way(self, host: SshHost, where: str, on_the_way: tuple[str, ...]) -> Way:
        if host.proxy_command is not None:
            return Command(host.proxy_command, where)
        if not host.jumps:
            return Direct(host.address, host.port, where)
        *before, last = host.jumps
        hop = self._hop(last)
        if (hop.address, hop.port) == (host.address, host.port):
            # "Host *" with a ProxyJump also applies to the jump host itself; ssh goes there directly.
            return Direct(host.address, host.port, where)
        if len(on_the_way) >= _MOST_HOPS or where in on_the_way:
            circle = ", ".join((*on_the_way, where))
            raise SettingsError(
                f"The jump hosts of the SSH config file lead in a circle: {circle}.",
                hint="Write ProxyJump none into the block of the first one.",
            )
        if before:
            # The hosts named before it lead to it, whatever its own block says.
            hop = replace(hop, jumps=tuple(before), proxy_command=None)
        return Jump(self._login(hop, None, (*on_the_way, where)), host.address, host.port, where)

    def _hop(self, text: str) -> SshHost:
        """``[user@]host[:port]`` or an ssh URL (ssh(1), -J); an IPv6 address has brackets if a port follows."""
        username, at, place = text.removeprefix("ssh://").removesuffix("/").rpartition("@")
        if place.startswith("["):
            name, _, port = place[1:].partition("]")
            port = port.removeprefix(":")
        elif place.count(":") == 1:
            name, _, port = place.partition(":")
        else:
            name, port = place, ""
        if not name or (at and not username) or (port and not _is_port(port)):
            raise SettingsError(
                f"The jump host {text!r} of the SSH config file cannot be understood.",
                hint="Write it as ProxyJump [user@]host[:port], several with commas in between.",
            )
        return self._config.lookup(name, port=int(port) if port else None, username=username or None)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 1 <= int(text) <= HIGHEST_PORT


def _own_name() -> str | None:
    """The user name that ssh uses if none is given. A process in a container may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None
