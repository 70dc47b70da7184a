"""What ``doctor`` says a bucket keeps of deleted objects: old versions, locked objects, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.storage.s3 import scripted, storage_on
from support.storage.scripted_s3 import EMPTY_LISTING

from lemmy_safety.storage.probing import probe

if TYPE_CHECKING:
    from support.servers.s3 import S3Server
    from support.storage.scripted_s3 import Request

    from lemmy_safety.storage.s3 import S3Storage

pytestmark = pytest.mark.external_service

NEVER = "<VersioningConfiguration/>"
LOCKED = "<ObjectLockEnabled>Enabled</ObjectLockEnabled>"


def connect_detail(storage: S3Storage) -> str:
    step = next(iter(probe(storage)))
    assert step.ok
    return step.detail


def versioning(inside: str) -> str:
    return f"<VersioningConfiguration>{inside}</VersioningConfiguration>"


def locking(inside: str) -> str:
    return f"<ObjectLockConfiguration>{inside}</ObjectLockConfiguration>"


def detail_of(versions: str | tuple[int, str], locks: str | tuple[int, str]) -> str:
    """What is said of a server with these answers, in XML or refused; real servers here cannot give them."""

    def script(request: Request) -> None:
        query = request.path.partition("?")[2]
        answer = versions if query == "versioning" else locks if query == "object-lock" else None
        if answer is None:
            request.send(200, EMPTY_LISTING)
        elif isinstance(answer, tuple):
            request.refuse(*answer)
        else:
            request.send(200, f'<?xml version="1.0"?>{answer}'.encode())

    with scripted(script) as (storage, _):
        return connect_detail(storage)


@pytest.mark.parametrize(
    ("versions", "locks", "said", "unsaid"),
    [
        (NEVER, (404, "ObjectLockConfigurationNotFoundError"), ["keeps no old versions"], ["lock", "suspended"]),
        (versioning("<Status>Enabled</Status>"), (501, "NotImplemented"), ["versioning is on", "pictrs"], ["keeps no"]),
        (
            versioning("<Status>Suspended</Status><MfaDelete>Enabled</MfaDelete>"),
            (403, "AccessDenied"),
            ["suspended", "versions from before stay", "MFA delete"],
            ["keeps no", "object lock"],
        ),
        (versioning("<Status>Enabled</Status><MfaDelete>Disabled</MfaDelete>"), NEVER, ["is on"], ["MFA"]),
        ((501, "NotImplemented"), (501, "NotImplemented"), ["unknown", "does not say"], ["keeps no", "s3:Get"]),
        ((403, "AccessDenied"), (403, "AccessDenied"), ["unknown", "s3:GetBucketVersioning"], ["keeps no"]),
        (versioning("<Status>Paused</Status>"), NEVER, ["'Paused'", "may stay"], ["keeps no"]),
        (
            versioning("<Status>Enabled</Status>"),
            locking(
                LOCKED + "<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>30</Days></DefaultRetention></Rule>"
            ),
            ["versioning is on", "object lock is on", "30 days", "compliance"],
            ["keeps no"],
        ),
        (
            versioning("<Status>Enabled</Status>"),
            locking(
                LOCKED + "<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Years>2</Years></DefaultRetention></Rule>"
            ),
            ["2 years", "governance"],
            [],
        ),
        (versioning("<Status>Enabled</Status>"), locking(LOCKED), ["without a default retention"], ["days"]),
    ],
)
def test_what_stays_after_a_deletion_is_said_truly(versions, locks, said, unsaid) -> None:
    """Each answer of a server, also a refusal, which is no promise that nothing stays."""
    detail = detail_of(versions, locks)
    assert [words for words in said if words not in detail] == []
    assert [words for words in unsaid if words in detail] == []


@pytest.mark.parametrize(("status", "words"), [("Enabled", "versioning is on"), ("Suspended", "is suspended")])
def test_old_versions_of_a_real_server_are_named_with_how_to_remove_them(
    s3_server: S3Server, s3_bucket: str, status: str, words: str
) -> None:
    """The object is deleted, and its bytes are still there under the version that the command lists."""
    client = s3_server.client()
    client.put_bucket_versioning(Bucket=s3_bucket, VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket=s3_bucket, Key="a", Body=b"old bytes")
    client.put_bucket_versioning(Bucket=s3_bucket, VersioningConfiguration={"Status": status})
    with storage_on(s3_server, s3_bucket) as storage:
        detail = connect_detail(storage)
        assert storage.delete("a") is True
    assert words in detail
    assert f"aws s3api list-object-versions --bucket {s3_bucket}" in detail
    (version,) = client.list_object_versions(Bucket=s3_bucket, Prefix="a")["Versions"]
    kept = client.get_object(Bucket=s3_bucket, Key="a", VersionId=version["VersionId"])["Body"].read()
    assert kept == b"old bytes"
