"""The sockets that a service listens on: several addresses, names with several, and both families for ``::``."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import socket
from typing import TYPE_CHECKING

from lemmy_safety.errors import SettingsError
from lemmy_safety.foreign import foreign

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

log = logging.getLogger(__name__)

_ALL_IPV4 = "0.0.0.0"  # noqa: S104 - compared with
_ALL_IPV6 = "::"

#: No such address, or no such family of addresses, on this machine.
_ABSENT = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

_BACKLOG = 2048


def hosts_in(text: str) -> tuple[str, ...]:
    """Addresses or names, separated by commas; IPv6 with or without brackets.

    :raises SettingsError: the list is empty.
    """
    hosts = tuple(part.strip().removeprefix("[").removesuffix("]") for part in text.split(",") if part.strip())
    if not hosts:
        raise SettingsError("HOOK_HOST names no address.", hint="HOOK_HOST=127.0.0.1 is this machine alone.")
    return hosts


def check_host(host: str) -> None:
    """Check that this machine can listen on ``host``, tried on a free port.

    :raises SettingsError: it has no such address, or may not use it.
    """
    with listeners([host], 0):
        pass


@contextlib.contextmanager
def listeners(hosts: Sequence[str], port: int) -> Iterator[list[socket.socket]]:
    """Listening sockets on every address of every host; ``::`` accepts IPv4 as well if the system supports it.

    Port 0 means a free port, a different one for each address.

    :raises SettingsError: a host has no address here, or one is taken or may not be used.
    """
    with contextlib.ExitStack() as stack:
        made: dict[tuple[object, ...], socket.socket] = {}
        for host in hosts:
            both = _is(host, _ALL_IPV6) and not any(_is(other, _ALL_IPV4) for other in hosts)
            if both and not socket.has_dualstack_ipv6():
                log.warning("HOOK_HOST=:: takes only IPv6 on this system; HOOK_HOST=::,0.0.0.0 takes both")
                both = False
            for address, listener in _of_host(host, port, both=both, known=made).items():
                made[address] = stack.enter_context(listener)
        yield list(made.values())


def _of_host(
    host: str, port: int, *, both: bool, known: dict[tuple[object, ...], socket.socket]
) -> dict[tuple[object, ...], socket.socket]:
    where = f"{host} port {port}" if port else host
    made: dict[tuple[object, ...], socket.socket] = {}
    found = False
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            if address in known or address in made:
                found = True
                continue
            try:
                made[address] = socket.create_server(
                    address, family=family, backlog=_BACKLOG, dualstack_ipv6=both and family == socket.AF_INET6
                )
            except OSError as error:
                # "localhost" resolves to ::1 even without IPv6.
                if error.errno not in _ABSENT:
                    raise
    except OSError as error:
        for listener in made.values():
            listener.close()
        hint = (
            "Set HOOK_HOST to addresses of this machine, such as 127.0.0.1. The port belongs in HOOK_PORT."
            if isinstance(error, socket.gaierror)
            else "Choose another port, or stop the program that has it."
        )
        raise SettingsError(f"Cannot listen on {where}: {foreign(error.strerror or error)}.", hint=hint) from error
    if not made and not found:
        hint = (
            "HOOK_HOST=0.0.0.0 is every IPv4 address." if ":" in host else "HOOK_HOST=127.0.0.1 is this machine alone."
        )
        raise SettingsError(f"Cannot listen on {where}: this machine has no such address.", hint=hint)
    return made


def _is(host: str, address: str) -> bool:
    try:
        return ipaddress.ip_address(host) == ipaddress.ip_address(address)
    except ValueError:
        return False
