"""URLs without the login in them. Everything before a URL's last ``@`` can be part of a password.

A password with an unescaped ``@``, ``/``, ``:``, ``#`` or ``?`` makes parsers disagree about where the host begins, and
the host that one of them finds is part of the password. So nothing here parses: the last ``@`` decides.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "(hidden)"

#: For messages about a URL whose login is not written as URLs require.
ENCODING_HINT = "In a user name or password, write %40 for @, %3A for :, %2F for /, %23 for #, %3F for ? and %25 for %."

#: Our own hints show this as the way to write a login.
_EXAMPLE = "user:password"

_WORDS = re.compile(r"\S+")

#: What some parser takes for the end of a user, a password or a host.
_ENDS = re.compile(r"[@:/?#\s]")


def without_login(url: str) -> str:
    """A URL, or part of one, without what comes before its last ``@``; its scheme stays."""
    before, at, rest = url.rpartition("@")
    if not at:
        return url
    scheme, found, _ = before.partition("://")
    return f"{scheme}://{rest}" if found else rest


def hide_logins(text: str) -> str:
    """A text, with ``(hidden)`` instead of the login of each URL in it."""
    return _WORDS.sub(_without_its_login, text) if "://" in text else text


def _without_its_login(word: re.Match[str]) -> str:
    scheme, found, rest = word[0].partition("://")
    login, at, place = rest.rpartition("@")
    if not found or not at or login == _EXAMPLE:
        return word[0]
    return f"{scheme}://{HIDDEN}@{place}"


def secrets_of(url: str) -> set[str]:
    """The parts of a URL that must not be shown: its login, its password, and what parsers may cut out of those.

    Most include the ``@`` that follows them or the quotes that a message puts around them, so that a short text or a
    common
    word is hidden only there.
    """
    before, at, _ = url.rpartition("@")
    if not at:
        return set()
    login = before.partition("://")[2] or before
    password = login.partition(":")[2]
    found = {f"{login}@", password, unquote(password)}
    found |= {f"{login[match.end() :]}@" for match in _ENDS.finditer(login)}
    pieces = {piece for piece in _ENDS.split(password) if piece}
    found |= pieces | {f"{quote}{piece}{quote}" for piece in pieces for quote in "'\""}
    return found - {"", "@"}
