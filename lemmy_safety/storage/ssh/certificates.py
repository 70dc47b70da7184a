"""OpenSSH certificates: those that users log in with, and those that servers present instead of a plain host key.

paramiko transmits certificates without checking them; cryptography reads them and checks their signatures. The rules
for
host certificates are ssh's own (sshkey.c, sshkey_cert_check_authority). Format: PROTOCOL.certkeys of OpenSSH.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)

from lemmy_safety.foreign import foreign

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.serialization import SSHCertPublicKeyTypes

#: The ending of every certificate's type name.
SUFFIX = "-cert-v01@openssh.com"

#: "for ever" in a certificate.
_NO_END = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Certificate:
    """``blob`` is the certificate itself, ``key`` the plain public key in it, ``authority`` the key that signed it."""

    blob: bytes
    key: bytes
    authority: bytes
    principals: tuple[str, ...]
    valid_from: int
    valid_to: int
    is_for_hosts: bool
    has_critical_options: bool

    def out_of_time(self) -> str:
        """When it expired or becomes valid; empty while it is valid."""
        now = time.time()
        if now < self.valid_from:
            return f"holds only from {_shown(self.valid_from)} on"
        if self.valid_to != _NO_END and now >= self.valid_to:
            return f"ran out on {_shown(self.valid_to)}"
        return ""

    def fault_for_host(self, name: str) -> str:
        """Why it does not prove that a server is ``name``; empty if it does. Does not check its authority."""
        if not self.is_for_hosts:
            return "is made for users"
        if self.has_critical_options:
            return "has conditions that are not known"
        if self.principals and not any(fnmatch.fnmatchcase(name, each.lower()) for each in self.principals):
            return f"is made for {', '.join(self.principals)}"
        return self.out_of_time()


class BadCertificate(ValueError):
    """Why it is not a usable certificate: the end of a sentence."""


def read_certificate(path: Path) -> Certificate:
    """A certificate file as ssh-keygen writes it.

    :raises OSError: it cannot be read.
    :raises BadCertificate: it holds no certificate, or one whose signature is wrong.
    """
    fields = path.read_bytes().split()
    if len(fields) < 2 or not fields[0].endswith(SUFFIX.encode()):  # noqa: PLR2004 - type, certificate
        raise BadCertificate("it is not an OpenSSH certificate")
    try:
        return parse_certificate(base64.b64decode(fields[1], validate=True))
    except binascii.Error as error:
        raise BadCertificate("it is damaged") from error


def parse_certificate(blob: bytes) -> Certificate:
    """A certificate as it comes over the wire.

    :raises BadCertificate: not a certificate, damaged, of an unknown kind, or with a wrong signature.
    """
    try:
        length = int.from_bytes(blob[:4], "big")
        found = load_ssh_public_identity(blob[4 : 4 + length] + b" " + base64.b64encode(blob))
        if isinstance(found, SSHCertificate):
            found.verify_cert_signature()
    except InvalidSignature as error:
        raise BadCertificate("its signature is wrong") from error
    except (UnsupportedAlgorithm, ValueError, TypeError, IndexError) as error:
        raise BadCertificate(f"it cannot be read: {foreign(error)}") from error
    if not isinstance(found, SSHCertificate):
        raise BadCertificate("it is a plain key")
    return Certificate(
        blob=blob,
        key=_plain(found.public_key()),
        authority=_plain(found.signature_key()),
        principals=tuple(each.decode("utf-8", errors="replace") for each in found.valid_principals),
        valid_from=found.valid_after,
        valid_to=found.valid_before,
        is_for_hosts=found.type is SSHCertificateType.HOST,
        has_critical_options=bool(found.critical_options),
    )


def _plain(key: SSHCertPublicKeyTypes) -> bytes:
    return base64.b64decode(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])


def _shown(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return f"second {seconds}"
