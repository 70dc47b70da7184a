"""What a private key file holds: a key, a locked key, or something else, which the error names with its fix.

cryptography reads the formats (OpenSSH, PKCS #8, the older PEM of RSA and EC keys), and paramiko receives each key in a
form that it knows, in memory.
"""

from __future__ import annotations

import base64
import binascii
import io
import logging
import os
import shlex
import stat
from typing import TYPE_CHECKING

import paramiko
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from lemmy_safety.errors import PrivateKeyError
from lemmy_safety.permissions import NAMED_PIPE, how_to_make_readable, is_named_pipe
from lemmy_safety.storage.ssh.certificates import SUFFIX

if TYPE_CHECKING:
    from pathlib import Path

_LOG = logging.getLogger(__name__)

_KINDS: tuple[tuple[type, type[paramiko.PKey]], ...] = (
    (Ed25519PrivateKey, paramiko.Ed25519Key),
    (EllipticCurvePrivateKey, paramiko.ECDSAKey),
    (RSAPrivateKey, paramiko.RSAKey),
)

#: What reading raises for a damaged file, or a wrong passphrase.
_UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    UnsupportedAlgorithm,
    InvalidTag,
    paramiko.SSHException,
)

#: How a public key line begins.
_PUBLIC = (b"ssh-", b"ecdsa-sha2-", b"sk-")

#: Private keys are a few kilobytes; a larger file is something else.
_MOST_BYTES = 1_000_000

_NEEDED = "Needed is an ed25519, ecdsa or rsa key, as ssh-keygen makes them."


class KeyFile:
    """The content of a file that should be a private key. No part of it is ever in a message."""

    def __init__(self, path: Path) -> None:
        """:raises PrivateKeyError: the file cannot be read, or is plainly something else."""
        self._path = path
        self._content = _normal(_read(path))
        self.public_key: bytes | None = None
        """The public key, if the file is one. An agent may have the other half."""
        kind, key, *_ = [*self._content.split(None, 2), b"", b""]
        if kind.startswith(_PUBLIC) and key.startswith(b"AAAA") and not kind.endswith(SUFFIX.encode()):
            self.public_key = _decoded(key)
            return
        other = _something_else(path, self._content)
        if other is not None:
            raise other
        if os.name == "posix" and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            _LOG.warning("other users may read the SSH private key %s: chmod 600 %s", path, shlex.quote(str(path)))

    def key(self, passphrase: str | None) -> paramiko.PKey | None:
        """The key; None if it is locked and the passphrase is missing or wrong.

        :raises PrivateKeyError: it is damaged, or of a kind that SSH servers do not accept.
        """
        if self.public_key is not None:
            raise self.is_public()
        loader = load_ssh_private_key if b"OPENSSH PRIVATE KEY" in self._content else load_pem_private_key
        locked = False
        try:
            loaded = loader(self._content, None)
        except TypeError:
            # cryptography's way to report that a passphrase is needed.
            locked = True
        except _UNREADABLE as error:
            raise _unusable(self._path, "it is damaged or cut off", _NEEDED) from error
        if locked:
            if passphrase is None:
                return None
            try:
                loaded = loader(self._content, passphrase.encode())
            except _UNREADABLE:
                return None
        return self._for_paramiko(loaded)

    def is_public(self) -> PrivateKeyError:
        """The error for a public key where the private one was meant."""
        return _unusable(self._path, "it is a public key", _where_the_private_half_is(self._path))

    def _for_paramiko(self, loaded: object) -> paramiko.PKey:
        for kind, key_class in _KINDS:
            if isinstance(loaded, kind):
                try:
                    text = loaded.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()  # type: ignore[attr-defined]
                    return key_class.from_private_key(io.StringIO(text))
                except _UNREADABLE as error:
                    raise _unusable(self._path, "it is on a curve that SSH does not use", _NEEDED) from error
        raise _unusable(self._path, "it is of a kind that SSH does not use", _NEEDED)


def _read(path: Path) -> bytes:
    if is_named_pipe(path):
        raise _unusable(path, NAMED_PIPE, "Set SSH_PRIVKEY to a key file.")
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PrivateKeyError(
            f"The SSH private key file {path} does not exist.", hint=_where_the_private_half_is(path)
        ) from error
    except OSError as error:
        if path.is_dir():
            raise _unusable(path, "it is a folder", "Set SSH_PRIVKEY to the key file in it.") from error
        raise PrivateKeyError(
            f"The SSH private key {path} cannot be read: {error.strerror}.",
            hint=how_to_make_readable(path),
        ) from error


def _where_the_private_half_is(path: Path) -> str:
    """What to do if ``path`` is not the private half, judging by the files next to it."""
    if path.suffix == ".pub":
        private = path.with_suffix("")
        if private.is_file():
            return f"Set SSH_PRIVKEY to {private}."
        return f"Its private key {private} does not exist here: copy it here, and set SSH_PRIVKEY to it."
    public = path.with_name(f"{path.name}.pub")
    if public.is_file():
        return f"Only its public half {public} is here: copy the private key here as well, or correct SSH_PRIVKEY."
    return "Set SSH_PRIVKEY to the file with the private key."


def _normal(content: bytes) -> bytes:
    """Without what editors and copying add: byte order marks, UTF-16, CRLF, surrounding blanks."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        content = content.decode("utf-16", errors="ignore").encode()
    lines = content.removeprefix(b"\xef\xbb\xbf").strip().splitlines()
    return b"".join(line.strip() + b"\n" for line in lines)


def _something_else(path: Path, content: bytes) -> PrivateKeyError | None:
    """Our error if the first line, or the kind of key named there, shows what the file is."""
    shown = shlex.quote(str(path))
    head = content[:200]
    inner = _decoded(b"".join(content.split(b"\n")[1:-2])) if b"OPENSSH PRIVATE KEY" in head else b""
    signs = (
        (not content, "it is empty", _NEEDED),
        (
            head.startswith(b"PuTTY-User-Key-File"),
            "it is a PuTTY key (.ppk)",
            f"Convert it:  puttygen {shown} -O private-openssh -o KEYFILE  (on Windows in PuTTYgen: Export OpenSSH key).",
        ),
        (
            b"-cert-v01@openssh.com" in head,
            "it is a certificate",
            "Set SSH_PRIVKEY to its private key; a certificate next to it is found by its name, KEYFILE-cert.pub.",
        ),
        (b"PUBLIC KEY" in head, "it is a public key", _where_the_private_half_is(path)),
        (b"BEGIN CERTIFICATE" in head, "it is a TLS certificate", _NEEDED),
        (
            b"sk-ssh-" in inner or b"sk-ecdsa-" in inner,
            "it belongs to a FIDO security key",
            f"These work through an SSH agent only: ssh-add {shown}, and leave SSH_PRIVKEY empty.",
        ),
        (
            b"BEGIN DSA" in head or b"ssh-dss" in inner[:200],
            "it is a DSA key, which SSH servers no longer take",
            _NEEDED,
        ),
        (b"PRIVATE KEY-----" not in head, "it has none of the forms of a private key", _NEEDED),
    )
    return next((_unusable(path, why, hint) for here, why, hint in signs if here), None)


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""


def _unusable(path: Path, why: str, hint: str) -> PrivateKeyError:
    return PrivateKeyError(f"The SSH private key {path} is not a key that can be used: {why}.", hint=hint)
