"""What one option is: its names, type, range, help and secrecy, and how text becomes its value."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemmy_safety.errors import SettingsError
from lemmy_safety.home import expanded, expanded_if_known, is_below_home

if TYPE_CHECKING:
    from collections.abc import Callable

ENV_PREFIX = "LEMMY_SAFETY_"

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}

#: Straight and typographic quotation marks. Shells, systemd and .env remove them; "docker --env-file", compose's
#: "format: raw" and word processors leave them in the value.
QUOTES = tuple("\"'`\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb")

_TAKEN_AS_IT_IS = "Remove that; values are taken exactly as they are."

#: Unicode categories: control and format characters, separators of lines and paragraphs.
_INVISIBLE = frozenset({"Cc", "Cf", "Zl", "Zp"})


#: What is allowed where no range and no list says it.
_IN_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "one or more values, separated by commas",
    Path: "the path of a file or a folder",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """Everything about one setting except its value. ``env`` lists its names, the preferred one first."""

    name: str
    kind: type
    default: Any
    help: str
    section: str
    env: tuple[str, ...]
    flag: bool = False
    short: str | None = None
    secret: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    example: str = ""
    #: Describes the error in a text, as the end of a sentence that begins with "the value"; and how to fix it.
    refuse: Callable[[str], str | None] | None = None
    refuse_hint: str = _TAKEN_AS_IT_IS
    #: Whether it decides if something is deleted. Such an option must not be left empty: its default may delete.
    brake: bool = False
    #: Whether it is text that names files, whose names need not be UTF-8. Every path counts as well.
    names_files: bool = False

    @property
    def allowed(self) -> str:
        """The allowed values in words, for messages and docs."""
        if self.choices:
            return ", ".join(self.choices)
        if self.kind is bool:
            return "true or false"
        if self.minimum is not None and self.maximum is not None:
            return f"{self.minimum:g} to {self.maximum:g}"
        return ""

    @property
    def is_free_text(self) -> bool:
        """Whether almost any text is valid, so that the type does not reveal typing errors."""
        return self.kind in (str, Path, tuple) and not self.choices

    def parse(self, raw: object, source: str) -> Any:
        """Convert a text to the option's type.

        :raises SettingsError: names the source, the value (unless secret) and what is allowed.
        """
        shown = "(hidden)" if self.secret else repr(raw)
        complaint = SettingsError(
            f"{source}: {shown} is not valid.", hint=f"Allowed: {self.allowed or _IN_WORDS[self.kind]}."
        )
        text = str(raw).strip()
        if self.kind is bool:
            if text.lower() not in _TRUE | _FALSE:
                raise complaint
            return text.lower() in _TRUE
        written = text if self.kind is tuple else str(raw)
        if self.is_free_text:
            self._check_text(written, source)
        if self.kind is tuple:
            items = tuple(part.strip() for part in text.split(",") if part.strip())
            unknown = [item for item in items if self.choices and item not in self.choices]
            if unknown or not items:
                raise complaint
            return items
        if self.kind in (int, float) and (not text.isascii() or "_" in text):  # only Python reads those as numbers
            raise complaint
        try:
            value: Any = _path(text, source) if self.kind is Path else self.kind(text)
        except ValueError:
            raise complaint from None
        if self.choices and value not in self.choices:
            raise complaint
        # "not (low <= value <= high)" rather than two comparisons, so that NaN is refused too.
        low = -float("inf") if self.minimum is None else self.minimum
        high = float("inf") if self.maximum is None else self.maximum
        if self.kind in (int, float) and not low <= value <= high:
            raise complaint
        return value

    def _check_text(self, text: str, source: str) -> None:
        if why := self._cannot_be_meant(text):
            raise SettingsError(f"{source}: the value {why}.", hint=_TAKEN_AS_IT_IS)
        if self.refuse and (why := self.refuse(text)):
            raise SettingsError(f"{source}: the value {why}.", hint=self.refuse_hint)

    def _cannot_be_meant(self, text: str) -> str | None:
        """The error in a free text: something in it that its author does not see or did not mean to include."""
        odd = next((char for char in text if unicodedata.category(char) in _INVISIBLE), None)
        if odd is not None:
            return f"holds an invisible character (U+{ord(odd):04X})"
        if text != text.strip():
            return "begins or ends with a blank"
        if text.startswith(QUOTES) or text.endswith(QUOTES):
            return "begins or ends with a quotation mark, which counts as part of it here"
        # Python represents bytes of the environment that are not UTF-8 as lone surrogates.
        if not (self.kind is Path or self.names_files) and any(unicodedata.category(char) == "Cs" for char in text):
            return "holds a byte that is not UTF-8"
        return None


def _path(text: str, source: str) -> Path:
    """Without a home folder, ``~`` stays unresolved until needed: most commands need nothing below it."""
    path = expanded_if_known(Path(text))
    return path if is_below_home(path) else expanded(path, what=source)


def option(
    default: Any,
    help: str,  # noqa: A002
    *,
    kind: type,
    section: str,
    env: tuple[str, ...] = (),
    **more: Any,
) -> Any:
    """A settings field. ``env`` are names besides ``LEMMY_SAFETY_<NAME>``, which always works."""
    meta = {"kind": kind, "help": help, "section": section, "env": env, "default": default, **more}
    return field(default=default, repr=not more.get("secret", False), metadata={"option": meta})
