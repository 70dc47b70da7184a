"""Blots the secrets of the settings in use out of everything that is shown or logged.

The rooms already keep credentials out of their messages; this is the second wall, for texts that come from vendors'
libraries and for tracebacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from lemmy_safety.settings import OPTIONS

if TYPE_CHECKING:
    from lemmy_safety.settings import Settings

HIDDEN = "(hidden)"

#: Shorter values would blot out ordinary words of a message, and are no secrets worth the name.
_SHORTEST = 4


class Redaction:
    """The secrets to hide; empty until settings were read."""

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()

    def learn(self, settings: Settings) -> None:
        """Take in every secret value, and the password inside those that are URLs."""
        found: set[str] = set()
        for item in OPTIONS.values():
            value = getattr(settings, item.name)
            if item.secret and value:
                found.update((value, *_passwords(value)))
        # Longest first: a secret that contains another must go as a whole.
        self._secrets = tuple(sorted((text for text in found if len(text) >= _SHORTEST), key=len, reverse=True))

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text


def _passwords(value: str) -> tuple[str, ...]:
    try:
        password = urlsplit(value).password
    except ValueError:
        return ()
    return (password, unquote(password)) if password else ()
