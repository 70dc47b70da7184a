"""Many threads share connections, and never a session."""

from __future__ import annotations

import random
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support.servers.sshd import open_backend
from support.storage.ssh import hold_sessions, links

from lemmy_safety.errors import StorageError
from lemmy_safety.storage.ssh.sftp_wire import SftpWire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers.sshd import SshBackend

    from lemmy_safety.storage.ssh import SshStorage

pytestmark = pytest.mark.external_service


def test_small_packets_are_sent_at_once(storage: SshStorage) -> None:
    """TCP_NODELAY is set: without it a file takes 17 ms on loopback instead of 1."""
    (link,) = links(storage)
    assert link.transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


@contextmanager
def watched_sessions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Counts sessions that are used, and overlapping uses of one session."""
    busy: dict[int, int] = {}
    seen: Counter[str] = Counter()
    lock = threading.Lock()
    for name in ("ask", "flush", "expect"):
        original = getattr(SftpWire, name)

        def watched(wire: SftpWire, *args: object, original=original, **how: object) -> object:
            me = threading.get_ident()
            with lock:
                seen["overlaps"] += busy.get(id(wire), me) != me
                outermost = id(wire) not in busy
                busy[id(wire)] = me
            try:
                return original(wire, *args, **how)
            finally:
                if outermost:
                    with lock:
                        busy.pop(id(wire), None)

        monkeypatch.setattr(SftpWire, name, watched)
    yield seen


def test_more_threads_than_channels_open_further_connections(backend: SshBackend) -> None:
    """Ten sessions share a connection, the eleventh gets another one; both are kept for later."""
    with backend.storage() as storage:
        hold_sessions(storage, 10)
        assert [link.channels for link in links(storage)] == [10]
        hold_sessions(storage, 14)
        assert sorted(link.channels for link in links(storage)) == [4, 10]
        hold_sessions(storage, 14)
        assert len(links(storage)) == 2
    assert backend.server.log().count("Accepted publickey") == 2


def test_a_server_that_allows_fewer_sessions_gets_more_connections() -> None:
    """MaxSessions is learned from its refusal."""
    with open_backend("ssh", ["MaxSessions 2"]) as backend, backend.storage() as storage:
        hold_sessions(storage, 5)
        assert [link.capacity for link in links(storage)].count(2) >= 2
        assert sum(link.channels for link in links(storage)) == 5


def test_a_session_is_never_used_by_two_threads_at_once(
    backend: SshBackend, storage: SshStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shared one would hang or mix up files."""
    rng = random.Random(4)
    objects = {f"{number}.jpg": rng.randbytes(rng.randrange(100_000)) for number in range(30)}
    for key, data in objects.items():
        backend.put(key, data)
    with watched_sessions(monkeypatch) as seen, ThreadPoolExecutor(12) as pool:
        wanted = [*objects] * 4
        assert list(pool.map(lambda key: storage.read(key, max_bytes=10**6), wanted)) == [objects[k] for k in wanted]
    assert seen["overlaps"] == 0
    assert sum(link.channels for link in links(storage)) <= 12


def test_closing_ends_what_other_threads_do(backend: SshBackend) -> None:
    """With an error of ours, soon; and the storage can be opened again."""
    backend.put("a.jpg", b"x" * 1000)
    storage = backend.storage()
    storage.open()
    started = threading.Barrier(5)

    def read_on(_: int) -> str:
        started.wait(60)
        try:
            while True:
                storage.read("a.jpg", max_bytes=1000)
        except StorageError as error:
            return error.message

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read_on, number) for number in range(4)]
        started.wait(60)
        storage.close()
        assert all(reader.result() for reader in readers)
    with storage:
        assert storage.read("a.jpg", max_bytes=1000) == b"x" * 1000
