"""The requests to one bucket, each with its errors translated: listings and requests about one object.

``describing`` combines several requests about one object, ``transfers`` reads its bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lemmy_safety.errors import ObjectGone, StorageError
from lemmy_safety.storage.s3.answers import page_of
from lemmy_safety.storage.s3.client import ignore_absurd_entries
from lemmy_safety.storage.s3.errors import ANSWER_ERRORS, translated
from lemmy_safety.storage.s3.key_coding import KeyCoding

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client

    from lemmy_safety.storage.learned import Learned
    from lemmy_safety.storage.s3.answers import Page


class BucketRequests:
    """One bucket and its client. Safe from any thread while it is open."""

    def __init__(self, connect: Callable[[], S3Client], bucket: str, place: str, learned: Learned) -> None:
        """``place`` names bucket and server in messages."""
        self._connect = connect
        self._connected: S3Client | None = None
        self.bucket = bucket
        self.place = place
        self._keys = KeyCoding(self.exists, place, learned)

    def open(self) -> None:
        """Make the client; sends nothing. Opening twice is fine.

        :raises StorageError: as ``client.connect``.
        """
        if self._connected is None:
            self._connected = self._connect()

    def close(self) -> None:
        if self._connected is not None:
            self._connected.close()
            self._connected = None

    @property
    def client(self) -> S3Client:
        if self._connected is None:
            raise StorageError(f"{self.place} was not opened.", hint="")
        return self._connected

    def page(self, **request: Any) -> Page:
        page = self._asked(request)
        if page.lost:
            again = self._asked(request)
            page = min(page, again, key=lambda answer: answer.lost)
        return self._keys.decoded(page)

    def _asked(self, request: dict[str, Any]) -> Page:
        with translated(self.place):
            try:
                answer = self._listed(request)
            except ANSWER_ERRORS:
                # One malformed field of one entry costs the whole page, unless it is dropped.
                ignore_absurd_entries(self.client)
                answer = self._listed(request)
            page = page_of(answer)
        if page is None:
            raise StorageError(
                f"{self.place}: the answer is not one of an S3 server.",
                hint="Check OBJECT_STORAGE_ENDPOINT; it is the S3 server's URL, not that of a web site.",
            )
        return page

    def _listed(self, request: dict[str, Any]) -> Any:
        """``Marker`` continues a listing in version 1 of ListObjects."""
        if "Marker" in request:
            return self.client.list_objects(Bucket=self.bucket, **request)
        return self.client.list_objects_v2(Bucket=self.bucket, **request)

    def exists(self, key: str) -> bool:
        try:
            with translated(self.place, key):
                self.client.head_object(Bucket=self.bucket, Key=key)
        except ObjectGone:
            return False
        return True
