"""Which host keys the admin trusts: OpenSSH's known_hosts file, read only, never written.

Own reading instead of paramiko's ``HostKeys``, which drops ``@revoked`` lines silently, knows no wildcards and stops at
the first damaged line. Format: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lemmy_safety.errors import HostKeyChanged, HostKeyUnknown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DEFAULT_PORT = 22

#: What ssh-keyscan's -t option and the files in /etc/ssh call a host key type; all others are ECDSA with some curve.
_SCAN_NAMES = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}


@dataclass(frozen=True, slots=True)
class _Line:
    names: str
    key_type: str
    key: bytes
    revoked: bool


class KnownHosts:
    """The keys that one file has for one host."""

    def __init__(self, path: Path, host: str, port: int) -> None:
        """A file that does not exist trusts nobody. The file is read when asked, so a repair works without restart."""
        self._path = path
        self._host = host
        self._port = port
        # sshd(8): a port other than 22 is part of the name; names are compared in lower case.
        self._name = host.lower() if port == _DEFAULT_PORT else f"[{host.lower()}]:{port}"

    def key_types(self) -> list[str]:
        """Types of the keys known for this host, so that the server can be asked for one of those."""
        return list(dict.fromkeys(line.key_type for line in self._lines() if not line.revoked))

    def check(self, key_type: str, key: bytes) -> None:
        """Accept the key that the server showed, or say what is to be done.

        :raises HostKeyUnknown: no line is for this host.
        :raises HostKeyChanged: the lines for this host hold other keys, or revoke this one.
        """
        lines = list(self._lines())
        where = f"{self._host}:{self._port}"
        shown = fingerprint(key)
        if any(line.revoked and line.key == key for line in lines):
            raise HostKeyChanged(
                f"The SSH server {where} shows the host key {shown}, which {self._path} marks as revoked.",
                hint="Do not go on: the key is known to be stolen or retired. Ask the server's operator.",
            )
        known = [line for line in lines if not line.revoked]
        if any(line.key_type == key_type and line.key == key for line in known):
            return
        if known:
            expected = ", ".join(fingerprint(line.key) for line in known)
            raise HostKeyChanged(
                f"The SSH server {where} shows the host key {shown} ({key_type}), but {self._path} has {expected}.",
                hint="Somebody may be listening in. Only if you know why the key changed (the server was set up anew): "
                f"remove the old one with  ssh-keygen -R {shlex.quote(self._name)} -f {self._quoted_path()}  and add "
                f"the new one with  {self._scan(key_type)}",
            )
        raise HostKeyUnknown(
            f"The SSH server {where} shows the host key {shown} ({key_type}), and {self._path} has no key for it.",
            hint="First compare the fingerprint with the server's own (on the server: ssh-keygen -lf "
            f"/etc/ssh/ssh_host_{_scan_name(key_type)}_key.pub); if they are equal, run  {self._scan(key_type)}",
        )

    def _scan(self, key_type: str) -> str:
        host = shlex.quote(self._host)
        return f"ssh-keyscan -p {self._port} -t {_scan_name(key_type)} {host} >> {self._quoted_path()}"

    def _quoted_path(self) -> str:
        return shlex.quote(str(self._path))

    def _lines(self) -> Iterator[_Line]:
        try:
            text = self._path.read_bytes().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return
        except OSError as error:
            raise HostKeyUnknown(
                f"The known_hosts file {self._path} cannot be read: {error.strerror}.",
                hint="Give this user read permission, or set SSH_KNOWN_HOSTS to another file.",
            ) from error
        for line in text.splitlines():
            parsed = _parse(line)
            if parsed is not None and _matches(parsed.names, self._name):
                yield parsed


def fingerprint(key: bytes) -> str:
    """The fingerprint as ssh-keygen -l prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode("ascii").rstrip("=")


def _scan_name(key_type: str) -> str:
    return _SCAN_NAMES.get(key_type, "ecdsa")


def _parse(line: str) -> _Line | None:
    fields = line.split()
    marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
    # Certificate authorities sign host certificates, which paramiko does not ask for.
    if len(fields) < 3 or fields[0].startswith("#") or marker not in ("", "@revoked"):  # noqa: PLR2004 - names type key
        return None
    try:
        key = base64.b64decode(fields[2], validate=True)
    except (binascii.Error, ValueError):
        return None
    return _Line(fields[0], fields[1], key, marker == "@revoked")


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
