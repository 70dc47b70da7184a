"""Who may ask a service: by a shared secret, by networks, and whose word on the caller's address is believed."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from lemmy_safety.access.addresses import is_loopback, is_own, parse_address, parse_networks, within
from lemmy_safety.access.secrets import SECRET_HINT, Secrets, check_secret
from lemmy_safety.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lemmy_safety.access.addresses import Address

#: Networks of one's own may be as wide as one likes. Of the internet's addresses a wide network holds strangers: one may be
#: as large as a provider's smallest share (a /24, or a /48 of IPv6).
_WIDEST_PREFIX = {4: 24, 6: 48}


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
        self._secrets = Secrets(secrets)
        self._networks = parse_networks(networks)
        self._proxies = parse_networks(trusted_proxies)

    @property
    def needs_secret(self) -> bool:
        """Whether a caller has to know a secret, wherever it asks from."""
        return bool(self._secrets)

    def check_bind(self, host: str) -> None:
        """Whether it is safe to listen on ``host`` with these rules.

        :raises SettingsError: it can be reached from other machines, and there is neither a secret nor a network that
            callers must be in; or the networks hold strangers.
        """
        if not self._secrets and not is_loopback(host):
            self._check_networks(host)

    def _check_networks(self, host: str) -> None:
        """Without a secret, networks are all that keeps strangers out."""
        if not self._networks:
            raise SettingsError(
                f"Listening on {host} without a secret would let anybody ask what is flagged.",
                hint=f"Set HOOK_SECRET, or HOOK_HOST=127.0.0.1. {SECRET_HINT}",
            )
        for network in self._networks:
            if network.prefixlen < _WIDEST_PREFIX[network.version] and not is_own(network):
                raise SettingsError(
                    f"Without a secret, {network} in HOOK_NETWORKS would let strangers ask what is flagged.",
                    hint=f"Name the addresses that pict-rs asks from, or set HOOK_SECRET. {SECRET_HINT}",
                )

    def may_ask_from(self, peer: str | None) -> bool:
        """Whether a request on a connection from ``peer`` can be let in; False only where networks are set."""
        if not self._networks:
            return True
        address = parse_address(peer or "")
        return address is not None and within(address, (*self._networks, *self._proxies))

    def caller(self, peer: str | None, forwarded_for: Sequence[str]) -> Address | None:
        """Who really asks; None when that cannot be told.

        ``forwarded_for`` are the values of all ``X-Forwarded-For`` headers in order. Each proxy appends the address it
        was asked from, so the rightmost one that is no proxy of ours is the caller; what stands left of it is hearsay.
        """
        address = parse_address(peer or "")
        hops = [hop for value in forwarded_for for hop in value.split(",")]
        while address is not None and hops and within(address, self._proxies):
            address = parse_address(hops.pop())
        return address

    def refusal(self, caller: Address | None, offered: Iterable[str], *, by_address: bool = False) -> Refusal | None:
        """None when the caller may ask. ``offered`` are the secrets that came with the request, wherever they stood.

        ``by_address``: the caller asks to be let in for its address alone. That works only where networks are set, and
        never in the place of a secret.
        """
        if self._networks and (caller is None or not within(caller, self._networks)):
            return Refusal.NETWORK
        if not self._secrets:
            return Refusal.NO_NETWORKS if by_address and not self._networks else None
        return None if self._secrets.match(offered) else Refusal.SECRET
