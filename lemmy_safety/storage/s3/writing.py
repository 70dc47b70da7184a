"""Puts one new object, with a single request that the server refuses if the key is taken (``If-None-Match: *``).

Servers without that header answer 400 or 501, or ignore it; then only the request just before shows that the key
is free. https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import http
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from lemmy_safety.errors import StorageError
from lemmy_safety.storage.s3.errors import translated

if TYPE_CHECKING:
    from lemmy_safety.storage.learned import Learned
    from lemmy_safety.storage.s3.requests import BucketRequests

_NOT_KNOWN = (http.HTTPStatus.BAD_REQUEST, http.HTTPStatus.NOT_IMPLEMENTED)


def put_new(requests: BucketRequests, key: str, data: bytes, learned: Learned) -> None:
    """Whole or not at all: a server does not keep a body that is shorter than announced.

    :raises StorageError: ObjectChanged, the key is taken.
    """
    try:
        with translated(requests.place, key):
            requests.client.put_object(Bucket=requests.bucket, Key=key, Body=data, IfNoneMatch="*")
    except StorageError as error:
        if not _is_about_the_header(error):
            raise
    else:
        return
    with translated(requests.place, key):
        requests.client.put_object(Bucket=requests.bucket, Key=key, Body=data)
    learned.note(
        requests.place,
        "knows no If-None-Match: that the key of a new object is free is asked right before it is written, not in the same "
        "moment.",
    )


def _is_about_the_header(error: StorageError) -> bool:
    cause = error.__cause__
    if not isinstance(cause, ClientError):
        return False
    return cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in _NOT_KNOWN
