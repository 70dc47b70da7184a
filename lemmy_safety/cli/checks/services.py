"""What prevents the hook, the relay or a worker from starting: all errors at once, for them and for ``doctor``.

Each check is about one setting, or one combination, and independent of the others. An error begins with the name of its
setting as the admin wrote it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from lemmy_safety.errors import SettingsError
from lemmy_safety.proxies import proxy_for
from lemmy_safety.url_logins import without_login

if TYPE_CHECKING:
    from lemmy_safety.settings import Settings

#: Maps an option's field name to its name as the admin wrote it.
Written: TypeAlias = Callable[[str], str]
#: Raises ``SettingsError`` for an error.
ServiceCheck: TypeAlias = Callable[["Settings", Written], None]


def faults(checks: Iterable[ServiceCheck], settings: Settings, written: Written) -> Iterator[SettingsError]:
    """The errors that the checks find."""
    for check in checks:
        try:
            check(settings, written)
        except SettingsError as error:
            yield error


def refuse_faults(checks: Iterable[ServiceCheck], settings: Settings, written: Written) -> None:
    """:raises SettingsError: lists everything that the checks find, one error per line."""
    found = list(faults(checks, settings, written))
    if len(found) == 1:
        raise found[0]
    if found:
        raise SettingsError("\n".join(map(str, found)), hint="")


def _secret(settings: Settings, written: Written) -> None:
    from lemmy_safety.access.secrets import check_secret  # noqa: PLC0415

    if settings.hook_secret:
        check_secret(settings.hook_secret, what=written("hook_secret"))


def _networks(settings: Settings, written: Written) -> None:
    from lemmy_safety.access.addresses import parse_networks  # noqa: PLC0415

    parse_networks(settings.hook_networks, what=written("hook_networks"))


def _proxies(settings: Settings, written: Written) -> None:
    from lemmy_safety.access.addresses import parse_networks  # noqa: PLC0415

    parse_networks(settings.hook_trusted_proxies, what=written("hook_trusted_proxies"))


def _addresses(settings: Settings, written: Written) -> None:
    from lemmy_safety.web.listening import check_host, hosts_in  # noqa: PLC0415

    _each(hosts_in(settings.hook_host), check_host, what=written("hook_host"))


def _strangers(settings: Settings, written: Written) -> None:
    """Skipped if a single value is already wrong, which the checks above report."""
    from lemmy_safety.web.listening import check_host, hosts_in  # noqa: PLC0415
    from lemmy_safety.wiring import build_access  # noqa: PLC0415

    try:
        rules = build_access(settings)
    except SettingsError:
        return
    hosts = []
    for host in hosts_in(settings.hook_host):
        with contextlib.suppress(SettingsError):
            check_host(host)
            hosts.append(host)
    _each(hosts, rules.check_bind, what=written("hook_host"))


def _each(hosts: Iterable[str], check: Callable[[str], None], *, what: str) -> None:
    """:raises SettingsError: lists every host that the check refuses."""
    found: list[SettingsError] = []
    for host in hosts:
        try:
            check(host)
        except SettingsError as error:
            found.append(error)
    if found:
        hints = dict.fromkeys(error.hint for error in found)
        raise SettingsError(f"{what}: {' '.join(error.message for error in found)}", hint=" ".join(hints))


def key_of_workers(settings: Settings, written: Written) -> None:
    """The key that workers send, if it is set."""
    from lemmy_safety.access.secrets import check_key  # noqa: PLC0415

    if settings.relay_apikey is not None:
        check_key(settings.relay_apikey, what=written("relay_apikey"))


def _has_key_of_workers(settings: Settings, _written: Written) -> None:
    from lemmy_safety.access.secrets import check_key  # noqa: PLC0415

    if settings.relay_apikey is None:
        check_key("")


def _has_server(settings: Settings, _written: Written) -> None:
    if not settings.pictrs_safety_url:
        raise SettingsError("No server is set.", hint="Give --url, or set PICTRS_SAFETY_URL.")


def _server(settings: Settings, written: Written) -> None:
    from lemmy_safety.relay.worker.server_address import checked_url  # noqa: PLC0415

    if settings.pictrs_safety_url:
        checked_url(settings.pictrs_safety_url, what=written("pictrs_safety_url"))


def _proxy_to_server(settings: Settings, _written: Written) -> None:
    from lemmy_safety.relay.worker.server_address import checked_url  # noqa: PLC0415

    url = None
    with contextlib.suppress(SettingsError):  # the check above reports it
        url = checked_url(settings.pictrs_safety_url or "")
    if url:
        proxy_for(url)


def _key_of_server(settings: Settings, _written: Written) -> None:
    if settings.pictrs_safety_url and not settings.pictrs_safety_apikey:
        raise SettingsError(
            f"There is no key for {without_login(settings.pictrs_safety_url)}.", hint="Set PICTRS_SAFETY_APIKEY."
        )


HOOK_CHECKS: tuple[ServiceCheck, ...] = (_secret, _networks, _proxies, _addresses, _strangers)
RELAY_CHECKS: tuple[ServiceCheck, ...] = (*HOOK_CHECKS, key_of_workers, _has_key_of_workers)
WORKER_CHECKS: tuple[ServiceCheck, ...] = (_has_server, _server, _proxy_to_server, _key_of_server)
