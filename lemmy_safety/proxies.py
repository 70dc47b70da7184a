"""Finds the variable that names the proxy for a request. Knows no HTTP library.

The rules are those of ``urllib.request``, which curl and most libraries share: ``HTTPS_PROXY``, ``HTTP_PROXY``, then
``ALL_PROXY``, in lower or upper case; on Windows and macOS also the system's settings. ``NO_PROXY`` lists hosts,
domains, IP addresses and networks, separated by commas, to connect to directly.
"""

from __future__ import annotations

import http
import ipaddress
import os
import re
import socket
import ssl
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lemmy_safety.errors import SettingsError
from lemmy_safety.foreign import foreign
from lemmy_safety.url_logins import ENCODING_HINT

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCHEMES = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})

#: Left in the value by some tools: "docker --env-file" keeps the quotes of its file, and word processors curl them.
_QUOTES = tuple("\"'`\u2018\u2019\u201c\u201d")

#: Names in other scripts count too. Underscores occur in the names of containers.
_HOST_NAME = re.compile(r"[\w.-]+")

_FIRST_PART = re.compile("[^:/]*")

_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})")

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")


@dataclass(frozen=True, slots=True)
class Proxy:
    """``variable`` as written in the environment. ``url`` may hold a password: never show it."""

    variable: str
    url: str

    @property
    def shown(self) -> str:
        """Host and port, without a login."""
        return self.url.rpartition("@")[2].rpartition("//")[2].rstrip("/") or "(nothing)"

    @property
    def named(self) -> str:
        """Which proxy, and where it is set, for a message."""
        return f"the proxy {self.shown} in {self.variable}"

    @property
    def hint(self) -> str:
        """What to do if the proxy does not work."""
        return f"Correct or unset {self.variable}, or add the server to {variable_of('no')}."

    @property
    def login_hint(self) -> str:
        """What to do if the proxy asks for a login."""
        return (
            f"Write it as http://name:password@host:port in {self.variable}, or add the server to {variable_of('no')}."
        )

    @property
    def speaks_socks(self) -> bool:
        return self.url.lower().startswith("socks")

    def refusal(self, status: int) -> str:
        """What it means that the proxy answered this instead of the server: a sentence without its capital letter."""
        if status == http.HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            return f"{self.named} wants a login ({status})"
        if status == http.HTTPStatus.FORBIDDEN:
            return f"{self.named} forbids connections to this server ({status})"
        return f"{self.named} answered {status} instead of connecting to the server"

    def failure(self, error: BaseException) -> str:
        """Why the proxy itself cannot be reached: a sentence without its capital letter."""
        for cause in causes(error):
            match cause:
                case socket.gaierror(errno=socket.EAI_AGAIN):
                    return f"the host name of {self.named} cannot be looked up at present"
                case socket.gaierror():
                    return f"the host name of {self.named} does not resolve"
                case ssl.SSLError():
                    return f"{self.named} does not speak TLS, or its certificate is not accepted"
                case ConnectionRefusedError():
                    return f"{self.named} refused the connection"
                case TimeoutError():
                    return f"{self.named} did not answer in time"
        words = " ".join(foreign(error).split())[:300]
        return f"{self.named} cannot be reached ({words or type(error).__name__})"


def proxy_for(url: str, *, all_counts: bool = True) -> Proxy | None:
    """The proxy for requests to this URL, or None. ``all_counts``: whether ``ALL_PROXY`` counts.

    :raises SettingsError: the variable holds something that cannot be a proxy URL. A library would take part of it for
        a
        host, look that up for ever, or blame the server.
    """
    known = urllib.request.getproxies()
    parts = urlsplit(url)
    for name in (parts.scheme, "all") if all_counts else (parts.scheme,):
        text = known.get(name, "")
        if text.strip() and not _is_exempt(parts.hostname or "", parts.port, known.get("no", "")):
            _check(text, variable_of(name))
            return Proxy(variable_of(name), _with_scheme(text))
    return None


def refusal_of_tunnel(error: BaseException) -> int | None:
    """The status with which a proxy refused a tunnel, as reported by ``http.client``; None for other errors."""
    status = _TUNNEL_REFUSED.search(str(error))
    return int(status[1]) if status else None


def variables_that_name(url: str) -> str:
    """The variables that hold the proxy at this address, as written, for a message: ``https_proxy``, or several."""
    shown = Proxy("", url).shown
    found = sorted(
        variable_of(name)
        for name, text in urllib.request.getproxies().items()
        if name != "no" and Proxy("", text).shown == shown
    )
    return ", ".join(found) or "HTTPS_PROXY or HTTP_PROXY"


def _with_scheme(text: str) -> str:
    return text if "://" in text else f"http://{text}"


def _check(text: str, variable: str) -> None:
    why = _fault(text)
    if why is None:
        return
    encoding = f" {ENCODING_HINT}" if "@" in text else ""
    raise SettingsError(
        f"{variable} is not the URL of a proxy: {why}.",
        hint=f"Write it as http://host:port, unset it, or add the server to {variable_of('no')}.{encoding}",
    )


def _fault(text: str) -> str | None:
    """Why this is not a proxy URL; None if it is one. The answer contains no part of a login."""
    if text.startswith(_QUOTES) or text.endswith(_QUOTES):
        return "there are quotation marks around it"
    if any(char.isspace() or not char.isprintable() for char in text):
        return "there is a blank, a line break or an invisible character in it"
    scheme, separator, _ = text.partition("://")
    if separator and scheme.lower() not in _SCHEMES:
        return f"{f'{scheme}://' if _SCHEME.fullmatch(scheme) else 'what is before ://'} is not a scheme of proxies"
    first = _FIRST_PART.match(text)
    if not separator and first and first[0].lower() in _SCHEMES:
        return f"there is no :// after {first[0]}"
    return _fault_of_place(_with_scheme(text))


def _fault_of_place(url: str) -> str | None:
    """As ``_fault``, for a URL whose scheme is right."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that do not match, or contain no IPv6 address
        return "its host is not a name or an address"
    host = parts.hostname or ""
    if not host or host.isdecimal():  # "3128" alone is a port; as a host, systems read it as the address 0.0.12.56
        return "it has no host"
    if not (_HOST_NAME.fullmatch(host) or _is_ipv6(host)):
        return "its host is not a name or an address"
    try:
        port_is_right = parts.port != 0
    except ValueError:
        port_is_right = False
    if not port_is_right:
        return "its port is not a number from 1 to 65535"
    if parts.path.rstrip("/") or parts.query or parts.fragment:
        return "something follows its host and port"
    return None


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes; urllib3 and urllib keep those in their arguments."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = next((given for given in error.args if isinstance(given, BaseException)), None)
        error = error.__cause__ or error.__context__ or inner


def variable_of(kind: str) -> str:
    """The variable of this kind as spelled in the environment; in capitals if it is not set.

    If both spellings are set, lower case wins, as in ``urllib.request``.
    """
    found = [name for name in os.environ if name.lower() == f"{kind}_proxy" and os.environ[name].strip()]
    return next((name for name in found if name.endswith("_proxy")), next(iter(found), f"{kind.upper()}_PROXY"))


def _is_exempt(host: str, port: int | None, listed: str) -> bool:
    entries = [entry.strip().lower() for entry in listed.split(",")]
    if any(_covers(entry, host.lower(), port) for entry in entries if entry):
        return True
    # The system's own list, on Windows and macOS.
    return bool(urllib.request.proxy_bypass(f"[{host}]" if ":" in host else host))


def _covers(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    name, only_port = _split_port(entry)
    if only_port and only_port != str(port or ""):
        return False
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        name = name.removeprefix("*").lstrip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
    try:
        network = ipaddress.ip_network(name.partition("%")[0], strict=False)
    except ValueError:
        return False
    return address.version == network.version and address in network


def _split_port(entry: str) -> tuple[str, str]:
    """``host:port``, ``[address]:port``, or either without a port; IPv6 addresses and networks also bare."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name + rest if rest.startswith("/") else name, rest.removeprefix(":") if rest.startswith(":") else ""
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""
