"""The database that the settings name, for commands that work on what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.errors import LedgerError

if TYPE_CHECKING:
    from pathlib import Path

    from lemmy_safety.cli.input.invocation import Invocation
    from lemmy_safety.ledger import Ledger
    from lemmy_safety.settings import Settings


def existing_ledger(settings: Settings) -> Ledger:
    """The ledger for commands that only read: a mistyped file name must not create an empty database.

    :raises LedgerError: it does not exist yet, or cannot be opened.
    """
    from lemmy_safety import wiring  # noqa: PLC0415 - SQLAlchemy is heavy

    check_exists(settings)
    return wiring.open_ledger(settings)


def without_upgrade(settings: Settings) -> Ledger:
    """The ledger without any upgrade: to read a database that may be of another version.

    :raises LedgerError: it does not exist yet, cannot be opened, or is of a newer version.
    """
    from lemmy_safety import wiring  # noqa: PLC0415 - as above
    from lemmy_safety.ledger import open_ledger  # noqa: PLC0415

    check_exists(settings)
    return open_ledger(wiring.ledger_url(settings), upgrade=False)


def storage_filter(invocation: Invocation) -> str | None:
    """The name in the ledger of the storage that ``--storage`` chooses, or None without the flag."""
    if "storage" not in invocation.flags:
        return None
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy

    return wiring.build_storage(invocation.settings()).name


def shown_name(settings: Settings) -> str:
    """The database's name in messages; a URL may hold a password and is not repeated."""
    return "the database of DATABASE_URL" if settings.database_url else str(settings.sqlite_filename)


def is_missing(file: Path) -> bool:
    """Whether the file does not exist. An inaccessible one counts as existing: opening it reports the error."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def has_no_database(settings: Settings) -> bool:
    """Whether the SQLite file does not exist yet. A database of DATABASE_URL counts as existing.

    :raises LedgerError: the file's name is unusable.
    """
    from lemmy_safety import wiring  # noqa: PLC0415 - as above

    wiring.ledger_url(settings)  # an unusable name is an error: a first pass could not create it
    return settings.database_url is None and is_missing(wiring.database_path(settings))


def check_exists(settings: Settings) -> None:
    from lemmy_safety import wiring  # noqa: PLC0415 - as above

    if has_no_database(settings):
        raise LedgerError(
            f"There is no database {wiring.database_path(settings).absolute()} yet.",
            hint=(
                "If there was a pass before, correct SQLITE_FILENAME, or go to the folder in which it ran. "
                "If not, begin with a dry run: lemmy-safety --all --dry-run"
            ),
        )
