"""Flags on bytes, wherever the bytes were found: in a storage, or as an upload. Works on the caller's connection.

The rule: a flag that no person has cleared, and that no later judgement by the same detectors has replaced, wins over
every other verdict on these bytes. A judgement by at least the flag's detectors replaces it; other detectors do not
matter. A reused verdict is not a judgement: no detector examined the bytes.

A flag in domains that this version does not know is from another version. It is kept, and has no effect here.

"Later" means later in the ledger: judgements come from several machines, whose clocks differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import or_, select

from lemmy_safety.ledger.database.chunks import chunks
from lemmy_safety.ledger.schema.codec import verdict_columns
from lemmy_safety.ledger.schema.conditions import may_act
from lemmy_safety.ledger.schema.tables import flags, reviews
from lemmy_safety.ledger.schema.values import FROM_UPLOAD
from lemmy_safety.ledger.verdicts.records import flag_of
from lemmy_safety.records import Review

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection

    from lemmy_safety.ledger.verdicts.records import KnownVerdict
    from lemmy_safety.records import Assessment

#: A person has reviewed these bytes and decided that they are flagged wrongly.
_IS_CLEARED = (
    select(reviews.c.sha256).where(reviews.c.sha256 == flags.c.sha256, reviews.c.review == Review.CLEARED).exists()
)
_IS_OF_THE_DOOR = (flags.c.found_under == FROM_UPLOAD, may_act(flags.c.outcomes), ~_IS_CLEARED)


def still_valid(
    connection: Connection, hashes: Iterable[str], *, cleared: bool = False
) -> dict[str, list[KnownVerdict]]:
    """The valid flags of these bytes, by SHA-256, the latest first; ``cleared`` adds those a person cleared."""
    found: dict[str, list[KnownVerdict]] = {}
    for chunk in chunks(sorted(set(hashes))):
        query = select(flags).where(flags.c.sha256.in_(chunk), may_act(flags.c.outcomes)).order_by(flags.c.id.desc())
        if not cleared:
            query = query.where(~_IS_CLEARED)
        for row in connection.execute(query):
            found.setdefault(row.sha256, []).append(flag_of(row))
    return found


def stands_at_the_door(sha256: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a flag set by the hook stands on the bytes in this column of a query's other table."""
    return select(flags.c.id).where(flags.c.sha256 == sha256, *_IS_OF_THE_DOOR).exists()


def flagged_at_the_door(connection: Connection) -> list[str]:
    """The SHA-256 of all bytes on which a flag set by the hook stands. One walk over the flags, which are few."""
    query = select(flags.c.sha256).where(*_IS_OF_THE_DOOR).distinct()
    return list(connection.execute(query.order_by(flags.c.sha256)).scalars())


def overruling(stand: Sequence[KnownVerdict], detectors: frozenset[str], *, looked: bool = True) -> KnownVerdict | None:
    """The flag that wins over a verdict by these detectors; None if that verdict replaces all flags.

    ``looked``: whether they examined the bytes; False if an earlier verdict was reused.
    """
    return next((flag for flag in stand if not looked or not flag.assessment.detectors <= detectors), None)


class Judgements:
    """What one transaction finds out about some bytes: stores the flags, and decides which of them win."""

    def __init__(self, connection: Connection, hashes: Iterable[str], now: datetime) -> None:
        self._connection = connection
        self._now = now
        self._still_valid: dict[str, list[KnownVerdict]] = still_valid(connection, hashes, cleared=True)
        self._cleared = _cleared(connection, self._still_valid)

    def note(self, assessment: Assessment, *, key: str, looked: bool) -> KnownVerdict | None:
        """Record what an assessment means for the flags; returns the flag that wins over its verdict, if any.

        ``key`` is where the bytes were found; ``looked`` means that its detectors examined them, not reused a verdict.
        """
        sha256 = assessment.sha256
        if assessment.verdict is None or sha256 is None:
            return None
        stand = self._still_valid.get(sha256, [])
        if looked:
            replaced = [flag for flag in stand if flag.assessment.detectors <= assessment.detectors]
            if replaced:
                self._drop(sha256, replaced)
            stand = [flag for flag in stand if flag not in replaced]
            if assessment.flagged:
                stand = [self._add(sha256, assessment, key), *stand]
            self._still_valid[sha256] = stand
        if assessment.flagged or sha256 in self._cleared:
            return None
        return overruling(stand, assessment.detectors, looked=looked)

    def _drop(self, sha256: str, replaced: Sequence[KnownVerdict]) -> None:
        which = or_(*(flags.c.detectors == flag.assessment.detectors for flag in replaced))
        self._connection.execute(flags.delete().where(flags.c.sha256 == sha256, may_act(flags.c.outcomes), which))

    def _add(self, sha256: str, assessment: Assessment, key: str) -> KnownVerdict:
        values = {name: value for name, value in verdict_columns(assessment).items() if name != "outcome"}
        row = {**values, "sha256": sha256, "found_under": key, "at": self._now}
        self._connection.execute(flags.insert().values(row))
        return self._just_added(sha256)

    def _just_added(self, sha256: str) -> KnownVerdict:
        query = select(flags).where(flags.c.sha256 == sha256).order_by(flags.c.id.desc()).limit(1)
        return flag_of(self._connection.execute(query).one())


def _cleared(connection: Connection, stand: Mapping[str, object]) -> set[str]:
    cleared: set[str] = set()
    for chunk in chunks(sorted(stand)):
        query = select(reviews.c.sha256).where(reviews.c.sha256.in_(chunk), reviews.c.review == Review.CLEARED)
        cleared.update(connection.execute(query).scalars())
    return cleared
