"""The store of objects: what is known of them, and what passes found out. It never touches an object itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, or_, select

from lemmy_safety.ledger.actions.current import ACTING, EARLIER
from lemmy_safety.ledger.database.chunks import chunks
from lemmy_safety.ledger.objects import recording
from lemmy_safety.ledger.objects.lookups import IS_OUTDONE, following_a_flag, outdone_keys
from lemmy_safety.ledger.objects.records import FailingObject, FailingObjects, OnRecord, Standing
from lemmy_safety.ledger.rules import Known, PassTerms, still_valid
from lemmy_safety.ledger.schema.codec import assessment_of, checked_keys, object_of
from lemmy_safety.ledger.schema.conditions import (
    FLAGGED,
    IS_FLAGGED,
    IS_READ_AGAIN,
    IS_REFUSED,
    IS_RETRYABLE,
    IS_UNREADABLE,
)
from lemmy_safety.ledger.schema.storages import among_few, storage_id_of
from lemmy_safety.ledger.schema.tables import images, storages
from lemmy_safety.ledger.schema.values import LEGACY
from lemmy_safety.ledger.verdicts.lookups import verdict_for
from lemmy_safety.records import ItemStatus, Outcome, Review

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lemmy_safety.ledger.actions.records import PendingAction
    from lemmy_safety.ledger.database.database import Database
    from lemmy_safety.ledger.verdicts.records import KnownVerdict
    from lemmy_safety.records import ActionPlan, ItemResult, Ruleset, StoredObject

#: Rows read at a time.
_PAGE = 1000


class Objects:
    """Objects of storages, by key, and verdicts, by bytes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, storage: str, objects: Sequence[StoredObject], ruleset: Ruleset) -> dict[str, Known]:
        """The listed objects that need not be read, by key, with the reason.

        An object is settled if it is unchanged since at least the ruleset's detectors judged it, or since the same
        decoder
        failed to decode it, and no admin asked to check it again (``reviews.read_again``). Other rules alone are not a
        reason to read it again.
        It is pending if it is settled, flagged or undecodable, not cleared by a person, and no action is done or
        under way: ``intend`` knows whether one is wanted. Objects that were gone, acted on, or refused as changed
        are listed again only because they exist: not settled. Legacy rows settle their key in every storage, unless
        they have no verdict. An object recorded as not flagged is not settled while a flag set by the hook stands on
        the
        same bytes. A variant that was not judged is known as long as it is unchanged; ``variants.originals`` tells
        whether its original is still judged clear.
        """
        checked_keys(obj.key for obj in objects)
        with self._database.reading() as connection:
            places = [storage_id_of(connection, name) for name in (storage, LEGACY)]
            places = [place for place in places if place is not None]
            found: dict[str, Known] = {}
            for chunk in chunks(objects):
                listed = {obj.key: obj for obj in chunk}
                query = EARLIER.add_columns(IS_OUTDONE.label("is_outdone")).where(
                    images.c.storage_id.in_(places), images.c.key.in_(list(listed))
                )
                for row in connection.execute(query):
                    before = recording.earlier_row_of(row)
                    answer = still_valid(before, listed[row.key], ruleset)
                    if answer is not None and not row.is_outdone:
                        found[row.key] = answer
        return found

    def verdict_for(self, sha256: str, ruleset: Ruleset | None = None) -> KnownVerdict | None:
        """The latest verdict on these bytes (64 hex digits) that the ruleset allows, from any storage or upload.

        Without a ruleset, any verdict is allowed. A flag that no person has cleared, and that no later judgement by its
        detectors has replaced, wins over every other verdict. If the ruleset does not allow that flag, returns None:
        its
        detectors have to examine the bytes, and ``record`` decides which verdict wins.
        """
        with self._database.reading() as connection:
            return verdict_for(connection, sha256, ruleset)

    def retryable(self, storage: str, limit: int) -> list[str]:
        """Keys that deserve another attempt, at most ``limit`` of each kind.

        The kinds: the last attempt failed for a temporary reason (longest wait first); the object changed before it was
        acted on; the hook flagged its bytes since; it is a variant that was not judged, and its original is flagged
        now; an admin asked for it.

        Leaves out legacy rows: their storage is unknown, so a listing has to find them.
        """
        with self._database.reading() as connection:
            query = (
                select(images.c.key)
                .where(images.c.storage_id == storage_id_of(connection, storage), IS_RETRYABLE)
                .order_by(images.c.checked_at)
                .limit(limit)
            )
            failed = list(connection.execute(query).scalars())
            # An object that changed after its judgement is judged again, however old its modification time is.
            refused = (
                select(images.c.key)
                .select_from(ACTING)
                .where(
                    among_few(storage_id_of(connection, storage)),
                    IS_REFUSED,
                    or_(IS_FLAGGED, IS_UNREADABLE),
                    images.c.status != ItemStatus.GONE,
                )
            )
            asked = select(images.c.key).where(images.c.storage_id == storage_id_of(connection, storage), IS_READ_AGAIN)
            again = [
                key
                for query in (refused, asked)
                for key in connection.execute(query.order_by(images.c.id).limit(limit)).scalars()
            ]
            return list(
                dict.fromkeys(
                    [
                        *failed,
                        *again,
                        *outdone_keys(connection, storage, limit),
                        *following_a_flag(connection, storage, limit),
                    ]
                )
            )

    def failing(self, passes: int, *, most: int) -> FailingObjects:
        """What could not be read or judged in at least this many passes in a row, in all storages; names at most
        ``most``.

        Those that failed most often come first.
        """
        where = (IS_RETRYABLE, images.c.failed_passes >= passes)
        named = (
            select(images.c.key, images.c.reason, images.c.failed_passes)
            .where(*where)
            .order_by(images.c.failed_passes.desc(), images.c.id)
            .limit(most)
        )
        with self._database.reading() as connection:
            number = connection.execute(select(func.count()).select_from(images).where(*where)).scalar_one()
            rows = connection.execute(named).all()
        return FailingObjects(number=number, first=tuple(FailingObject(*row) for row in rows))

    def describe(self, storage: str, key: str) -> StoredObject | None:
        """The object as it was last recorded; None for unknown keys and for legacy rows."""
        checked_keys([key])
        with self._database.reading() as connection:
            query = select(images).where(images.c.storage_id == storage_id_of(connection, storage), images.c.key == key)
            row = connection.execute(query).one_or_none()
        return None if row is None else object_of(row)

    def standing(self, storage: str, key: str) -> Standing | None:
        """What counts for an object of a storage now; None if nothing is recorded about it."""
        checked_keys([key])
        query = select(images.c.status, FLAGGED.label("flagged"), images.c.review)
        with self._database.reading() as connection:
            here = (images.c.storage_id == storage_id_of(connection, storage), images.c.key == key)
            row = connection.execute(query.where(*here)).one_or_none()
        if row is None:
            return None
        return Standing(status=row.status, flagged=bool(row.flagged), cleared=row.review is Review.CLEARED)

    def cleared(self, storage: str, keys: Sequence[str]) -> str | None:
        """The first of these keys of a storage whose object a person cleared; None if there is none."""
        checked_keys(keys)
        with self._database.reading() as connection:
            storage_id = storage_id_of(connection, storage)
            for chunk in chunks(keys):
                query = select(images.c.key).where(
                    images.c.storage_id == storage_id, images.c.key.in_(chunk), images.c.review == Review.CLEARED
                )
                if (found := connection.execute(query.order_by(images.c.key).limit(1)).scalar()) is not None:
                    return str(found)
        return None

    def clear_look_alike(self, storage: str, key: str, *, most_bits: int) -> str | None:
        """The key of an object that looks like this one and is not flagged, or that a person cleared.

        Its PDQ hash differs in ``most_bits`` of 256 at most. None if there is none, or if this object has no PDQ hash.
        Reads the hashes of the whole storage: seconds at a million objects.
        """
        checked_keys([key])
        with self._database.reading() as connection:
            storage_id = storage_id_of(connection, storage)
            mine = connection.execute(
                select(images.c.pdq).where(images.c.storage_id == storage_id, images.c.key == key)
            ).scalar_one_or_none()
            if mine is None:
                return None
            query = select(images.c.key, images.c.pdq).where(
                images.c.storage_id == storage_id,
                images.c.key != key,
                images.c.pdq.is_not(None),
                or_(images.c.outcome != Outcome.FLAGGED, images.c.review == Review.CLEARED),
            )
            bits = int(mine, 16)
            with connection.execute(query.execution_options(yield_per=_PAGE)) as rows:
                return next((row.key for row in rows if (int(row.pdq, 16) ^ bits).bit_count() <= most_bits), None)

    def on_record(self, keys: Sequence[str]) -> dict[str, OnRecord]:
        """What is recorded about keys, in whichever storage they are; of several, the last that was checked.

        Keys of which nothing is recorded are missing.
        """
        checked_keys(keys)
        found: dict[str, OnRecord] = {}
        with self._database.reading() as connection:
            places = connection.execute(select(storages.c.id)).scalars().all()
            for chunk in chunks(keys):
                # With the storages named, their index finds the keys.
                query = select(images).where(images.c.storage_id.in_(places), images.c.key.in_(list(chunk)))
                for row in connection.execute(query.order_by(images.c.checked_at)):
                    found[row.key] = OnRecord(assessment=assessment_of(row), checked_at=row.checked_at)
        return found

    def record(
        self,
        storage: str,
        results: Sequence[ItemResult],
        *,
        run_id: int,
        dry_run: bool,
        plan: ActionPlan,
        decoder: str,
    ) -> list[PendingAction]:
        """Write a batch of results in one transaction; return the actions to carry out now that they are on disk.

        A flagged object gets an intent if the ``plan`` has an action for it and no person cleared its bytes, under this
        key
        or another. So does an undecodable object (unless it broke the decoder), which does not become flagged by that.
        ``dry_run`` is noted in the rows. A new verdict replaces the old one. A result without a verdict keeps an
        earlier
        verdict on the same content, and removes one on other content together with its intent. ``run_id`` is from
        ``passes.start``.

        :raises ValueError: a dry run has a plan to act; a result has a verdict without being CHECKED, or is CHECKED
            without
            one; a result names an original without being VARIANT, or is VARIANT without one.
        """
        checked_keys(result.obj.key for result in results)
        if dry_run and plan:
            raise ValueError(f"a dry run acts on nothing, but its plan is {plan}")
        for result in results:
            if (result.assessment.status is ItemStatus.CHECKED) != (result.assessment.verdict is not None):
                raise ValueError(f"{result.obj.key!r}: a verdict is set exactly when the status is CHECKED")
            if (result.assessment.status is ItemStatus.VARIANT) != (result.variant_of is not None):
                raise ValueError(f"{result.obj.key!r}: an original is named exactly when the status is VARIANT")
        if not results:
            return []
        terms = PassTerms(run_id=run_id, dry_run=dry_run, plan=plan, decoder=decoder)
        with self._database.writing() as connection:
            return recording.record_results(connection, storage, results, terms, now=self._database.now())
