"""What a bucket keeps of an object after its deletion, in words for ``doctor``: old versions, and locked objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.errors import AccessDenied, StorageError
from lemmy_safety.storage.s3.errors import translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SEE = (
    "see them: aws s3api list-object-versions --bucket {bucket}; remove them: a lifecycle rule with "
    "NoncurrentVersionExpiration, or aws s3api delete-object with --version-id"
)


def versions_kept(client: S3Client, bucket: str, place: str) -> str:
    """Whether old versions stay. A bucket with suspended versioning keeps all that it had until then.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html
    """
    try:
        with translated(place):
            answer = client.get_bucket_versioning(Bucket=bucket)
    except AccessDenied:
        return "whether it keeps old versions is unknown: this key has no right to ask (s3:GetBucketVersioning)"
    except StorageError as error:
        return f"whether it keeps old versions is unknown: the server does not say ({error.message})"
    # A server may answer something that the protocol does not know.
    status, see = str(answer.get("Status", "")), _SEE.format(bucket=bucket)
    if not status:
        return "it keeps no old versions"
    protected = " (only with MFA: MFA delete is on)" if answer.get("MFADelete") == "Enabled" else ""
    if status == "Enabled":
        return f"versioning is on: what is deleted stays as an old version until it is removed{protected}; {see}"
    if status == "Suspended":
        return (
            "versioning is suspended: what is deleted now is gone, but versions from before stay, also of objects that "
            f"are deleted here, until they are removed{protected}; {see}"
        )
    return f"versioning is {status!r}, which this program does not know: old versions may stay; {see}"


def locks_kept(client: S3Client, bucket: str, place: str) -> str:
    """Whether the bucket locks objects against deletion; empty if it does not, or if it cannot be asked."""
    try:
        with translated(place):
            answer = client.get_object_lock_configuration(Bucket=bucket)
    except StorageError:
        return ""  # most servers know no locks, and a deletion that a lock refuses is reported anyway
    settings = answer.get("ObjectLockConfiguration") or {}
    if str(settings.get("ObjectLockEnabled")) != "Enabled":
        return ""
    rule = (settings.get("Rule") or {}).get("DefaultRetention") or {}
    if not rule:
        return "object lock is on, without a default retention: only objects that were locked one by one stay"
    length = f"{rule['Days']} days" if rule.get("Days") else f"{rule.get('Years', '?')} years"
    return (
        f"object lock is on, with a default retention of {length} ({str(rule.get('Mode', 'unknown mode')).lower()}): the "
        "bytes of what is deleted stay that long"
    )
