"""A real sshd with a store in it: by a shell and find unless a test asks for another account."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.servers.sshd import open_backend

from lemmy_safety.storage.ssh import connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers.sshd import SshBackend

    from lemmy_safety.storage.ssh import SshStorage


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[SshBackend]:
    with open_backend(getattr(request, "param", "ssh")) as place:
        yield place


@pytest.fixture
def storage(backend: SshBackend) -> Iterator[SshStorage]:
    with backend.storage() as opened:
        yield opened


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried at once."""
    monkeypatch.setattr(connection, "RETRY_DELAYS_S", (0.0, 0.0))
