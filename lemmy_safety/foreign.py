"""Texts from others inside our messages: what a library, a server or another program said, without our secrets.

A vendor's exception or a server's answer can repeat the password it was given. So such a text is searched for every
secret
when it enters a message of ours, and only then: our own sentences are public, and if a secret is one of
their words ("relay", "password"), the gap would reveal it.

The secrets are global to the process, like its logging. The command line registers them as soon as it has read the
settings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from lemmy_safety.url_logins import HIDDEN, hide_logins

if TYPE_CHECKING:
    from collections.abc import Iterable

#: How Python begins the text of an OSError: ``[Errno -2] Name or service not known``.
_ERROR_NUMBER: Final = re.compile(r"\[(?:Errno|WinError) -?[0-9]{1,9}\] ")

_secrets: tuple[str, ...] = ()


def keep_secret(secrets: Iterable[str]) -> None:
    """Hide these from now on, instead of the previous ones."""
    global _secrets  # noqa: PLW0603 - one set for the process
    _secrets = tuple(secrets)


def foreign(said: object) -> str:
    """A foreign message as text, without the secrets in use, the logins of URLs and the numbers of the system's errors."""
    return _ERROR_NUMBER.sub("", hide_logins(hide(str(said), _secrets)))


def first_line(error: BaseException | None) -> str:
    """The first line of an exception's message, through ``foreign``; its class if the message is empty."""
    return (foreign(error).strip() or type(error).__name__).splitlines()[0]


def hide(text: str, secrets: Iterable[str]) -> str:
    """The text with ``(hidden)`` instead of each secret. The longest go first: one may contain another."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, f"{HIDDEN}@" if secret.endswith("@") else HIDDEN)
    return text
