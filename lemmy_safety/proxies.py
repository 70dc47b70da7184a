"""Which variable names the proxy that a request goes through. Knows no library that speaks HTTP.

The rules are those of ``urllib.request``, which curl and most libraries share: ``HTTPS_PROXY``, ``HTTP_PROXY``, then
``ALL_PROXY``, in small letters or capitals; on Windows and macOS also what the system is set to. ``NO_PROXY`` lists hosts,
domains, IP addresses and networks, separated by commas, that are asked directly.
"""

from __future__ import annotations

import ipaddress
import os
import urllib.request
from dataclasses import dataclass
from urllib.parse import urlsplit

#: What a proxy speaks, and what a port may be.
_SCHEMES = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})


@dataclass(frozen=True, slots=True)
class Proxy:
    """``variable`` as it is written in the environment. ``url`` may hold a password: never show it."""

    variable: str
    url: str

    @property
    def shown(self) -> str:
        """Host and port, without a login."""
        return self.url.rpartition("@")[2].rpartition("//")[2].rstrip("/") or "(nothing)"

    @property
    def hint(self) -> str:
        """What to do where the proxy does not work."""
        return f"Correct or unset {self.variable}, or add the server to {variable_of('no')}."

    @property
    def login_hint(self) -> str:
        """What to do where the proxy asks who we are."""
        return (
            f"Write it as http://name:password@host:port in {self.variable}, or add the server to {variable_of('no')}."
        )

    @property
    def speaks_socks(self) -> bool:
        return self.url.lower().startswith("socks")

    def fault(self) -> str | None:
        """Why this cannot be a proxy; None where it can."""
        try:
            parts = urlsplit(self.url)
            port_is_right = parts.port != 0
        except ValueError:
            return f"{self.variable} is not the URL of a proxy."
        if parts.scheme not in _SCHEMES:
            return f"{self.variable} names a proxy with the scheme {parts.scheme}://, which no proxy has."
        if not parts.hostname or not port_is_right or any(char.isspace() for char in self.url):
            return f"{self.variable} is not the URL of a proxy."
        return None


def proxy_for(url: str, *, all_counts: bool = True) -> Proxy | None:
    """The proxy that requests to this URL go through; None for none. ``all_counts``: whether ``ALL_PROXY`` counts."""
    known = urllib.request.getproxies()
    parts = urlsplit(url)
    for name in (parts.scheme, "all") if all_counts else (parts.scheme,):
        text = known.get(name, "").strip()
        if text and not _is_exempt(parts.hostname or "", parts.port, known.get("no", "")):
            return Proxy(variable_of(name), text if "://" in text else f"http://{text}")
    return None


def variables_that_name(url: str) -> str:
    """The variables that hold the proxy at this address, for a message, as they are written: ``https_proxy``, or several."""
    shown = Proxy("", url).shown
    found = sorted(
        variable_of(name)
        for name, text in urllib.request.getproxies().items()
        if name != "no" and Proxy("", text).shown == shown
    )
    return ", ".join(found) or "HTTPS_PROXY or HTTP_PROXY"


def variable_of(kind: str) -> str:
    """The variable of this kind as the environment has it; in capitals where it has none.

    Where it has both spellings, small letters win, as in ``urllib.request``.
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
