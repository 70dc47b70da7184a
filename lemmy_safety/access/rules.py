"""Who may ask: a shared secret, networks, and whose word on the caller's address is believed. No framework here.

Addresses are compared as addresses, never as texts. Secrets are compared by digest in constant time, and are neither
logged nor part of any message; a wrong one shows in a log by the first digits of its SHA-256.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import socket
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from lemmy_safety.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

#: A secret must not be guessable: 16 characters of an alphabet of 64 are 96 bits. That also goes for 127.0.0.1, where every
#: program of the machine can try, and a proxy may bring requests from elsewhere.
SHORTEST_SECRET = 16

#: What passes through a path, a header and a configuration file unchanged (RFC 3986, unreserved).
_SECRET = re.compile(r"[A-Za-z0-9._~-]+")

#: What pictrs-safety's users, lemmy-ansible among them, write instead of an id when their address is to admit them.
BY_ADDRESS = "IPADDR"

#: Networks of one's own (RFC 1918, 3927, 4193, 4291, 6598): as wide as one likes. Of the internet's addresses a wide
#: network holds strangers: one may be as large as a provider's smallest share (a /24, or a /48 of IPv6).
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
_WIDEST_PREFIX = {4: 24, 6: 48}

SECRET_HINT = "Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(24))'"  # noqa: S105 - a command, no secret


class Refusal(Enum):
    """Why a caller is not let in."""

    NETWORK = "its address is in none of the allowed networks"
    NO_NETWORKS = "it asks to be let in by its address, and HOOK_NETWORKS is not set"
    SECRET = "its secret is missing or wrong"  # noqa: S105 - a sentence


class Access:
    """The rules of one service; without secrets and networks everybody is let in."""

    def __init__(
        self,
        *,
        secrets: Iterable[str] = (),
        networks: Iterable[str] = (),
        trusted_proxies: Iterable[str] = (),
    ) -> None:
        """Any of the ``secrets`` opens. ``networks`` are addresses or networks (``10.0.0.0/8``) that callers must be in.

        ``trusted_proxies`` are those whose ``X-Forwarded-For`` is believed.

        :raises SettingsError: a secret that can be guessed or does not fit into a URL, or text that is not a network.
        """
        secrets = tuple(secrets)
        for secret in secrets:
            check_secret(secret)
        self._digests = tuple(_digest(secret) for secret in secrets)
        self._networks = parse_networks(networks)
        self._proxies = parse_networks(trusted_proxies)

    @property
    def needs_secret(self) -> bool:
        """Whether a caller has to know a secret, wherever it asks from."""
        return bool(self._digests)

    def check_bind(self, host: str) -> None:
        """Whether it is safe to listen on ``host`` with these rules.

        :raises SettingsError: it can be reached from other machines, and there is neither a secret nor a network that
            callers must be in; or the networks hold strangers.
        """
        if not self._digests and not is_loopback(host):
            self._check_networks(host)

    def _check_networks(self, host: str) -> None:
        """Without a secret, networks are all that keeps strangers out."""
        if not self._networks:
            raise SettingsError(
                f"Listening on {host} without a secret would let anybody ask what is flagged.",
                hint=f"Set HOOK_SECRET, or HOOK_HOST=127.0.0.1. {SECRET_HINT}",
            )
        for network in self._networks:
            if network.prefixlen < _WIDEST_PREFIX[network.version] and not _is_own(network):
                raise SettingsError(
                    f"Without a secret, {network} in HOOK_NETWORKS would let strangers ask what is flagged.",
                    hint=f"Name the addresses that pict-rs asks from, or set HOOK_SECRET. {SECRET_HINT}",
                )

    def may_ask_from(self, peer: str | None) -> bool:
        """Whether a request on a connection from ``peer`` can be let in; False only where networks are set."""
        if not self._networks:
            return True
        address = parse_address(peer or "")
        return address is not None and _within(address, (*self._networks, *self._proxies))

    def caller(self, peer: str | None, forwarded_for: Sequence[str]) -> Address | None:
        """Who really asks; None when that cannot be told.

        ``forwarded_for`` are the values of all ``X-Forwarded-For`` headers in order. Each proxy appends the address it
        was asked from, so the rightmost one that is no proxy of ours is the caller; what stands left of it is hearsay.
        """
        address = parse_address(peer or "")
        hops = [hop for value in forwarded_for for hop in value.split(",")]
        while address is not None and hops and _within(address, self._proxies):
            address = parse_address(hops.pop())
        return address

    def refusal(self, caller: Address | None, offered: Iterable[str], *, by_address: bool = False) -> Refusal | None:
        """None when the caller may ask. ``offered`` are the secrets that came with the request, wherever they stood.

        ``by_address``: the caller asks to be let in for its address alone. That works only where networks are set, and
        never in the place of a secret.
        """
        if self._networks and (caller is None or not _within(caller, self._networks)):
            return Refusal.NETWORK
        if not self._digests:
            return Refusal.NO_NETWORKS if by_address and not self._networks else None
        right = [hmac.compare_digest(_digest(text), known) for text in offered for known in self._digests]
        return None if any(right) else Refusal.SECRET


def fingerprint(secret: str) -> str:
    """What a log may say of a secret: two equal ones show equal, and nothing else can be learned."""
    return _digest(secret).hex()[:12]


def _digest(secret: str) -> bytes:
    # Digests have one length, so that the comparison does not tell how long the right secret is.
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def parse_address(text: str) -> Address | None:
    """An address as ``X-Forwarded-For`` may give it: also with port, brackets or zone; IPv4 inside IPv6 as IPv4."""
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

    :raises SettingsError: naming everything that is not a network, or has bits set behind its prefix.
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


def _is_own(network: Network) -> bool:
    """Whether all of a network's addresses are of kinds that are never routed in the internet."""
    return any(own.version == network.version and network.subnet_of(own) for own in _OWN_NETWORKS)  # type: ignore[arg-type]


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def check_secret(secret: str, *, what: str = "The hook's secret") -> None:
    """Whether it can be a secret of the hook. ``what`` names the setting; the secret is never part of the message.

    :raises SettingsError: it can be guessed, or does not fit into a URL.
    """
    if secret.upper() == BY_ADDRESS:
        raise SettingsError(
            f"{what} is pictrs-safety's word for access by address, which is no secret.", hint=SECRET_HINT
        )
    if not _SECRET.fullmatch(secret):
        raise SettingsError(
            f"{what} may hold letters, digits and . _ ~ - only, because it is part of a URL.", hint=SECRET_HINT
        )
    if len(secret) < SHORTEST_SECRET:
        raise SettingsError(
            f"{what} is shorter than {SHORTEST_SECRET} characters, so it can be guessed.",
            hint=f"Set a longer one, here and in pict-rs. {SECRET_HINT}",
        )


def check_key(key: str, *, what: str = "The relay's key") -> None:
    """Whether it can be the key of a relay's workers: they get every upload, and say what is accepted.

    :raises SettingsError: there is none, or one that can be guessed. It is never part of the message.
    """
    if not key:
        raise SettingsError("A relay needs a key for its workers.", hint=f"Set RELAY_APIKEY. {SECRET_HINT}")
    if len(key) < SHORTEST_SECRET:
        raise SettingsError(
            f"{what} is shorter than {SHORTEST_SECRET} characters, so it can be guessed.",
            hint=f"Set a longer one, here and at the workers. {SECRET_HINT}",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a service that listens on ``host``; a name that does not resolve is not."""
    address = parse_address(host)
    if address is not None:
        return address.is_loopback
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    addresses = [parse_address(str(entry[4][0])) for entry in found]
    return bool(addresses) and all(address is not None and address.is_loopback for address in addresses)
