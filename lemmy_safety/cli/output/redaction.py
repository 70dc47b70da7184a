"""Keeps the secrets of the settings in use, and the login of every URL, out of everything that is shown or logged.

Foreign text is searched for every secret where it enters our texts (``foreign.py``). This is the second defence, at the
exit: all our texts are searched again, for secrets that are not words of our own. Hiding such a word would reveal it:
everyone knows which word is missing from "The relay's (hidden) is too short".
"""

from __future__ import annotations

import functools
import traceback
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import lemmy_safety
from lemmy_safety.foreign import hide, keep_secret
from lemmy_safety.settings import OPTIONS
from lemmy_safety.url_logins import HIDDEN, hide_logins, secrets_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lemmy_safety.settings import Settings

__all__ = ["HIDDEN", "Redaction"]

#: Hiding shorter values would hide ordinary words of a message, and they are not real secrets.
_SHORTEST = 4

#: How our sentences change words: "too_large" becomes "too large", "object" becomes "objects".
_JOINED = str.maketrans("_-", "  ")


class Redaction:
    """The secrets to hide. Until settings are read there are none, and only logins in URLs are hidden."""

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()

    def learn(self, settings: Settings, *, urls: Iterable[str] = ()) -> None:
        """Add every secret value, and the logins in those that are URLs; ``urls`` are further ones (proxies).

        From then on they are also hidden where foreign text enters, in the whole process.
        """
        found: set[str] = set()
        for url in urls:
            found |= secrets_of(url)
        for item in OPTIONS.values():
            value = getattr(settings, item.name)
            if item.secret and value:
                found.add(value)
            if isinstance(value, str) and "://" in value:
                found |= secrets_of(value)
        found |= {written for text in found if not text.endswith("@") for written in _as_libraries_write(text)}
        self._secrets = tuple(text for text in found if len(text) >= _SHORTEST or text.endswith(("@", "'", '"')))
        keep_secret(self._secrets)

    def __call__(self, text: str) -> str:
        """Redact a text of ours, in which foreign parts are already redacted."""
        return hide_logins(hide(text, [secret for secret in self._secrets if secret in text and not _is_ours(secret)]))

    def foreign(self, text: str) -> str:
        """Redact an entirely foreign text."""
        return hide_logins(hide(text, self._secrets))

    def said_by(self, error: BaseException) -> str:
        """The text of an exception. In those of this package foreign parts are already redacted."""
        return self(str(error)) if is_of_ours(error) else self.foreign(str(error))

    def traceback(self, error: BaseException) -> str:
        """As Python shows it. Its lines of code are public, not foreign text."""
        text = "".join(traceback.format_exception(error))
        for each in _with_causes(error):
            if not is_of_ours(each):
                # Line by line: in an exception group each is indented.
                first, *others = [line for said in (str(each), *_notes(each)) for line in said.split("\n")]
                kind = f"{type(each).__name__}: "
                for before, line in ((kind, first), *(("", other) for other in others if other)):
                    text = text.replace(f"{before}{line}\n", f"{before}{self.foreign(line)}\n")
        return self(text)


def _as_libraries_write(secret: str) -> set[str]:
    """The secret as in a Python literal, and as in a URL."""
    quoted = (quote(secret, safe=safe, errors="surrogateescape") for safe in ("/", ""))  # a proxy's need not be UTF-8
    return {repr(secret)[1:-1], *quoted, quote_plus(secret, errors="surrogateescape")}


def _notes(error: BaseException) -> Iterable[str]:
    return getattr(error, "__notes__", ())


def is_of_ours(error: BaseException) -> bool:
    """Whether the class of an exception is defined in this package."""
    return type(error).__module__.partition(".")[0] == lemmy_safety.__name__


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    found = [error]
    for each in found:
        inner = [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
        found += [other for other in inner if other is not None and not any(other is known for known in found)]
    yield from found


@functools.cache
def _is_ours(secret: str) -> bool:
    """Whether it is a word of our sentences, or of code lines in a traceback: whether our source contains it.

    Called only for a secret that was found in a text of ours, which is rare.
    """
    words = _words(secret)
    folder = Path(lemmy_safety.__file__).parent
    sources = (_words(path.read_text(encoding="utf-8")) for path in folder.rglob("*.py"))
    return any(words in source or words.removesuffix("s") in source for source in sources)


def _words(text: str) -> str:
    return text.casefold().translate(_JOINED)
