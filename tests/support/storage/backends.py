"""What the storage conformance suite needs of a place besides our own code: to fill it, look at it and break it."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lemmy_safety.storage.local import LocalStorage
from lemmy_safety.storage.names import from_key

if TYPE_CHECKING:
    from datetime import datetime

    from support.servers.s3 import S3Server

    from lemmy_safety.storage.base import Storage


WITH_CONTROL_SIGNS = "control\x01\x07\x1b\x7f.jpg"


class StorageBackend(Protocol):
    """One empty place under test. Everything here goes around our code.

    A backend whose file names are bytes may also have ``put_raw_name(name: bytes, data: bytes) -> None``.
    """

    label: str
    scheme: str  # which of our storages it is, as names of storages begin
    keeps_mtime: bool  # put() can set the time of modification
    can_forbid: bool  # forbid() works here
    has_server: bool  # break_off() and come_back() work here
    has_etag: bool
    unlisted: frozenset[str]  # keys that it holds, and cannot name in a listing

    def storage(self) -> Storage:
        """A new storage on this place, not yet opened."""

    def put(self, key: str, data: bytes, modified_at: datetime | None = None) -> None: ...

    def exists(self, key: str) -> bool: ...

    def forbid(self, key: str) -> None:
        """From now on ``storage()`` gives an account that may list, but may neither read nor delete this object."""

    def break_off(self) -> None:
        """Kill the server."""

    def come_back(self) -> None:
        """Start it again with the same data at the same address."""


def _permissions_bind_us() -> bool:
    """Whether a file's permissions keep this process out; root and Windows do not care."""
    with tempfile.TemporaryDirectory() as folder:
        closed = Path(folder, "closed")
        closed.touch()
        closed.chmod(0)
        try:
            closed.read_bytes()
        except PermissionError:
            return True
        return False


class LocalBackend:
    label = scheme = "local"
    keeps_mtime = True
    can_forbid = _permissions_bind_us()
    has_server = False
    has_etag = False
    unlisted: frozenset[str] = frozenset()

    def __init__(self, root: Path) -> None:
        self.root = root

    def storage(self) -> LocalStorage:
        return LocalStorage(self.root)

    def put(self, key: str, data: bytes, modified_at: datetime | None = None) -> None:
        self.put_raw_name(from_key(key), data)
        if modified_at is not None:
            os.utime(self._path(key), (modified_at.timestamp(), modified_at.timestamp()))

    def put_raw_name(self, name: bytes, data: bytes) -> None:
        path = self.root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def exists(self, key: str) -> bool:
        return os.path.lexists(self._path(key))

    def forbid(self, key: str) -> None:
        path = self._path(key)
        path.chmod(0)
        path.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)

    def break_off(self) -> None:
        raise NotImplementedError

    def come_back(self) -> None:
        raise NotImplementedError

    def _path(self, key: str) -> Path:
        return self.root / os.fsdecode(from_key(key))


class S3Backend:
    """A fresh bucket. ``page_size`` keeps paging tests small."""

    scheme = "s3"
    keeps_mtime = False
    can_forbid = True
    has_server = True
    has_etag = True
    unlisted: frozenset[str] = frozenset()

    def __init__(self, server: S3Server, bucket: str) -> None:
        self.server = server
        self.bucket = bucket
        self._client: Any = server.client()
        self._as_reader = False

    def storage(self) -> Storage:
        from lemmy_safety.storage.s3 import S3Storage  # noqa: PLC0415 - boto3 takes half a second to import

        user, secret = self.server.READER if self._as_reader else self.server.OWNER
        return S3Storage(
            self.server.endpoint, self.bucket, access_key=user, secret_key=secret, page_size=100, attempts=2
        )

    def put(self, key: str, data: bytes, modified_at: datetime | None = None) -> None:  # noqa: ARG002 - S3 sets it
        self._client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def exists(self, key: str) -> bool:
        listed = self._client.list_objects_v2(Bucket=self.bucket, Prefix=key, MaxKeys=1)
        return any(item["Key"] == key for item in listed.get("Contents", ()))

    def forbid(self, key: str) -> None:
        self._give_reader_all_but(key)
        self._as_reader = True

    def _give_reader_all_but(self, key: str) -> None:
        raise NotImplementedError

    def break_off(self) -> None:
        self.server.kill()

    def come_back(self) -> None:
        self.server.start()


class SwiftBackend(S3Backend):
    label = "swift"

    def _give_reader_all_but(self, key: str) -> None:
        grants = {"GrantRead": 'id="test:reader"', "GrantFullControl": 'id="test:tester"'}
        self._client.put_bucket_acl(Bucket=self.bucket, **grants)
        for item in self._client.list_objects_v2(Bucket=self.bucket)["Contents"]:
            if item["Key"] != key:
                self._client.put_object_acl(Bucket=self.bucket, Key=item["Key"], **grants)


class VersitygwBackend(S3Backend):
    """Its listings are not url-encoded, whatever is asked for, and XML has no way to write control characters."""

    label = "versitygw"
    unlisted = frozenset({WITH_CONTROL_SIGNS})

    def _give_reader_all_but(self, key: str) -> None:
        reader = {"AWS": [self.server.READER[0]]}
        bucket = f"arn:aws:s3:::{self.bucket}"
        policy = [
            {"Effect": "Allow", "Principal": reader, "Action": ["s3:ListBucket"], "Resource": bucket},
            {"Effect": "Allow", "Principal": reader, "Action": ["s3:GetObject"], "Resource": f"{bucket}/*"},
            {"Effect": "Deny", "Principal": reader, "Action": ["s3:GetObject"], "Resource": f"{bucket}/{key}"},
        ]
        self._client.put_bucket_policy(
            Bucket=self.bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": policy})
        )
