"""The address of an S3 server: its normal form, and what botocore cannot use. Sends no request."""

from __future__ import annotations

import ipaddress
import string
from urllib.parse import urlsplit

from botocore.exceptions import InvalidRegionError
from botocore.utils import validate_region_name

from lemmy_safety.errors import SettingsError
from lemmy_safety.foreign import foreign
from lemmy_safety.url_logins import without_login

_DEFAULT_PORTS = {"http": 80, "https": 443}

#: Longest name of a host, and longest part of it between dots (RFC 1035, section 2.3.4).
_LONGEST_NAME = 255
_LONGEST_PART = 63

#: What botocore accepts in a part of a host name (botocore.utils, LABEL_RE), without hyphens at its ends (RFC 952 and
#: 1123).
_LETTERS = frozenset(string.ascii_letters + string.digits + "-")

_SPELLING = "Write OBJECT_STORAGE_ENDPOINT with its scheme and without a login, such as https://eu2.example.com."
_OTHER_NAME = (
    "Give the server a name without one: a service of a compose file has other names by networks: aliases, and any host by "
    "a line in /etc/hosts."
)
_ASCII = "It may hold a-z, 0-9, hyphens and dots."


def checked_endpoint(endpoint: str) -> str:
    """The endpoint in its normal form.

    :raises SettingsError: not the URL of a server, or botocore refuses its host name.
    """
    url = _normalised(endpoint)
    if url is None:
        raise SettingsError(f"{shown_endpoint(endpoint)!r} is not the URL of a server.", hint=_SPELLING)
    host = urlsplit(url).hostname or ""
    why = _why_no_host(host)
    if why is not None:
        raise SettingsError(
            f"OBJECT_STORAGE_ENDPOINT: {host!r} is not a host name that S3 requests can be sent to: {why[0]}.",
            hint=why[1],
        )
    return url


def check_region(region: str, url: str) -> None:
    """:raises SettingsError: not the name of a region."""
    try:
        validate_region_name(region)
    except InvalidRegionError as error:
        raise SettingsError(
            f"{url}: {foreign(error)}.", hint="Check AWS_DEFAULT_REGION; auto asks the server."
        ) from error


def shown_endpoint(endpoint: str) -> str:
    """The endpoint in its normal form, without a login; anything that is not a URL otherwise keeps its spelling."""
    return _normalised(endpoint) or without_login(endpoint.strip())


def _normalised(endpoint: str) -> str | None:
    try:
        parts = urlsplit(endpoint.strip())
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    if "@" in parts.path + parts.query + parts.fragment:  # what was taken for the host is part of a login
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        host += f":{port}"
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def _why_no_host(host: str) -> tuple[str, str] | None:
    """Why botocore refuses the host name, and what to do; None if it accepts it."""
    if ":" in host:
        return None if _is_ipv6(host) else ("it is not an IPv6 address", _SPELLING)
    if not host.isascii():
        return "it holds letters outside of ASCII", _in_ascii(host)
    parts = host.removesuffix(".").split(".")
    too_long = len(host) > _LONGEST_NAME or any(len(part) > _LONGEST_PART for part in parts)
    signs = (
        (not all(parts), "a part of it is empty (two dots in a row, or one at its start)", _SPELLING),
        (
            too_long,
            f"it or a part of it is longer than DNS allows ({_LONGEST_PART} characters between dots)",
            _SPELLING,
        ),
        ("_" in host, "it holds an underscore", _OTHER_NAME),
        (
            any(part.strip("-") != part or not _LETTERS.issuperset(part) for part in parts),
            "a part of it holds other characters, or begins or ends with a hyphen",
            _ASCII,
        ),
    )
    return next(((why, hint) for here, why, hint in signs if here), None)


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _in_ascii(host: str) -> str:
    try:
        return f"Write it in the form that DNS uses: {host.encode('idna').decode()}"
    except UnicodeError:
        return _ASCII
