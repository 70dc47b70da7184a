"""Secrets that callers send: how strong they must be, and how they are compared.

They are compared by digest in constant time, and never appear in logs or messages; a log shows only the first digits of
a wrong one's SHA-256.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from lemmy_safety.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A secret must not be guessable: 16 characters of an alphabet of 64 are 96 bits. That also applies to 127.0.0.1, where
#: every local program can try, and a proxy may forward requests from elsewhere.
SHORTEST_SECRET = 16

#: Characters that pass through a path, a header and a configuration file unchanged (RFC 3986, unreserved).
_SECRET = re.compile(r"[A-Za-z0-9._~-]+")

#: What users of pictrs-safety, including lemmy-ansible, write instead of an id to be admitted by address.
BY_ADDRESS = "IPADDR"

SECRET_HINT = "Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(24))'"  # noqa: S105 - a command, no secret


class Secrets:
    """The secrets of one service, any of which gives access; False if there are none."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._digests = tuple(_digest(secret) for secret in secrets)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def match(self, offered: Iterable[str]) -> bool:
        """Whether any text that a caller offered is one of the secrets. Every pair is compared."""
        right = [hmac.compare_digest(_digest(text), known) for text in offered for known in self._digests]
        return any(right)


def fingerprint(secret: str) -> str:
    """What a log may show of a secret: it reveals whether two are equal, and nothing else."""
    return _digest(secret).hex()[:12]


def _digest(secret: str) -> bytes:
    # Digests have the same length, so the comparison does not reveal the length of the right secret.
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def check_secret(secret: str, *, what: str = "The hook's secret") -> None:
    """Check that it can be a secret of the hook. ``what`` names the setting; the secret is never part of the message.

    :raises SettingsError: it can be guessed, or does not fit into a URL.
    """
    if secret.upper() == BY_ADDRESS:
        raise SettingsError(
            f"{what} is pictrs-safety's word for access by address, which is not a secret.", hint=SECRET_HINT
        )
    if not _SECRET.fullmatch(secret):
        raise SettingsError(
            f"{what} may hold letters, digits and . _ ~ - only, because it is part of a URL.", hint=SECRET_HINT
        )
    _check_length(secret, what=what, also="in pict-rs")


def check_key(key: str, *, what: str = "The relay's key") -> None:
    """Check that it can be the key of a relay's workers, which get every upload and decide what is accepted.

    :raises SettingsError: it is missing or can be guessed. It is never part of the message.
    """
    if not key:
        raise SettingsError("A relay needs a key for its workers.", hint=f"Set RELAY_APIKEY. {SECRET_HINT}")
    _check_length(key, what=what, also="at the workers")


def _check_length(secret: str, *, what: str, also: str) -> None:
    if len(secret) < SHORTEST_SECRET:
        raise SettingsError(
            f"{what} is shorter than {SHORTEST_SECRET} characters, so it can be guessed.",
            hint=f"Set a longer one, here and {also}. {SECRET_HINT}",
        )
