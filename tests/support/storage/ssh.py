"""What several tests of the SSH storage ask of it, and do to its server."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from lemmy_safety.storage.probing import probe

if TYPE_CHECKING:
    from support.servers.sshd import SshBackend

    from lemmy_safety.storage.ssh import SshStorage
    from lemmy_safety.storage.ssh.sftp import SftpSession

BOTH_WAYS = pytest.mark.parametrize("backend", ["ssh", "sftp"], indirect=True)
LISTED_BY = {"ssh": "listed by find", "sftp": "listed by SFTP"}


def keys_of(storage: SshStorage, **how) -> list[str]:
    return sorted(obj.key for obj in storage.list(**how))


def connect_detail(storage: SshStorage) -> str:
    return next(step.detail for step in probe(storage) if step.name == "connect")


def links(storage: SshStorage) -> list:
    """The connections that are open."""
    return storage._pool()._links


def hold_sessions(storage: SshStorage, count: int) -> None:
    """Use this many sessions at the same time."""
    barrier = threading.Barrier(count)

    def hold(session: SftpSession) -> bytes:
        barrier.wait(60)
        return session.realpath(b".")

    with ThreadPoolExecutor(count) as pool:
        homes = list(pool.map(lambda _: storage._pool().run(hold), range(count)))
    assert len(set(homes)) == 1


def use_find(backend: SshBackend, script: str) -> None:
    """Have the server run this shell script for find, except where it is only tried out."""
    tools = backend.server.folder / "tools"
    tools.mkdir()
    find = tools / "find"
    find.write_text(f'#!/bin/sh\ncase "$*" in *maxdepth*) exec /usr/bin/find "$@";; esac\n{script}\n')
    find.chmod(0o755)
    backend.server.stop()
    backend.server.environment["PATH"] = f"{tools}:/usr/bin:/bin"
    backend.server.start()
