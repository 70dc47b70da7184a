"""A real pict-rs on any repository and storage, its admin, and what lies in the storage, seen around our code."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.admin import Admin
from support.scan.passes import keys_in
from support.servers.origin import Origin, origin
from support.servers.pictrs_process import API_KEY, Pictrs, bucket_store
from support.servers.pictrs_repos import pictrs_with
from support.servers.pictrs_watch import PictrsWatch, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.servers.s3 import S3Server

#: Repository (``pictrs_repos.REPOS``) and storage.
COMBINATIONS = (
    ("0.5-sled", "folder"),
    ("0.5-postgres", "folder"),
    ("0.5-sled", "bucket"),
    ("0.5-postgres", "bucket"),
    ("0.6-fjall", "folder"),
    ("0.6-fjall", "bucket"),
)

#: pict-rs writes it into a bucket; it is no picture.
_HEALTH_CHECK = "health-check"


@dataclass
class Instance:
    """``stored`` gives the keys in the storage, ``read`` the bytes of one. ``admin`` reaches pict-rs by ``watch``."""

    pictrs: Pictrs
    database: str | None
    admin: Admin
    watch: PictrsWatch
    origin: Origin
    stored: Callable[[], set[str]]
    read: Callable[[str], bytes]

    def everything_said(self) -> dict[str, str]:
        """What our processes wrote: logs, and the database; not what lies in pict-rs's own folder."""
        own = [path for path in self.admin.folder.iterdir() if path.is_file()]
        return {path.name: path.read_bytes().decode("latin-1") for path in own}

    def let_an_hour_pass(self) -> None:
        """As if all files had been there for an hour: what was written just now may be incomplete, and waits."""
        for path in self.pictrs.files.rglob("*"):
            moment = path.stat().st_mtime - 3600
            os.utime(path, (moment, moment))

    def listed(self) -> list[str]:
        """The SHA-256 of every picture that pict-rs lists, in one page."""
        answer = self.pictrs.internal("GET", "hashes", limit="1000000")
        assert answer.status_code == 200, answer.text
        page = answer.json()["page"]
        assert page.get("next") is None, "there is another page"
        return [entry["hex"][:64] for entry in page["hashes"]]


@contextmanager
def instance_on(
    kind: str,
    store: str,
    folder: Path,
    *,
    s3: S3Server | None = None,
    settings: dict[str, str] | None = None,
    with_database: bool = True,
) -> Iterator[Instance]:
    """Start a pict-rs of this kind in ``folder``; ``store`` is "folder", or "bucket" for a new bucket of ``s3``.

    Without ``with_database``, the admin does not tell us pict-rs's database.
    """
    with ExitStack() as stack:
        local = {"PICTRS__CLIENT__ALLOW_LOCAL_CONNECTIONS": "true", **(settings or {})}
        env = {"LEMMY_SAFETY_DETECTORS": "hashes", "PICTRS_API_KEY": API_KEY}
        if store == "bucket":
            assert s3 is not None
            bucket, (user, secret), client = s3.new_bucket(), s3.OWNER, s3.client()
            variables = bucket_store(s3.endpoint, bucket, user, secret)
            env |= {
                "OBJECT_STORAGE_ENDPOINT": s3.endpoint,
                "PICTRS_BUCKET": bucket,
                "AWS_ACCESS_KEY_ID": user,
                "AWS_SECRET_ACCESS_KEY": secret,
            }

            def stored() -> set[str]:
                pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
                return {item["Key"] for page in pages for item in page.get("Contents", ())} - {_HEALTH_CHECK}

            def read(key: str) -> bytes:
                return client.get_object(Bucket=bucket, Key=key)["Body"].read()

            pictrs, database = stack.enter_context(pictrs_with(kind, folder / "pictrs", local, store=variables))
        else:
            pictrs, database = stack.enter_context(pictrs_with(kind, folder / "pictrs", local))
            env["PICTRS_FILES_DIRECTORY"] = str(pictrs.files)

            def stored() -> set[str]:
                return keys_in(pictrs.files)

            def read(key: str) -> bytes:
                return (pictrs.files / key).read_bytes()

        seen = stack.enter_context(watch(pictrs.port))
        env["PICTRS_URL"] = seen.url
        if database is not None and with_database:
            env["PICTRS_DATABASE_URL"] = database
        folder.mkdir(exist_ok=True)
        offered = stack.enter_context(origin())
        yield Instance(pictrs, database, Admin(folder, env), seen, offered, stored, read)
