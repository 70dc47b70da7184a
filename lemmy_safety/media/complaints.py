"""A decoding library's error about bytes, as one line for a person. Imports no library."""

from __future__ import annotations

from typing import Final

from lemmy_safety.errors import MissingExtra
from lemmy_safety.packages import distribution_of, gone_decoder

_MAX_LENGTH: Final = 200


def complaint_of(error: Exception) -> str:
    """The error's text on one line, printable and short; preceded by its class if it contains no word, such as "0".

    :raises MissingExtra: the bytes are not the problem: the library is only partly installed.
    """
    if isinstance(error, AttributeError) and (package := gone_decoder(error)):
        cause = f"only a folder is left of {package}"
        raise MissingExtra(
            package=distribution_of(package), needed_for="Decoding", cause=cause, damaged=True
        ) from error
    # FFmpeg's errors have a number, a file name and a log line around the useful part.
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    text = "".join(char if char.isprintable() else "?" for char in text)
    if not any(char.isalpha() for char in text[:_MAX_LENGTH]):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text[:_MAX_LENGTH]
