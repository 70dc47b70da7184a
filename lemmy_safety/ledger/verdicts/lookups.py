"""The one place that answers what is known about bytes, from storages and from the hook together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import case, select

from lemmy_safety.ledger.schema.codec import info_of, pdq_of
from lemmy_safety.ledger.schema.tables import images, reviews, uploads
from lemmy_safety.ledger.schema.values import FROM_UPLOAD
from lemmy_safety.ledger.verdicts import flags
from lemmy_safety.ledger.verdicts.records import known_verdict_of
from lemmy_safety.records import Outcome, Review

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from lemmy_safety.ledger.schema.codec import AnyRow
    from lemmy_safety.ledger.verdicts.records import KnownVerdict
    from lemmy_safety.records import Ruleset


def verdict_for(connection: Connection, sha256: str, ruleset: Ruleset | None) -> KnownVerdict | None:
    """The verdict on these bytes; a flag that stands wins over all others, as described in ``flags.py``.

    - A flag that the ruleset allows is the answer. If only other flags stand, nothing is known: the ruleset's detectors
      have to examine the bytes. The ledger then receives their result, and the flag wins or is replaced.
    - Without a flag, the latest verdict that the ruleset allows. Without a ruleset, every verdict is allowed.
    """
    review = connection.execute(select(reviews.c.review).where(reviews.c.sha256 == sha256)).scalar_one_or_none()
    stand = flags.still_valid(connection, [sha256], cleared=True).get(sha256, [])
    if review is Review.CLEARED:
        known = _latest(connection, sha256, stand, ruleset)
        return None if known is None else replace(known, review=review)
    if stand:
        flag = _fitting(stand, ruleset)
        return None if flag is None else _described(connection, replace(flag, review=review or Review.NONE))
    known = _latest(connection, sha256, None, ruleset)
    return None if known is None else replace(known, review=review or known.review)


def _latest(
    connection: Connection,
    sha256: str,
    stand: list[KnownVerdict] | None,
    ruleset: Ruleset | None,
) -> KnownVerdict | None:
    """The latest verdict that the ruleset allows; with ``stand`` a flagged one too.

    Without ``stand``, flagged rows are those whose flag was replaced elsewhere: they are no longer valid.
    """
    found: list[tuple[datetime, KnownVerdict]] = []
    query = (
        select(images)
        .where(images.c.sha256 == sha256, images.c.outcome.is_not(None))
        .order_by(images.c.checked_at.desc(), images.c.id.desc())
    )
    if ruleset is not None:
        query = query.where(images.c.rules_version == ruleset.rules_version)
    if stand is None:
        query = query.where(images.c.outcome != Outcome.FLAGGED)
    # Portable SQL cannot compare sets; nearly always the first row answers.
    with connection.execute(query) as rows:
        for row in rows:
            if _is_allowed(row, ruleset):
                found.append((row.checked_at, known_verdict_of(row, key=row.key, review=row.review)))
                break
    at_the_door = select(uploads).where(uploads.c.sha256 == sha256)
    if stand is None:
        at_the_door = at_the_door.where(uploads.c.outcome != Outcome.FLAGGED)
    uploaded = connection.execute(at_the_door).one_or_none()
    if uploaded is not None and _is_allowed(uploaded, ruleset):
        known = known_verdict_of(uploaded, key=FROM_UPLOAD, review=Review.NONE)
        found.append((uploaded.judged_at or uploaded.last_at, known))
    if found:
        return max(found, key=lambda one: one[0])[1]
    return _fitting(stand or [], ruleset)


def _is_allowed(row: AnyRow, ruleset: Ruleset | None) -> bool:
    """Whether an object or upload has a verdict, and the ruleset (if any) allows it."""
    return row.outcome is not None and (ruleset is None or ruleset.allows(row.detectors, row.rules_version))


def _fitting(stand: Sequence[KnownVerdict], ruleset: Ruleset | None) -> KnownVerdict | None:
    """The latest flag that the ruleset allows."""
    fitting = (
        flag
        for flag in stand
        if ruleset is None or ruleset.allows(flag.assessment.detectors, flag.verdict.rules_version)
    )
    return next(fitting, None)


def _described(connection: Connection, flag: KnownVerdict) -> KnownVerdict:
    """The flag with what else is known of its bytes: as they were when flagged, if a row still has that."""
    for table in (images, uploads):
        is_flagged_first = case((table.c.outcome == Outcome.FLAGGED, 0), else_=1)
        query = select(table).where(table.c.sha256 == flag.assessment.sha256, table.c.width.is_not(None))
        row = connection.execute(query.order_by(is_flagged_first).limit(1)).first()
        if row is not None:
            return replace(flag, assessment=replace(flag.assessment, pdq=pdq_of(row), info=info_of(row)))
    return flag
