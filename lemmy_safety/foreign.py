"""Texts of others on their way into ours: what a library, a server or another program said, without our secrets.

A vendor's exception or a server's answer can repeat the password it was given. So such a text is searched for every secret
where it enters a message of ours, and there alone: our own sentences are known to everyone, and when a secret is one of
their words ("relay", "password"), the gap that it leaves would tell it.

The secrets are those of the process, as its logging is. The command line tells them as soon as settings are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.url_logins import HIDDEN, hide_logins

if TYPE_CHECKING:
    from collections.abc import Iterable

_secrets: tuple[str, ...] = ()


def keep_secret(secrets: Iterable[str]) -> None:
    """From now on hide these, in place of those before."""
    global _secrets  # noqa: PLW0603 - one set for the process
    _secrets = tuple(secrets)


def foreign(said: object) -> str:
    """What others said, as text, without the secrets in use and without the logins of URLs."""
    return hide_logins(hide(str(said), _secrets))


def first_line(error: BaseException | None) -> str:
    """The first line of what an exception says, by ``foreign``; its class where it says nothing."""
    return (foreign(error).strip() or type(error).__name__).splitlines()[0]


def hide(text: str, secrets: Iterable[str]) -> str:
    """The text with ``(hidden)`` in place of each secret. The longest go first: one may contain another."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, f"{HIDDEN}@" if secret.endswith("@") else HIDDEN)
    return text
