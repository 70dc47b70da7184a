"""The running pict-rs and its database."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from lemmy_safety.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.pictrs.api.client import PictrsApi
    from lemmy_safety.pictrs.pictures.by_api import ApiFinder
    from lemmy_safety.pictrs.pictures.by_database import DatabaseFinder
    from lemmy_safety.pictrs.repo.database import Repo
    from lemmy_safety.settings import Settings


def build_pictrs_api(settings: Settings) -> PictrsApi:
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
    return Api(url=settings.pictrs_url, key=settings.pictrs_api_key)


def build_pictrs_repo(settings: Settings) -> Repo:
    """pict-rs's database; a context manager.

    :raises SettingsError: PICTRS_DATABASE_URL is missing, or not the URL of a PostgreSQL database.
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
    return Database(url)


@contextmanager
def open_finder(settings: Settings) -> Iterator[DatabaseFinder | ApiFinder]:
    """What tells an object's picture: pict-rs's database if it is set, else its HTTP interface.

    :raises SettingsError: neither is set, or what is set is impossible.
    """
    from lemmy_safety.pictrs.pictures.by_api import ApiFinder as ByApi
    from lemmy_safety.pictrs.pictures.by_database import DatabaseFinder as ByDatabase

    with ExitStack() as stack:
        if settings.pictrs_database_url:
            yield ByDatabase(stack.enter_context(build_pictrs_repo(settings)))
        else:
            yield ByApi(stack.enter_context(build_pictrs_api(settings)))
