"""The address of the relay, or of a pictrs-safety server, that a worker works for. No HTTP library here."""

from __future__ import annotations

from urllib.parse import urlsplit

from lemmy_safety.access.addresses import is_loopback
from lemmy_safety.server_urls import checked_url as checked_server_url


def checked_url(text: str, *, what: str = "PICTRS_SAFETY_URL") -> str:
    """The server's address without a slash at its end. ``what`` names the setting; the text may hold a login.

    :raises SettingsError: it is not the address of an HTTP server, or has a login, a query or a fragment.
    """
    return checked_server_url(text, what=what, example="https://relay.example.org")


def is_open_to_listeners(url: str) -> bool:
    """Whether traffic to this server can be read on the way."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")
