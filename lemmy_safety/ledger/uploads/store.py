"""The store of uploads; ``recording.py`` has the rules that merge them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, or_, select

from lemmy_safety.ledger.database.chunks import chunks
from lemmy_safety.ledger.schema.conditions import IS_UNCHECKED
from lemmy_safety.ledger.schema.storages import ensure_storage, storage_id_of
from lemmy_safety.ledger.schema.tables import storages, uploads
from lemmy_safety.ledger.schema.values import UploadAnswer
from lemmy_safety.ledger.uploads import lost, recording
from lemmy_safety.ledger.uploads.lookups import count_unchecked
from lemmy_safety.ledger.uploads.records import UploadResult, UploadRow, upload_row_of
from lemmy_safety.records import ItemStatus, Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime

    from lemmy_safety.ledger.database.database import Database
    from lemmy_safety.ledger.uploads.records import UploadResult
    from lemmy_safety.records import StoredObject

#: Rows of ``unchecked`` read at a time.
PAGE = 500

_FULL_ROW = select(uploads, storages.c.name.label("storage")).join(
    storages, uploads.c.found_storage_id == storages.c.id, isouter=True
)


class Uploads:
    """What the hook was asked about, by the SHA-256 of the bytes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: The storage of the asking pict-rs; ``UNSAID`` if the hook's settings name none, None if no hook runs.
        self.stored_in: str | None = None

    def record(self, results: Sequence[UploadResult]) -> None:
        """Record in one transaction what became of uploads, in the order given; on disk when it returns.

        A later attempt without a verdict never erases one. An upload accepted unchecked stays on the list of
        ``unchecked`` until its bytes are judged, by the hook or in a storage. A result without ``answer`` is a later
        judgement,
        and is ignored for bytes that were never asked about. The same bytes may occur twice in one call.

        :raises ValueError: a verdict without being CHECKED, CHECKED without one, or a verdict on unchecked bytes.
        """
        for result in results:
            assessment = result.assessment
            if assessment is None:
                continue
            if (assessment.status is ItemStatus.CHECKED) != (assessment.verdict is not None):
                raise ValueError(f"{result.sha256}: a verdict is set exactly when the status is CHECKED")
            if result.answer is UploadAnswer.UNCHECKED and assessment.verdict is not None:
                raise ValueError(f"{result.sha256}: what has a verdict is not unchecked")
        if not results:
            return
        with self._database.writing() as connection:
            storage_id = None if self.stored_in is None else ensure_storage(connection, self.stored_in)
            recording.record(connection, results, self._database.now(), storage_id=storage_id)

    def get(self, sha256: str) -> UploadRow | None:
        """What is known of these bytes as an upload."""
        with self._database.reading() as connection:
            row = connection.execute(_FULL_ROW.where(uploads.c.sha256 == sha256)).one_or_none()
        return None if row is None else upload_row_of(row)

    def has_any(self) -> bool:
        """Whether pict-rs has ever asked about an upload that is on record."""
        with self._database.reading() as connection:
            return connection.execute(select(uploads.c.sha256).limit(1)).first() is not None

    def unchecked(self, *, after: tuple[datetime, str] | None = None) -> Iterator[UploadRow]:
        """Uploads accepted without a verdict and not judged since; the longest wait comes first.

        Lazily, a page at a time; rows written meanwhile may or may not appear. ``after`` is the ``first_at`` and
        ``sha256`` of
        the last one of an earlier reading.
        """
        query = _FULL_ROW.where(IS_UNCHECKED).order_by(uploads.c.first_at, uploads.c.sha256).limit(PAGE)
        while True:
            here = query
            if after is not None:
                at, sha256 = after
                is_later = and_(uploads.c.first_at == at, uploads.c.sha256 > sha256)
                here = query.where(or_(uploads.c.first_at > at, is_later))
            with self._database.reading() as connection:
                page = [upload_row_of(row) for row in connection.execute(here)]
            yield from page
            if len(page) < PAGE:
                return
            after = (page[-1].first_at, page[-1].sha256)

    def count_unchecked(self) -> int:
        """How many uploads ``unchecked`` lists."""
        with self._database.reading() as connection:
            return count_unchecked(connection)

    def unchecked_since(self) -> datetime | None:
        """When the oldest of them came; None if there are none."""
        query = select(uploads.c.first_at).where(IS_UNCHECKED).order_by(uploads.c.first_at).limit(1)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one_or_none()

    def unchecked_among(self, objects: Sequence[StoredObject]) -> frozenset[str]:
        """Keys of listed objects that may be an upload accepted without a verdict, because they have the same size."""
        found: set[str] = set()
        with self._database.reading() as connection:
            for chunk in chunks(objects):
                query = select(uploads.c.size).where(IS_UNCHECKED, uploads.c.size.in_({obj.size for obj in chunk}))
                sizes = set(connection.execute(query).scalars())
                found.update(obj.key for obj in chunk if obj.size in sizes)
        return frozenset(found)

    def belonging_to(self, storage: str) -> set[str]:
        """The SHA-256 of unchecked uploads that are proved to be in ``storage``, or gone, if all of it was read.

        The proof: the hook's settings named it, or it alone has received later uploads; ``lost.py`` has the
        details. Leaves out those with the size of an object there whose bytes were never read.
        """
        with self._database.reading() as connection:
            storage_id = storage_id_of(connection, storage)
            return set() if storage_id is None else lost.belonging(connection, storage_id)

    def settle_lost(self, before: datetime, *, storage: str, among: Collection[str] | None = None) -> int:
        """Remove unchecked uploads older than ``before`` from the list, after a complete pass over ``storage`` found
        none of them.

        Their uploader or pict-rs has removed them meanwhile. ``among`` are the hashes of those that belong to
        ``storage``; without it, the caller vouches for all. Returns how many.
        """
        reason = f"not met when {storage} was read whole"
        with self._database.writing() as connection:
            return lost.settle(connection, before, reason, self._database.now(), among=among)

    def forget(self, before: datetime) -> int:
        """Remove uploads that were accepted with a verdict and not asked about since ``before``; returns how many.

        Refused, flagged and unchecked uploads are kept.
        """
        is_fine = (
            uploads.c.answer == UploadAnswer.ACCEPTED,
            uploads.c.outcome.in_([Outcome.CLEAR, Outcome.BORDERLINE]),
        )
        with self._database.writing() as connection:
            return connection.execute(uploads.delete().where(uploads.c.last_at < before, *is_fine)).rowcount
