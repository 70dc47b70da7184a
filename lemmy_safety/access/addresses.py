"""Addresses and networks, compared as such and never as text."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, TypeAlias

from lemmy_safety.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

#: Private networks (RFC 1918, 3927, 4193, 4291, 6598).
_OWN_NETWORKS = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)


def parse_address(text: str) -> Address | None:
    """Parse an address as in ``X-Forwarded-For``: also with port, brackets or zone; IPv4 inside IPv6 as IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse_networks(texts: Iterable[str], *, what: str = "The list of networks") -> tuple[Network, ...]:
    """The networks; ``what`` names the setting that lists them.

    :raises SettingsError: names everything that is not a network, or has bits set after its prefix.
    """
    found: list[Network] = []
    faults: list[str] = []
    hints: list[str] = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text.strip()))
        except ValueError:
            fault, hint = _not_a_network(text.strip())
            faults.append(fault)
            hints.append(hint)
    if faults:
        raise SettingsError(f"{what}: {'; '.join(faults)}.", hint=" ".join(dict.fromkeys(hints)))
    return tuple(found)


def _not_a_network(text: str) -> tuple[str, str]:
    """What is wrong with a text, and how to fix it."""
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f"{text!r} is not an IP network", "Write it as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32."
    return f"{text!r} is an address with a prefix length", f"The network of {text} is {meant}."


def is_own(network: Network) -> bool:
    """Whether none of a network's addresses are ever routed on the internet."""
    return any(own.version == network.version and network.subnet_of(own) for own in _OWN_NETWORKS)  # type: ignore[arg-type]


def within(address: Address, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of the networks."""
    return any(address in network for network in networks)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a service that listens on ``host``; False for an unresolvable name."""
    address = parse_address(host)
    if address is not None:
        return address.is_loopback
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    addresses = [parse_address(str(entry[4][0])) for entry in found]
    return bool(addresses) and all(address is not None and address.is_loopback for address in addresses)
