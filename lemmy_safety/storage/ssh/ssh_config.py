"""OpenSSH's client configuration (``~/.ssh/config``): its settings for one host, as far as they matter here.

paramiko's reader decides which ``Host`` and ``Match`` blocks apply and in which order; ``config_text`` passes it the
lines.
Used are HostName, Port, User, IdentityFile, IdentitiesOnly, CertificateFile, UserKnownHostsFile, HostKeyAlias,
ProxyJump and
ProxyCommand. Everything else is ignored: in particular, ``StrictHostKeyChecking no`` does not make an unknown host key
trusted. Format and tokens: ssh_config(5).
"""

from __future__ import annotations

import getpass
import re
import shlex
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko

from lemmy_safety.errors import SettingsError
from lemmy_safety.foreign import foreign
from lemmy_safety.home import expanded
from lemmy_safety.storage.ssh.config_text import ConfigText, read_lines
from lemmy_safety.storage.ssh.match_exec import without_exec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEFAULT_PORT = 22

HIGHEST_PORT = 65_535

_OFF = "none"

#: What OpenSSH refuses in names of hosts and users (ssh.c, valid_hostname and valid_ruser): they become part of
#: commands.
_UNSAFE = re.compile(r"[\s'`\"$\\;&<>|(){},\x00-\x1f\x7f]|^-")

_MORE_THAN_A_NAME = re.compile(r"[@/\[\]]")

_TOKEN = re.compile("%(.?)")

_VARIABLE = re.compile(r"\$\{(\w++)\}")

_HINT = "Correct it; 'ssh -G NAME' shows what ssh reads. SSH_CONFIG=none leaves the file out."


def _no_variable(_: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class SshHost:
    """One host as the settings and the config file describe it.

    ``name`` is the name it is called by, ``address`` the one to connect to. ``jumps`` are the hosts on the way to it,
    in
    order; ``proxy_command`` is a command line that replaces the connection. At most one of the two is set.
    ``known_hosts`` is empty if none was set.
    """

    name: str
    address: str
    port: int = DEFAULT_PORT
    username: str | None = None
    identity_files: tuple[Path, ...] = ()
    certificate_files: tuple[Path, ...] = ()
    identities_only: bool = False
    known_hosts: tuple[Path, ...] = ()
    host_key_alias: str | None = None
    jumps: tuple[str, ...] = ()
    proxy_command: str | None = None


class SshConfig:
    """The lines of a config file and those that it includes; empty if there is none."""

    def __init__(self, text: ConfigText | None = None, variable: Callable[[str], str | None] = _no_variable) -> None:
        self._text = text
        self._variable = variable

    @property
    def path(self) -> Path | None:
        """The file; None if there is none."""
        return self._text.places[0][0] if self._text is not None and self._text.places else None

    def lookup(self, name: str, *, port: int | None = None, username: str | None = None) -> SshHost:
        """The configuration of a host. ``port`` and ``username`` are settings, which override the file.

        Runs the file's ``Match exec`` commands.

        :raises SettingsError: the file has an error; names file and line.
        """
        _check_can_be_a_host("SSH host name", name)
        if username is not None:
            _ensure_safe("SSH user name", username)
        if self._text is None:
            return SshHost(name=name, address=name, port=port or DEFAULT_PORT, username=username)
        # Like options on ssh's command line: the first value counts, and these come before the file's.
        first = [f"Port {port}"] * (port is not None) + [f"User {username}"] * (username is not None)

        def filled_in(command: str, found: paramiko.SSHConfigDict) -> str:
            host = self._host(name, found)
            tokens = _Tokens(name=name, address=host.address, port=host.port, username=host.username, alias=None)
            return self._expand(command, tokens, "match")

        lines = without_exec([*first, *self._text.lines], lambda some: self._found(name, some), filled_in)
        return self._host(name, self._found(name, lines))

    def _found(self, name: str, lines: Sequence[str]) -> paramiko.SSHConfigDict:
        try:
            config = _Reader.from_text("\n".join(lines))
            # ssh compares host names in lower case.
            return config.lookup(name.lower())
        except paramiko.CouldNotCanonicalize as error:
            raise self._fault(f"the host name {name} has no canonical form", "canonicalizehostname") from error
        except paramiko.ConfigParseError as error:
            raise self._fault(foreign(error), "") from error
        except KeyError as error:
            if "canonicaldomains" in str(error):
                raise self._fault("CanonicalizeHostname needs CanonicalDomains", "canonicalizehostname") from error
            raise self._no_user_name() from error
        except OSError as error:
            raise self._no_user_name() from error
        except ValueError as error:
            raise self._fault(f"CanonicalizeMaxDots: {foreign(error)}", "canonicalizemaxdots") from error

    def _host(self, name: str, found: paramiko.SSHConfigDict) -> SshHost:
        address = str(found["hostname"])
        _check_can_be_a_host(f"{self._place('hostname')}: host name", address)
        username = found.get("user")
        if username is not None:
            _ensure_safe(f"{self._place('user')}: user name", username)
        port = self._port(found)
        tokens = _Tokens(name=name, address=address, port=port, username=username, alias=found.get("hostkeyalias"))
        jumps, command = self._way(found, tokens)
        return SshHost(
            name=name,
            address=address,
            port=port,
            username=username,
            identity_files=self._paths(found.get("identityfile", []), tokens, "identityfile"),
            certificate_files=self._paths(_words(found.get("certificatefile")), tokens, "certificatefile"),
            identities_only=str(found.get("identitiesonly", "no")).lower() in ("yes", "true"),
            known_hosts=self._paths(_words(found.get("userknownhostsfile")), tokens, "userknownhostsfile"),
            host_key_alias=found.get("hostkeyalias"),
            jumps=jumps,
            proxy_command=command,
        )

    def _port(self, found: paramiko.SSHConfigDict) -> int:
        text = str(found.get("port", DEFAULT_PORT))
        if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= HIGHEST_PORT):
            raise self._fault(f"Port {text!r} is not a number from 1 to {HIGHEST_PORT}", "port", text)
        return int(text)

    def _way(self, found: paramiko.SSHConfigDict, tokens: _Tokens) -> tuple[tuple[str, ...], str | None]:
        """The jump hosts or the proxy command, whichever the file names first."""
        for keyword, value in found.items():
            if keyword == "proxycommand":
                if value is None or value.lower() == _OFF:
                    return (), None
                return (), self._expand(value, tokens, keyword)
            if keyword == "proxyjump":
                if value.lower() == _OFF:
                    return (), None
                hops = tuple(hop.strip() for hop in self._expand(value, tokens, keyword).split(","))
                if not all(hops):
                    raise self._fault(f"ProxyJump {value!r} has an empty part", keyword, value)
                return hops, None
        return (), None

    def _paths(self, values: Sequence[str], tokens: _Tokens, keyword: str) -> tuple[Path, ...]:
        paths = []
        for value in values:
            if value.lower() == _OFF:
                continue
            path = Path(self._filled_in(self._expand(value, tokens, keyword), keyword))
            paths.append(expanded(path, what=self._place(keyword, value)))
        return tuple(paths)

    def _expand(self, value: str, tokens: _Tokens, keyword: str) -> str:
        def replaced(match: re.Match[str]) -> str:
            said = tokens.get(match[1])
            if said is None:
                raise self._fault(f"{match[0]!r} in {value!r} has no meaning here", keyword, value)
            return said

        return _TOKEN.sub(replaced, value)

    def _filled_in(self, value: str, keyword: str) -> str:
        """The value with each ``${NAME}`` replaced by that variable; ssh_config(5) allows this in file names."""

        def replaced(match: re.Match[str]) -> str:
            said = self._variable(match[1])
            if said is None:
                raise self._fault(f"the environment variable {match[1]} is not set", keyword, match[0])
            return said

        return _VARIABLE.sub(replaced, value)

    def _no_user_name(self) -> SettingsError:
        return self._fault("this process's user has no name", "", hint="Set the variable LOGNAME, or SSH_CONFIG=none.")

    def _fault(self, what: str, keyword: str, value: str = "", *, hint: str = _HINT) -> SettingsError:
        return SettingsError(f"{self._place(keyword, value)}: {what}.", hint=hint)

    def _place(self, keyword: str, value: str = "") -> str:
        return "SSH config" if self._text is None else self._text.place(keyword, value)


def read_ssh_config(path: Path | None, variable: Callable[[str], str | None] = _no_variable) -> SshConfig:
    """The config file: None means ``~/.ssh/config`` if it exists, a path of ``none`` means no file.

    :raises SettingsError: a named file is missing, a file cannot be read, or a line is wrong.
    """
    if path is not None and str(path).lower() == _OFF:
        return SshConfig()
    text = read_lines(path)
    if text is None:
        return SshConfig()
    for number, line in enumerate(text.lines):
        # Each line separately, so that the error can name it.
        try:
            _Reader.from_text(line)
        except (paramiko.ConfigParseError, ValueError) as error:
            raise SettingsError(
                f"{text.place_of(number)}: this line makes no sense: {line.strip()!r}.", hint=_HINT
            ) from error
    return SshConfig(text, variable)


class _Reader(paramiko.SSHConfig):
    #: Tokens to substitute while matching blocks. We do the others here: paramiko does not know %% and %n, and replaces
    #: every
    #: ~ in a command line with the home folder.
    TOKENS_BY_CONFIG_KEY = {  # noqa: RUF012 - as paramiko has it
        "hostname": ["%h"],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tokens:
    name: str
    address: str
    port: int
    username: str | None
    alias: str | None

    def get(self, letter: str) -> str | None:
        """A token's value; None if the token is not supported."""
        if letter == "u":
            return getpass.getuser()
        if letter == "d":
            return str(expanded(Path("~"), what="SSH config: %d"))
        local = socket.gethostname()
        return {
            "%": "%",
            "h": self.address,
            "n": self.name,
            "p": str(self.port),
            "r": self.username,
            "k": self.alias or self.address,
            "l": local,
            "L": local.partition(".")[0],
        }.get(letter)


def _words(value: str | None) -> list[str]:
    """The files of a line: it may name several, with quotes around those that contain blanks."""
    if value is None:
        return []
    lexer = shlex.shlex(value, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = lexer.escape = ""
    try:
        return list(lexer)
    except ValueError:
        return [value]


def _ensure_safe(what: str, name: str) -> None:
    if not name or _UNSAFE.search(name):
        raise SettingsError(
            f"{what}: {name!r} is not a name that SSH can use.",
            hint="It must not be empty, begin with - or hold blanks, quotes or characters that mean something to a shell.",
        )


def _check_can_be_a_host(what: str, name: str) -> None:
    """Refuse names that no name service could know, and anything that is more than a name."""
    _ensure_safe(what, name)
    if _MORE_THAN_A_NAME.search(name) or name.count(":") == 1:  # an IPv6 address has more colons
        raise SettingsError(
            f"{what}: {name!r} is not the name of a host alone.",
            hint="Write neither ssh:// nor brackets; user and port have settings of their own (SSH_USERNAME, SSH_PORT).",
        )
    try:
        name.encode("idna")
    except UnicodeError as error:
        raise SettingsError(
            f"{what}: {name!r} can be no host.", hint="Between its dots a name has 1 to 63 characters."
        ) from error
