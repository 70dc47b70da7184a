"""What ``doctor`` checks of the database: its schema, what it holds, whether it can be written, and room to grow."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lemmy_safety.cli.checks.check import Check, fault
from lemmy_safety.cli.input.database import has_no_database, shown_name, without_upgrade
from lemmy_safety.cli.output.text import iso, plural
from lemmy_safety.errors import (
    ActionRefused,
    BreakerTripped,
    LedgerError,
    LedgerFull,
    LedgerReadOnly,
    LemmySafetyError,
    ObjectsUnchecked,
    SettingsError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lemmy_safety.ledger import GarbledRequests, Ledger
    from lemmy_safety.settings import Settings

#: With less free space than this next to the database, doctor warns: a row takes about half a KiB, so this is room for
#: about 400,000 more objects.
_LEAST_FREE_MB = 200

#: A pass carries out due actions at once, and the next one the rest: an hour is many passes of a daemon.
_OVERDUE = timedelta(hours=1)

#: An object that could not be read in this many passes in a row needs a person; once or twice may be a server outage.
_MANY_PASSES = 3

#: This many are shown; 'lemmy-safety unreadable' lists all.
_NAMED_FAILING = 3

_HINT_ASKS = (
    "See them with 'lemmy-safety flagged', then for each: 'lemmy-safety review confirm KEY' or 'lemmy-safety review "
    "clear KEY'."
)
_HINT_STUCK = (
    "See why: lemmy-safety flagged. Give the account the right to delete, or end the object lock. Keep false positives: "
    "lemmy-safety review clear KEY. Then: lemmy-safety delete-flagged"
)


def check_database(settings: Settings) -> Iterator[Check]:
    """Schema, what it holds, whether it can be written, and room to grow."""
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy
    from lemmy_safety.ledger import check_locks  # noqa: PLC0415 - SQLAlchemy is heavy

    area = "Database"
    name = shown_name(settings)
    database = wiring.database_file(settings)
    try:
        if has_no_database(settings):
            _check_can_be_made(wiring.database_path(settings))
            check_locks(wiring.database_path(settings))
            yield Check(area=area, name="open", ok=True, detail=f"{name} does not exist yet; the first pass creates it")
        else:
            with without_upgrade(settings) as ledger:
                if database is not None:
                    check_locks(database)
                present, needed = ledger.maintenance.schema_version()
                ledger.maintenance.check_whole()
                if present == needed:
                    ledger.maintenance.check_writable()
                    yield from _unchecked_uploads(ledger.uploads.count_unchecked())
                    yield from _stuck_actions(ledger, settings)
                    yield from _failing_objects(ledger)
                    garbled = ledger.garbled.get()
                    if settings.hook_secret and garbled is None and not ledger.uploads.has_any():
                        yield _never_asked()
                    yield from _garbled_requests(garbled)
            schema = f"at schema {present}" if present == needed else f"will be upgraded to schema {needed}"
            yield Check(area=area, name="open", ok=True, detail=f"{name}, {schema}")
    except LemmySafetyError as error:
        yield fault(area, "open", error)
    if settings.database_url is None:
        yield from _check_space(settings)


def _unchecked_uploads(count: int) -> Iterator[Check]:
    if count:
        detail = f"{count:,} uploads were accepted without a verdict and are not judged yet"
        yield Check(area="Database", name="uploads", ok=None, detail=f"{detail}; run the daemon or --all")


def _never_asked() -> Check:
    # If pict-rs cannot reach the hook, every upload fails, and the hook does not notice.
    return Check(
        area="Database",
        name="uploads",
        ok=None,
        detail="HOOK_SECRET is set, and pict-rs has not asked about any upload yet",
        fix=(
            "If uploads fail with 500 http-client-error, give pict-rs the hook's IP address instead of a host name "
            "(docs/upload-hook.md)."
        ),
    )


def _garbled_requests(known: GarbledRequests | None) -> Iterator[Check]:
    if known is None:
        return
    area, name = "Database", "requests at the upload hook"
    detail = (
        f"{plural(known.total, 'request')} since {iso(known.first_at)} that pict-rs cannot have made so, "
        f"{known.in_a_row:,} in a row, the last at {iso(known.last_at)} ({known.last_what})"
    )
    if not known.too_many:
        yield Check(area=area, name=name, ok=None, detail=detail)
        return
    yield Check(
        area=area,
        name=name,
        ok=False,
        detail=f"{detail}: uploads are not judged",
        fix=(
            "See what is between pict-rs and the hook, and whether this pict-rs is newer than this program "
            '("Garbled requests" in docs/upload-hook.md).'
        ),
        exit_code=SettingsError.exit_code,
    )


def _stuck_actions(ledger: Ledger, settings: Settings) -> Iterator[Check]:
    """Deletions that would otherwise go unnoticed: refused by the storage, repeatedly refused, or never done."""
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy

    stuck = ledger.actions.stuck(due_before=datetime.now(UTC) - _OVERDUE)
    breaker = ledger.breaker.state()
    if breaker.is_tripped:
        message = f"The circuit breaker tripped at {iso(breaker.tripped_at)}: {breaker.reason}."
        yield fault("Database", "circuit breaker", BreakerTripped(message))
    acts = wiring.build_action_plan(settings).flagged is not None and not breaker.is_tripped
    counted = [
        (stuck.failed, "refused by the storage"),
        (stuck.refused_again, "refused again and again as changed, though the bytes are the same"),
        (stuck.overdue if acts else 0, "due for more than an hour and not carried out"),
    ]
    detail = ", ".join(f"{number:,} {words}" for number, words in counted if number)
    if detail:
        yield fault("Database", "actions", ActionRefused(f"Deletions: {detail}.", hint=_HINT_STUCK))
    if stuck.asks:
        waits = f"{plural(stuck.asks, 'flagged picture')} {'waits' if stuck.asks == 1 else 'wait'} for your decision"
        yield Check(area="Database", name="decisions", ok=None, detail=waits, fix=_HINT_ASKS)


def _failing_objects(ledger: Ledger) -> Iterator[Check]:
    """Objects that fail in every pass: nothing in later summaries shows that they are the same ones."""
    failing = ledger.objects.failing(_MANY_PASSES, most=_NAMED_FAILING)
    if failing.number:
        named = "; ".join(f"{one.key!r} in {one.passes:,} ({one.reason})" for one in failing.first)
        more = f"; and {failing.number - len(failing.first):,} more" if failing.number > len(failing.first) else ""
        detail = f"{plural(failing.number, 'object')} could not be checked in {_MANY_PASSES} or more passes in a row"
        yield fault("Database", "objects", ObjectsUnchecked(f"{detail}: {named}{more}."))


def _check_can_be_made(file: Path) -> None:
    folder = file.absolute().parent
    if not folder.is_dir():
        raise LedgerError(
            f"The folder {folder} of the database does not exist.", hint="Create it, or set SQLITE_FILENAME."
        )
    if not os.access(folder, os.W_OK):
        raise LedgerReadOnly(f"The database cannot be made in {folder}: no permission.")


def _check_space(settings: Settings) -> Iterator[Check]:
    folder = settings.sqlite_filename.absolute().parent
    try:
        free_mb = shutil.disk_usage(folder).free // 1_000_000
    except OSError:
        return  # no such folder: an earlier check reported that
    detail = f"{free_mb:,} MB free in {folder}"
    if free_mb >= _LEAST_FREE_MB:
        yield Check(area="Database", name="disk space", ok=True, detail=detail)
    else:
        yield fault("Database", "disk space", LedgerFull(f"Only {detail}."))
