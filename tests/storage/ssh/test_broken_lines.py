"""Lines that break and servers that fall silent cost time, and nothing else."""

from __future__ import annotations

import logging
import random
import signal
import struct
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from support.storage.ssh import BOTH_WAYS, hold_sessions, keys_of

from lemmy_safety.errors import StorageUnreachable
from lemmy_safety.storage.ssh import connection, link, sftp_transfer

if TYPE_CHECKING:
    from support.servers.sshd import SshBackend

    from lemmy_safety.storage.ssh import SshStorage
    from lemmy_safety.storage.ssh.sftp import SftpSession
    from lemmy_safety.storage.ssh.sftp_wire import SftpWire

pytestmark = pytest.mark.external_service


def test_a_cut_connection_is_made_anew(backend: SshBackend, storage: SshStorage) -> None:
    """Nothing is noticed by the caller."""
    backend.put("a.jpg", b"x")
    for _ in range(3):
        assert storage.read("a.jpg", max_bytes=1) == b"x"
        backend.server.kill_sessions()
    assert keys_of(storage) == ["a.jpg"]


def test_a_connection_that_breaks_in_the_middle_of_a_file_costs_nothing(
    backend: SshBackend, storage: SshStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is read again and whole, and so is the next one."""
    data = random.Random(5).randbytes(6_000_000)
    backend.put("large.jpg", data)
    original = sftp_transfer.data_in
    pieces = Counter[str]()

    def data_then_break(wire: SftpWire, request: int) -> bytes | None:
        pieces["read"] += 1
        if pieces["read"] == 20:
            backend.server.kill_sessions()
        return original(wire, request)

    monkeypatch.setattr(sftp_transfer, "data_in", data_then_break)
    assert storage.read("large.jpg", max_bytes=10**7) == data
    assert pieces["read"] > 184
    assert storage.read("large.jpg", max_bytes=10**7) == data


def test_a_listing_that_is_cut_off_is_no_short_listing(backend: SshBackend, storage: SshStorage) -> None:
    """More than fits into the channel's window is still to come when the line breaks."""
    for number in range(12_000):
        (backend.root / f"{number:0>240}").touch()
    listing = storage.list()
    next(listing)
    backend.server.kill_sessions()
    with pytest.raises(StorageUnreachable):
        list(listing)
    assert len(keys_of(storage)) == 12_000


def test_lines_that_break_again_and_again_never_give_wrong_bytes(backend: SshBackend, storage: SshStorage) -> None:
    """Eight threads read while all connections are cut; each read is right, or StorageUnreachable."""
    rng = random.Random(6)
    objects = {f"{number}.jpg": rng.randbytes(300_000) for number in range(10)}
    for key, data in objects.items():
        backend.put(key, data)
    outcomes: Counter[str] = Counter()

    def read(key: str) -> str:
        try:
            return "right" if storage.read(key, max_bytes=10**6) == objects[key] else "wrong"
        except StorageUnreachable:
            return "unreachable"

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(read, key) for key in [*objects] * 20]
        for number, future in enumerate(futures):
            if number % 25 == 0:
                backend.server.kill_sessions()
            outcomes[future.result()] += 1
    assert outcomes["wrong"] == 0
    assert outcomes["right"] > 0
    assert storage.read("0.jpg", max_bytes=10**6) == objects["0.jpg"]


@BOTH_WAYS
def test_a_server_that_stops_answering_is_given_up(
    backend: SshBackend, storage: SshStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen server holds its connections open and says nothing; no operation waits for ever."""
    backend.put("a.jpg", b"x")
    assert keys_of(storage) == ["a.jpg"]
    hold_sessions(storage, 2)
    for module in (connection, link):
        monkeypatch.setattr(module, "CHANNEL_TIMEOUT_S", 0.5)
    # Sessions opened before keep the longer timeout; new ones have the short one.
    backend.server.kill_sessions()
    assert storage.read("a.jpg", max_bytes=1) == b"x"
    monkeypatch.setattr("lemmy_safety.storage.ssh.login.BANNER_TIMEOUT_S", 0.5)
    frozen = [*backend.server.sessions(), backend.server.process]
    for process in frozen:
        process.send_signal(signal.SIGSTOP)
    try:
        for operation in (
            lambda: storage.read("a.jpg", max_bytes=1),
            lambda: list(storage.list()),
            lambda: storage.delete("a.jpg"),
        ):
            with pytest.raises(StorageUnreachable):
                operation()
    finally:
        for process in frozen:
            process.send_signal(signal.SIGCONT)
    assert storage.read("a.jpg", max_bytes=1) == b"x"


def test_paramiko_is_quiet_about_what_is_retried(
    backend: SshBackend, storage: SshStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """Its tracebacks of cut connections are for --debug only."""
    caplog.set_level(logging.INFO)
    backend.put("a.jpg", b"x")
    backend.server.kill_sessions()
    assert storage.read("a.jpg", max_bytes=1) == b"x"
    assert [record for record in caplog.records if record.name.startswith("paramiko")] == []


@pytest.mark.parametrize(
    "error",
    [
        struct.error("unpack requires a buffer of 4 bytes"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        EOFError(),
        KeyError("ext-info"),
        IndexError("index out of range"),
        ValueError("not a number"),
        OverflowError("int too large"),
        TypeError("None"),
        AttributeError("transport"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_reading_an_answer_raises_is_an_outage(
    storage: SshStorage, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """paramiko lets through what its parsing stumbles over; a later try can succeed, and the daemon lives on."""
    monkeypatch.setattr(connection, "RETRY_DELAYS_S", (0.0, 0.0))
    tries = Counter[str]()

    def stumble(_session: SftpSession) -> None:
        tries["made"] += 1
        raise error

    with pytest.raises(StorageUnreachable):
        storage._pool().run(stumble)
    assert tries["made"] == 3
    assert keys_of(storage) == []
