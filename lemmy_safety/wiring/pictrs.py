"""The running pict-rs and its database, directly or through the SSH server."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from lemmy_safety.errors import SettingsError
from lemmy_safety.server_urls import checked_url
from lemmy_safety.url_logins import without_login
from lemmy_safety.wiring.storage import build_tunnel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.pictrs.api.client import PictrsApi
    from lemmy_safety.pictrs.pictures.by_api import ApiFinder
    from lemmy_safety.pictrs.pictures.by_database import DatabaseFinder
    from lemmy_safety.pictrs.pictures.variants import VariantFinder
    from lemmy_safety.pictrs.repo.database import Repo
    from lemmy_safety.settings import Settings
    from lemmy_safety.wiring.storage import AskPassphrase

_HTTP_PORTS: Final = {"http": 80, "https": 443}
_POSTGRESQL_PORT: Final = 5432


def build_pictrs_api(settings: Settings, *, ask_passphrase: AskPassphrase | None = None) -> PictrsApi:
    """pict-rs's HTTP interface; a context manager.

    :raises SettingsError: PICTRS_URL or PICTRS_API_KEY is missing or impossible.
    """
    from lemmy_safety.pictrs.api.client import PictrsApi as Api

    if not settings.pictrs_url:
        raise SettingsError(
            "The address of pict-rs is not set.", hint="Set PICTRS_URL and PICTRS_API_KEY (docs/operations.md)."
        )
    if not settings.pictrs_api_key:
        raise SettingsError(
            "There is no key for the pict-rs at PICTRS_URL.",
            hint="Set PICTRS_API_KEY to the value that pict-rs has as PICTRS__SERVER__API_KEY or server.api_key.",
        )
    tunnel = None
    if settings.pictrs_via_ssh:
        url = checked_url(settings.pictrs_url, what="PICTRS_URL", example="http://127.0.0.1:8080")
        place = urlsplit(url)
        target = (place.hostname or "", place.port or _HTTP_PORTS[place.scheme])
        tunnel = build_tunnel(settings, target, what=f"pict-rs at {url}", ask_passphrase=ask_passphrase)
    return Api(url=settings.pictrs_url, key=settings.pictrs_api_key, tunnel=tunnel)


def build_pictrs_repo(settings: Settings, *, ask_passphrase: AskPassphrase | None = None) -> Repo:
    """pict-rs's database; a context manager.

    :raises SettingsError: PICTRS_DATABASE_URL is missing, or not the URL of a PostgreSQL database that can be reached.
    :raises MissingExtra: the driver is not installed.
    """
    from lemmy_safety.ledger import is_sqlite, parse_url
    from lemmy_safety.pictrs.repo.database import Repo as Database

    if not settings.pictrs_database_url:
        raise SettingsError("PICTRS_DATABASE_URL is not set.")
    url = parse_url(settings.pictrs_database_url, what="PICTRS_DATABASE_URL")
    if is_sqlite(url):
        raise SettingsError(
            "PICTRS_DATABASE_URL is not the URL of a PostgreSQL database.",
            hint="Leave it out if pict-rs keeps its data in a folder (sled, fjall).",
        )
    if not settings.pictrs_via_ssh:
        return Database(url)
    if not url.host or "," in url.host or {"host", "hostaddr", "port", "service"} & url.query.keys():
        raise SettingsError(
            "PICTRS_DATABASE_URL does not name one host, which PICTRS_VIA_SSH needs.",
            hint="Write it as postgresql://user:password@127.0.0.1:5432/pictrs, with host and port as the SSH server sees "
            "them; a socket in a folder cannot be reached.",
        )
    target = (url.host, url.port or _POSTGRESQL_PORT)
    what = f"pict-rs's database {without_login(f'{url.host}/{url.database}')}"
    return Database(url, build_tunnel(settings, target, what=what, ask_passphrase=ask_passphrase))


@contextmanager
def open_finder(
    settings: Settings, *, ask_passphrase: AskPassphrase | None = None
) -> Iterator[DatabaseFinder | ApiFinder]:
    """What tells an object's picture: pict-rs's database if it is set, else its HTTP interface.

    :raises SettingsError: neither is set, or what is set is impossible.
    """
    from lemmy_safety.pictrs.pictures.by_api import ApiFinder as ByApi
    from lemmy_safety.pictrs.pictures.by_database import DatabaseFinder as ByDatabase

    with ExitStack() as stack:
        if settings.pictrs_database_url:
            yield ByDatabase(stack.enter_context(build_pictrs_repo(settings, ask_passphrase=ask_passphrase)))
        else:
            yield ByApi(stack.enter_context(build_pictrs_api(settings, ask_passphrase=ask_passphrase)))


@contextmanager
def open_variant_finder(
    settings: Settings, *, ask_passphrase: AskPassphrase | None = None
) -> Iterator[VariantFinder | None]:
    """What tells a pass which objects are variants; None if each size of a picture is to be judged.

    :raises SettingsError: PICTRS_DATABASE_URL is impossible.
    :raises MissingExtra: the driver is not installed.
    """
    from lemmy_safety.pictrs.pictures.variants import VariantFinder as Finder

    if not settings.pictrs_database_url or settings.skip_sizes == "off":
        yield None
        return
    with build_pictrs_repo(settings, ask_passphrase=ask_passphrase) as repo:
        yield Finder(repo, only_exact=settings.skip_sizes == "exact")
