"""The five kinds of place the storage contract is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.storage.backends import LocalBackend, SwiftBackend, VersitygwBackend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.storage.backends import StorageBackend

    from lemmy_safety.storage.base import Storage

_S3 = {"swift": SwiftBackend, "versitygw": VersitygwBackend}
_SERVER = pytest.mark.external_service


@pytest.fixture(
    params=["local", *(pytest.param(kind, marks=_SERVER) for kind in (*_S3, "ssh", "sftp"))],
)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StorageBackend]:
    """An empty place, with ways to fill, look at and break it that go around our code."""
    if request.param == "local":
        root = tmp_path / "files"
        root.mkdir()
        yield LocalBackend(root)
    elif request.param in _S3:
        server = request.getfixturevalue(request.param)
        yield _S3[request.param](server, server.new_bucket())
    else:
        from support.servers.sshd import open_backend  # noqa: PLC0415 - paramiko, only for those who need it

        with open_backend(request.param) as place:
            yield place


@pytest.fixture
def storage(backend: StorageBackend) -> Iterator[Storage]:
    """Our storage on that place, open."""
    with backend.storage() as opened:
        yield opened
