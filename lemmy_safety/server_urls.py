"""The address of a server as an admin writes it in a setting. No HTTP library here."""

from __future__ import annotations

from urllib.parse import urlsplit

from lemmy_safety.errors import SettingsError


def checked_url(text: str, *, what: str, example: str) -> str:
    """The server's address without a slash at its end. ``what`` names the setting; the text may hold a login.

    :raises SettingsError: it is not the address of an HTTP server, or has a login, a query or a fragment.
    """
    try:
        parts = urlsplit(text.strip())
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment or "@" in text:
        raise SettingsError(f"{what} is not the address of a server.", hint=f"Write it as {example}, without a login.")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
