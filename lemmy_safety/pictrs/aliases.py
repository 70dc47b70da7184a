"""The names of pictures in URLs: from an address in a browser to the alias. Pure.

Source: the URLs of Lemmy 0.18 to 1.0 and of pict-rs itself; docs/operations.md, section "pict-rs".
"""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

#: What comes before an alias in a path: Lemmy 0.18 and 0.19, Lemmy 1.0, pict-rs.
_BEFORE_ALIAS = ("/pictrs/image", "/api/v4/image", "/image/original", "/image/details/original")

#: Pages that show a picture of another server: the address of that picture is a parameter.
_PROXIES = ("/image_proxy", "/image/proxy")

#: pict-rs's own pages that name the alias in a parameter.
_ASKED_BY = ("alias", "src")


class NotAnAlias(ValueError):
    """A URL that does not name a picture stored under an alias. The text is the end of a sentence about it."""


def alias_in(text: str) -> str:
    """The alias that a URL names; another text is an alias already.

    :raises NotAnAlias: it is the URL of something else.
    """
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        raise NotAnAlias("is not a URL") from None
    questions = parse_qs(parts.query)
    before, _, last = parts.path.rpartition("/")
    if parts.path.endswith(_PROXIES) or "proxy" in questions:
        raise NotAnAlias("shows a picture of another server, and does not name the alias of its copy")
    if last and before.endswith(_BEFORE_ALIAS):
        return unquote(last)
    for name in _ASKED_BY:
        if "/image/" in parts.path and name in questions:
            return questions[name][0]
    raise NotAnAlias("does not look like the address of a picture of Lemmy or pict-rs")
