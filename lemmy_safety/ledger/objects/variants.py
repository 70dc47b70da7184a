"""Variants, which pict-rs made of an original, and whether the verdict on that original is enough for them.

Only a clear verdict is. Nothing of it is copied to the variant, so that each pass that asks here sees what became of the
original since: flagged, judged by other detectors, gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, not_, or_, select

from lemmy_safety.ledger.actions.current import EARLIER
from lemmy_safety.ledger.database.chunks import chunks
from lemmy_safety.ledger.objects.lookups import IS_OUTDONE
from lemmy_safety.ledger.objects.recording import earlier_row_of
from lemmy_safety.ledger.objects.records import OriginalOnRecord
from lemmy_safety.ledger.rules import still_valid
from lemmy_safety.ledger.schema.codec import checked_keys
from lemmy_safety.ledger.schema.conditions import IS_VARIANT
from lemmy_safety.ledger.schema.storages import storage_id_of
from lemmy_safety.ledger.schema.tables import images
from lemmy_safety.ledger.schema.values import Origin
from lemmy_safety.records import ItemStatus, Outcome, Review

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lemmy_safety.ledger.database.database import Database
    from lemmy_safety.ledger.schema.codec import AnyRow
    from lemmy_safety.records import Ruleset

#: What is on record about the object itself does not speak against it: it was clear, or it was never read.
_WAS_CLEAR = and_(images.c.status == ItemStatus.CHECKED, images.c.outcome == Outcome.CLEAR)
_NOTHING_AGAINST = and_(or_(IS_VARIANT, _WAS_CLEAR), images.c.action_id.is_(None))


class Variants:
    """Queries for passes that judge a picture once, not at every size."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def with_a_past(self, storage: str, keys: Sequence[str]) -> set[str]:
        """Of these keys, those that are judged themselves whatever their original is: they were flagged, borderline or
        undecodable, or an action was wanted.
        """
        checked_keys(keys)
        found: set[str] = set()
        with self._database.reading() as connection:
            here = storage_id_of(connection, storage)
            for chunk in chunks(keys):
                query = select(images.c.key).where(
                    images.c.storage_id == here, images.c.key.in_(chunk), not_(_NOTHING_AGAINST)
                )
                found.update(connection.execute(query).scalars())
        return found

    def originals(self, storage: str, keys: Sequence[str], ruleset: Ruleset) -> dict[str, OriginalOnRecord]:
        """The originals among these keys that are judged by at least the ruleset's detectors, or cannot be decoded.

        Missing are those that a pass has to read first, those that are gone or were acted on, and those that only the
        legacy tool has seen.
        """
        checked_keys(keys)
        found: dict[str, OriginalOnRecord] = {}
        with self._database.reading() as connection:
            here = storage_id_of(connection, storage)
            for chunk in chunks(keys):
                query = EARLIER.add_columns(
                    images.c.width,
                    images.c.height,
                    images.c.frame_count,
                    images.c.anomalies,
                    IS_OUTDONE.label("is_outdone"),
                ).where(images.c.storage_id == here, images.c.key.in_(chunk))
                for row in connection.execute(query):
                    before = earlier_row_of(row)
                    if before.obj is None or before.origin is Origin.LEGACY or row.is_outdone:
                        continue
                    if before.status is ItemStatus.VARIANT or still_valid(before, before.obj, ruleset) is None:
                        continue
                    found[row.key] = OriginalOnRecord(
                        obj=before.obj,
                        run_id=row.run_id,
                        is_enough=_is_enough(row),
                        longer_side=None if row.width is None else max(row.width, row.height),
                    )
        return found


def _is_enough(row: AnyRow) -> bool:
    """Whether the verdict on an original says enough about its variants.

    A still picture without any anomaly: a variant of another file may show what no detector has seen of it, such as a
    frame between two that were checked.
    """
    is_clear = row.outcome is Outcome.CLEAR or (row.outcome is not None and row.review is Review.CLEARED)
    return row.status is ItemStatus.CHECKED and is_clear and row.frame_count == 1 and not row.anomalies
