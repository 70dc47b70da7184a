"""Blots the secrets of the settings in use, and the login of every URL, out of everything that is shown or logged.

The rooms already keep credentials out of their messages; this is the second wall, for texts that come from vendors'
libraries and for tracebacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.settings import OPTIONS
from lemmy_safety.url_logins import HIDDEN, hide_logins, secrets_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lemmy_safety.settings import Settings

#: Shorter values would blot out ordinary words of a message, and are no secrets worth the name.
_SHORTEST = 4


class Redaction:
    """The secrets to hide. Until settings were read it knows none, and hides the logins of URLs."""

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()

    def learn(self, settings: Settings, *, urls: Iterable[str] = ()) -> None:
        """Take in every secret value, and the logins inside of those that are URLs; ``urls`` are further ones (proxies)."""
        found: set[str] = set()
        for url in urls:
            found |= secrets_of(url)
        for item in OPTIONS.values():
            value = getattr(settings, item.name)
            if item.secret and value:
                found.add(value)
            if isinstance(value, str) and "://" in value:
                found |= secrets_of(value)
        kept = (text for text in found if len(text) >= _SHORTEST or text.endswith(("@", "'", '"')))
        # Longest first: a secret that contains another must go as a whole.
        self._secrets = tuple(sorted(kept, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, f"{HIDDEN}@" if secret.endswith("@") else HIDDEN)
        return hide_logins(text)
