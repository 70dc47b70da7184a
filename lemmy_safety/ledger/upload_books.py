"""The part of the ledger that is about uploads; what its rules are for stands in ``uploads.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.ledger import garbled, upload_lookups, uploads
from lemmy_safety.ledger.database import Database
from lemmy_safety.ledger.rows import UploadAnswer
from lemmy_safety.ledger.storages import ensure_storage, storage_id_of
from lemmy_safety.records import ItemStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime

    from lemmy_safety.ledger.rows import GarbledRequests, UploadResult, UploadRow
    from lemmy_safety.records import StoredObject


class UploadBooks(Database):
    """What was asked at the door, by its bytes."""

    #: The storage of the pict-rs that asks at the door; ``UNSAID`` where a hook's settings name none.
    uploads_are_stored_in: str | None = None

    def record_uploads(self, results: Sequence[UploadResult]) -> None:
        """Write in one transaction what became of uploads.

        A verdict is never lost to a later attempt without one. What was accepted unchecked stays on the list of
        ``unchecked_uploads`` until its bytes are judged: here, or by ``record``. A result without ``answer`` is a
        judgement that came later, and says nothing about bytes that were never asked about.

        :raises ValueError: a verdict without being CHECKED, CHECKED without one, or one on what was not checked.
        """
        for result in results:
            if (result.status is ItemStatus.CHECKED) != (result.verdict is not None):
                raise ValueError(f"{result.sha256}: a verdict is set exactly when the status is CHECKED")
            if result.answer is UploadAnswer.UNCHECKED and result.verdict is not None:
                raise ValueError(f"{result.sha256}: what has a verdict is not unchecked")
        if not results:
            return
        with self.writing() as connection:
            storage = self.uploads_are_stored_in
            storage_id = None if storage is None else ensure_storage(connection, storage)
            uploads.record_uploads(connection, results, self.now(), storage_id=storage_id)

    def upload(self, sha256: str) -> UploadRow | None:
        """What is known of these bytes as an upload."""
        with self.reading() as connection:
            return upload_lookups.upload(connection, sha256)

    def unchecked_uploads(self, *, after: tuple[datetime, str] | None = None) -> Iterator[UploadRow]:
        """Uploads accepted without a verdict and not judged since, the one that waits longest first; lazily, as ``flagged``.

        ``after`` are ``first_at`` and ``sha256`` of the last one of an earlier reading.
        """
        while True:
            with self.reading() as connection:
                page = upload_lookups.unchecked_page(connection, after)
            yield from page
            if len(page) < upload_lookups.PAGE:
                return
            after = (page[-1].first_at, page[-1].sha256)

    def count_unchecked_uploads(self) -> int:
        """How many ``unchecked_uploads`` lists."""
        with self.reading() as connection:
            return upload_lookups.count_unchecked(connection)

    def has_uploads(self) -> bool:
        """Whether pict-rs has ever asked about an upload that is on record."""
        with self.reading() as connection:
            return upload_lookups.has_any(connection)

    def unchecked_since(self) -> datetime | None:
        """When the one came that waits longest; None when none does."""
        with self.reading() as connection:
            return upload_lookups.unchecked_since(connection)

    def unchecked_among(self, objects: Sequence[StoredObject]) -> frozenset[str]:
        """Keys of listed objects that may be an upload accepted without a verdict, because their size is the same."""
        with self.reading() as connection:
            return upload_lookups.unchecked_among(connection, objects)

    def uploads_belonging_to(self, storage: str) -> set[str]:
        """The SHA-256 of unchecked uploads that are proved to be in ``storage``, or gone, if all of it was read.

        Proof is that the hook's settings named it, or that it alone has received later uploads of the door; ``uploads.py``
        has the details. Left out are those of the size of an object there whose bytes were never had.
        """
        with self.reading() as connection:
            storage_id = storage_id_of(connection, storage)
            return set() if storage_id is None else uploads.belonging(connection, storage_id)

    def settle_lost_uploads(self, before: datetime, *, storage: str, among: Collection[str] | None = None) -> int:
        """Take unchecked uploads older than ``before`` off the list, after a complete pass over ``storage`` met none of them.

        They were removed meanwhile, by their uploader or by pict-rs. ``among`` are the hashes of those that belong to
        ``storage``; without, the caller vouches for all. Returns how many.
        """
        with self.writing() as connection:
            reason = f"not met when {storage} was read whole"
            return uploads.settle_lost(connection, before, reason, self.now(), among=among)

    def forget_uploads(self, before: datetime) -> int:
        """Drop uploads that were accepted with a verdict and not asked about since ``before``; how many those were.

        What was refused, flagged or let in unchecked is kept.
        """
        with self.writing() as connection:
            return uploads.forget(connection, before)

    def count_garbled_requests(self, what: str, *, added: int, in_a_row: int) -> None:
        """Note requests that pict-rs cannot have made so; ``what`` was wrong with the last one."""
        with self.writing() as connection:
            garbled.count(connection, what, added=added, in_a_row=in_a_row, now=self.now())

    def end_garbled_row(self) -> None:
        """Note that a request was understood; writes only where some before it were not."""
        known = self.garbled_requests()
        if known is not None and known.in_a_row:
            with self.writing() as connection:
                garbled.end_row(connection)

    def garbled_requests(self) -> GarbledRequests | None:
        """What is known of such requests; None when there was none yet."""
        with self.reading() as connection:
            return garbled.read(connection)
