"""The S3 storage on a real server, and on one that answers as a test has it answer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.storage.scripted_s3 import EMPTY_LISTING, Request, scripted_s3

from lemmy_safety.storage.s3 import S3Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.servers.s3 import S3Server

KEY, SECRET = "AKIAEXAMPLE", "vErYsEcReT"
WHEN = {"Last-Modified": "Fri, 20 Nov 2026 10:00:00 GMT"}


def storage_on(server: S3Server, bucket: str, **how) -> S3Storage:
    user, secret = server.OWNER
    return S3Storage(server.endpoint, bucket, **{"access_key": user, "secret_key": secret, "attempts": 2, **how})


@contextmanager
def scripted(script: Callable[[Request], None], **how) -> Iterator[tuple[S3Storage, list[tuple[str, str]]]]:
    """An open storage on a server that answers object requests by ``script``, and what was asked since it was open."""

    def answer(request: Request) -> None:
        if opening:
            request.send(200, EMPTY_LISTING)
        else:
            script(request)

    opening = True
    with scripted_s3(answer) as server:
        how = {"access_key": KEY, "secret_key": SECRET, "attempts": 1, **how}
        with S3Storage(server.endpoint, "pictrs", **how) as storage:
            opening = False
            server.seen.clear()
            yield storage, server.seen
