"""Which host keys the admin trusts: OpenSSH's known_hosts file, read only, never written.

We read it ourselves instead of with paramiko's ``HostKeys``, which drops ``@revoked`` lines silently, has no wildcards
and
stops at the first damaged line. Format: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lemmy_safety.errors import HostKeyChanged, HostKeyUnknown
from lemmy_safety.home import expanded_if_known, is_below_home
from lemmy_safety.permissions import NAMED_PIPE, how_to_make_readable, is_named_pipe
from lemmy_safety.storage.ssh.certificates import BadCertificate, parse_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_DEFAULT_PORT = 22

_REVOKED, _AUTHORITY = "@revoked", "@cert-authority"

#: Host key types as named by ssh-keyscan's -t option and the files in /etc/ssh; all others are ECDSA with some curve.
_SCAN_NAMES = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}


@dataclass(frozen=True, slots=True)
class _Line:
    names: str
    key_type: str
    key: bytes
    marker: str


class KnownHosts:
    """The keys that files have for one host."""

    def __init__(
        self, paths: Sequence[Path], host: str, port: int, *, alias: str | None = None, asked_by: str = ""
    ) -> None:
        """A missing file trusts no host. The files are read at each check, so a repair works without restart.

        ``alias`` is the name to look up instead of host and port (HostKeyAlias). ``asked_by`` is an ssh command line
        that reaches a host which ssh-keyscan cannot.
        """
        self._paths = tuple(paths)
        self._path = self._paths[0]
        self._host = host
        self._port = port
        self._asked_by = asked_by
        self._plain_name = (alias or host).lower()
        # sshd(8): a port other than 22 is part of the name; names are compared in lower case.
        self._name = self._plain_name if alias or port == _DEFAULT_PORT else f"[{self._plain_name}]:{port}"

    def key_types(self) -> list[str]:
        """Types of the keys known for this host, so that we can ask the server for one of those."""
        return list(dict.fromkeys(line.key_type for line in self._lines() if not line.marker))

    def trusts_authorities(self) -> bool:
        """Whether to ask the server for a certificate of its key."""
        return bool(self._authorities())

    def check(self, key_type: str, key: bytes, certificate: bytes | None = None) -> None:
        """Accept the key that the server presented, or raise an error that says what to do.

        ``certificate`` is what came with the key; if no known authority has signed it, only the key counts.

        :raises HostKeyUnknown: no line is for this host, or the certificate is not valid.
        :raises HostKeyChanged: the lines for this host hold other keys, or revoke this one.
        """
        lines = list(self._lines())
        where = f"{self._host}:{self._port}"
        shown = fingerprint(key)
        if any(line.marker == _REVOKED and line.key == key for line in lines):
            raise HostKeyChanged(
                f"The SSH server {where} shows the host key {shown}, which {self._path} marks as revoked.",
                hint="Do not go on: the key is known to be stolen or retired. Ask the server's operator.",
            )
        if certificate is not None and self._is_certified(where, key, certificate):
            return
        known = [line for line in lines if not line.marker]
        if any(line.key_type == key_type and line.key == key for line in known):
            return
        if known:
            expected = ", ".join(fingerprint(line.key) for line in known)
            raise HostKeyChanged(
                f"The SSH server {where} shows the host key {shown} ({key_type}), but {self._path} has {expected}.",
                hint="Someone may be listening in. Only if you know why the key changed (the server was set up again): "
                f"remove the old one with  ssh-keygen -R {shlex.quote(self._name)} -f {_quoted(self._path)}  and add "
                f"the new one with  {self._scan(key_type)}",
            )
        if self._authorities():
            what = "a certificate of another authority" if certificate else "no certificate"
            raise HostKeyUnknown(
                f"The SSH server {where} shows {what}, and {self._path} has no key {shown} ({key_type}) for it.",
                hint="Add the line @cert-authority of the authority that signed it, or compare the fingerprint and add the "
                f"plain key with  {self._scan(key_type)}",
            )
        raise HostKeyUnknown(
            f"The SSH server {where} shows the host key {shown} ({key_type}), and {self._path} has no key for it.",
            hint="First compare the fingerprint with the server's own (on the server: ssh-keygen -lf "
            f"/etc/ssh/ssh_host_{_scan_name(key_type)}_key.pub); if they are equal, run  {self._scan(key_type)}",
        )

    def _is_certified(self, where: str, key: bytes, blob: bytes) -> bool:
        """Whether an authority of known_hosts has signed it.

        :raises HostKeyUnknown: one has, and the certificate is not valid for this host or at this time.
        """
        try:
            certificate = parse_certificate(blob)
        except BadCertificate as error:
            raise HostKeyUnknown(
                f"The SSH server {where} shows a host certificate that cannot be used: {error}.",
                hint="Have a new one made and signed (ssh-keygen -h -s), or remove HostCertificate from its sshd_config.",
            ) from error
        if certificate.key != key or certificate.authority not in self._authorities():
            return False
        fault = certificate.fault_for_host(self._plain_name)
        if fault:
            raise HostKeyUnknown(
                f"The SSH server {where} shows a host certificate that does not hold for {self._plain_name}: it {fault}.",
                hint="Have its key signed again for this name (ssh-keygen -h -s CA -n NAME).",
            )
        return True

    def _authorities(self) -> set[bytes]:
        """As in ssh, lines for the host without its port count as well."""
        lines = [*self._lines(), *self._lines(self._plain_name)]
        revoked = {line.key for line in lines if line.marker == _REVOKED}
        return {line.key for line in lines if line.marker == _AUTHORITY} - revoked

    def _scan(self, key_type: str) -> str:
        file = file_to_add_to(self._paths)
        setting = "" if file in self._paths else f"  and set SSH_KNOWN_HOSTS={file}, since {self._path} keeps no key"
        if self._asked_by:
            return f"{self._asked_by}  (it asks, and writes it down){setting}"
        host = shlex.quote(self._host)
        return f"ssh-keyscan -p {self._port} -t {_scan_name(key_type)} {host} >> {_quoted(file)}{setting}"

    def _lines(self, name: str = "") -> Iterator[_Line]:
        for path in self._paths:
            for line in _text(path).splitlines():
                parsed = _parse(line)
                if parsed is not None and _matches(parsed.names, name or self._name):
                    yield parsed


def _text(path: Path) -> str:
    path = expanded_if_known(path)
    if is_below_home(path):
        return ""
    if is_named_pipe(path):
        raise HostKeyUnknown(
            f"The known_hosts file {path} cannot be read: {NAMED_PIPE}.", hint="Set SSH_KNOWN_HOSTS to another file."
        )
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise HostKeyUnknown(
            f"The known_hosts file {path} cannot be read: {error.strerror}.",
            hint=how_to_make_readable(path)
            if isinstance(error, PermissionError)
            else "Set SSH_KNOWN_HOSTS to another file.",
        ) from error


def file_to_add_to(paths: Sequence[Path]) -> Path:
    """The first of these files that can keep a key: many config files say ``UserKnownHostsFile /dev/null``."""
    return next((path for path in paths if not _is_device(expanded_if_known(path))), Path("~/.ssh/known_hosts"))


def _is_device(path: Path) -> bool:
    try:
        return path.is_char_device()
    except OSError:
        return False


def _quoted(path: Path) -> str:
    # A shell does not expand a quoted ~.
    return shlex.quote(str(expanded_if_known(path)))


def fingerprint(key: bytes) -> str:
    """The fingerprint as ssh-keygen -l prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode("ascii").rstrip("=")


def _scan_name(key_type: str) -> str:
    return _SCAN_NAMES.get(key_type, "ecdsa")


def _parse(line: str) -> _Line | None:
    fields = line.split()
    marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
    if len(fields) < 3 or fields[0].startswith("#") or marker not in ("", _REVOKED, _AUTHORITY):  # noqa: PLR2004 - names type key
        return None
    try:
        key = base64.b64decode(fields[2], validate=True)
    except (binascii.Error, ValueError):
        return None
    return _Line(fields[0], fields[1], key, marker)


def _matches(patterns: str, name: str) -> bool:
    if patterns.startswith("|1|"):
        return _matches_hash(patterns, name)
    found = False
    for pattern in patterns.lower().split(","):
        negated = pattern.startswith("!")
        expression = re.escape(pattern.removeprefix("!")).replace(r"\*", ".*").replace(r"\?", ".")
        if re.fullmatch(expression, name):
            if negated:
                return False
            found = True
    return found


def _matches_hash(hashed: str, name: str) -> bool:
    try:
        _, _, salt, digest = hashed.split("|")
        expected = base64.b64decode(digest, validate=True)
        made = hmac.new(base64.b64decode(salt, validate=True), name.encode(), hashlib.sha1).digest()
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(made, expected)
