"""Makes a boto3 client for any S3-compatible server: timeouts, retries, region and proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from lemmy_safety.errors import SettingsError
from lemmy_safety.proxies import proxy_for
from lemmy_safety.storage.s3.answers import drop_absurd_fields, drop_absurd_headers
from lemmy_safety.storage.s3.errors import translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Without a configured region, requests are signed for this one; a server in another one names it in its refusal, and
# botocore signs again for that region and remembers it for the bucket.
_FIRST_REGION = "us-east-1"

_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 60


def connect(
    url: str,
    *,
    login: tuple[str | None, str | None, str | None],
    region: str,
    addressing: str,
    connections: int,
    attempts: int,
) -> S3Client:
    """A client that has sent nothing yet. ``url`` comes from ``checked_endpoint``; ``login`` is access key, secret key
    and session token.

    :raises StorageError: LoginRefused if boto3's own places hold no usable login.
    :raises SettingsError: a variable names an unusable proxy.
    """
    proxies = _proxies(url)
    with translated(url):
        config = Config(
            proxies=proxies,
            s3=cast("Any", {"addressing_style": addressing}),
            signature_version="s3v4",
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=connections,
            tcp_keepalive=True,
            # Older S3-compatible servers refuse the newer checksum headers; TLS and ETag make them unnecessary.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        session = boto3.session.Session(*login)
        client = session.client(
            "s3",
            endpoint_url=url,
            region_name=_FIRST_REGION if region == "auto" else region,
            config=config,
        )
    client.meta.events.register("before-parameter-build.s3.HeadBucket", _ask_no_bucket_for_its_region)
    for operation in ("HeadObject", "GetObject"):
        client.meta.events.register(f"before-parse.s3.{operation}", drop_absurd_headers)
    return client


def _proxies(url: str) -> dict[str, str]:
    """Proxies for botocore, which itself notices a faulty proxy variable only during a request, and blames the server.

    botocore ignores ``ALL_PROXY`` and has no SOCKS.
    """
    proxy = proxy_for(url, all_counts=False)
    if proxy is None:
        return {}
    if proxy.speaks_socks:
        raise SettingsError(
            f"{proxy.variable} names a SOCKS proxy, which S3 servers cannot be reached through.", hint=proxy.hint
        )
    return {urlsplit(url).scheme: proxy.url}


def ignore_absurd_entries(client: S3Client) -> None:
    """From now on, drop unparsable fields from listings. This parses listings twice, so do it only when needed."""
    for operation in ("ListObjects", "ListObjectsV2"):
        client.meta.events.register(f"before-parse.s3.{operation}", drop_absurd_fields, unique_id=operation)


def _ask_no_bucket_for_its_region(**_: Any) -> None:
    """Keep botocore from sending HEAD to find the region after a redirect that names none.

    A server that redirects every request (http to https, an apex to www) redirects that HEAD as well, and botocore
    1.44 then calls itself until the stack is full. We never send HeadBucket ourselves, and servers that redirect
    because of a region name it in the refusal.
    """
    raise ClientError({"ResponseMetadata": {"HTTPHeaders": {}}}, "HeadBucket")  # type: ignore[typeddict-item]
