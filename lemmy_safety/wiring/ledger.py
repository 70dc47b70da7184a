"""The database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.errors import LemmySafetyError
from lemmy_safety.home import expanded
from lemmy_safety.wiring.storage import build_storage

if TYPE_CHECKING:
    from pathlib import Path

    from lemmy_safety.ledger import Ledger
    from lemmy_safety.settings import Settings


def database_path(settings: Settings) -> Path:
    """The file in SQLITE_FILENAME; whether it is used depends on DATABASE_URL.

    :raises SettingsError: it begins with ``~``, and this account has no home folder.
    """
    return expanded(settings.sqlite_filename, what="SQLITE_FILENAME")


def ledger_url(settings: Settings) -> str:
    """The database's SQLAlchemy URL; may hold a password."""
    from lemmy_safety.ledger import sqlite_url

    return settings.database_url or sqlite_url(database_path(settings))


def database_file(settings: Settings) -> Path | None:
    """The database's file; None for a server, and for an invalid URL: opening that reports the error."""
    from lemmy_safety.ledger import parse_url, sqlite_file

    try:
        return sqlite_file(parse_url(ledger_url(settings)))
    except LemmySafetyError:
        return None


def open_ledger(settings: Settings) -> Ledger:
    """The ledger, its schema brought up to date; a context manager.

    :raises LedgerError: too new, locked, read-only, full, damaged, unreachable.
    """
    from lemmy_safety.ledger import open_ledger as open_it

    return open_it(ledger_url(settings))


def open_upload_ledger(settings: Settings) -> Ledger:
    """For ``serve`` and ``worker``: the ledger, with the storage of the calling pict-rs, if the settings name it.

    :raises LedgerError: as ``open_ledger``.
    """
    ledger = open_ledger(settings)
    ledger.uploads.stored_in = _storage_name(settings)
    return ledger


def _storage_name(settings: Settings) -> str:
    from lemmy_safety.ledger import UNSAID

    try:
        return build_storage(settings).name
    except LemmySafetyError:  # missing or unusable: judging uploads does not need it
        return UNSAID
