"""Who may call a service: by a shared secret, by networks; and which proxies are trusted for a caller's address."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from lemmy_safety.access.addresses import is_loopback, is_own, parse_address, parse_networks, within
from lemmy_safety.access.secrets import SECRET_HINT, Secrets, check_secret
from lemmy_safety.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lemmy_safety.access.addresses import Address

#: Private networks may be of any size. A large public network includes strangers: one may be as large as a provider's
#: smallest allocation (a /24, or a /48 of IPv6).
_WIDEST_PREFIX = {4: 24, 6: 48}


class Refusal(Enum):
    """Why a caller is refused."""

    NETWORK = "its address is in none of the allowed networks"
    NO_NETWORKS = "it asks for access by its address, and HOOK_NETWORKS is not set"
    SECRET = "its secret is missing or wrong"  # noqa: S105 - a sentence


class Access:
    """The rules of one service; without secrets and networks all callers are accepted."""

    def __init__(
        self,
        *,
        secrets: Iterable[str] = (),
        networks: Iterable[str] = (),
        trusted_proxies: Iterable[str] = (),
    ) -> None:
        """Any of the ``secrets`` gives access. ``networks`` are addresses or networks (``10.0.0.0/8``) that callers
        must be in.

        ``trusted_proxies`` are those whose ``X-Forwarded-For`` is trusted.

        :raises SettingsError: a secret can be guessed or does not fit into a URL, or a text is not a network.
        """
        secrets = tuple(secrets)
        for secret in secrets:
            check_secret(secret)
        self._secrets = Secrets(secrets)
        self._networks = parse_networks(networks)
        self._proxies = parse_networks(trusted_proxies)

    @property
    def needs_secret(self) -> bool:
        """Whether every caller needs a secret, whatever its address."""
        return bool(self._secrets)

    def check_bind(self, host: str) -> None:
        """Check that it is safe to listen on ``host`` with these rules.

        :raises SettingsError: other machines can reach it, and neither a secret nor a network is required; or the
            networks include strangers.
        """
        if not self._secrets and not is_loopback(host):
            self._check_networks(host)

    def _check_networks(self, host: str) -> None:
        """Without a secret, only networks keep strangers out."""
        if not self._networks:
            raise SettingsError(
                f"Listening on {host} without a secret would let anyone ask what is flagged.",
                hint=f"Set HOOK_SECRET, or HOOK_HOST=127.0.0.1. {SECRET_HINT}",
            )
        for network in self._networks:
            if network.prefixlen < _WIDEST_PREFIX[network.version] and not is_own(network):
                raise SettingsError(
                    f"Without a secret, {network} in HOOK_NETWORKS would let strangers ask what is flagged.",
                    hint=f"Name the addresses that pict-rs asks from, or set HOOK_SECRET. {SECRET_HINT}",
                )

    def may_ask_from(self, peer: str | None) -> bool:
        """Whether a request on a connection from ``peer`` can be accepted; False only if networks are set."""
        if not self._networks:
            return True
        address = parse_address(peer or "")
        return address is not None and within(address, (*self._networks, *self._proxies))

    def caller(self, peer: str | None, forwarded_for: Sequence[str]) -> Address | None:
        """The real caller; None if unknown.

        ``forwarded_for`` are the values of all ``X-Forwarded-For`` headers in order. Each proxy appends the address of
        its own caller, so the rightmost one that is not a trusted proxy is the caller; anything left of it can be
        forged.
        """
        address = parse_address(peer or "")
        hops = [hop for value in forwarded_for for hop in value.split(",")]
        while address is not None and hops and within(address, self._proxies):
            address = parse_address(hops.pop())
        return address

    def refusal(self, caller: Address | None, offered: Iterable[str], *, by_address: bool = False) -> Refusal | None:
        """None if the caller is allowed. ``offered`` are the secrets found anywhere in the request.

        ``by_address``: the caller wants access by its address alone. That works only if networks are set, and never
        replaces a secret.
        """
        if self._networks and (caller is None or not within(caller, self._networks)):
            return Refusal.NETWORK
        if not self._secrets:
            return Refusal.NO_NETWORKS if by_address and not self._networks else None
        return None if self._secrets.match(offered) else Refusal.SECRET
