"""Which way a listing goes, by find or by SFTP, and what either must not lose."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from support.servers.sshd import open_backend
from support.storage.ssh import BOTH_WAYS, LISTED_BY, connect_detail, keys_of, use_find

from lemmy_safety.errors import StorageError
from lemmy_safety.pictrs.keys import make_key
from lemmy_safety.storage.incremental import IncrementalListing
from lemmy_safety.storage.ssh import connection
from lemmy_safety.storage.ssh.link import Link
from lemmy_safety.storage.ssh.sftp import SftpSession
from lemmy_safety.storage.ssh.sftp_listing import FOLDERS_AT_ONCE, SESSIONS
from lemmy_safety.storage.wanted_keys import WantedKeys

if TYPE_CHECKING:
    from support.servers.sshd import SshBackend

    from lemmy_safety.storage.ssh import SshStorage

pytestmark = pytest.mark.external_service


@BOTH_WAYS
def test_the_way_of_listing_is_found_out(backend: SshBackend, storage: SshStorage) -> None:
    """An account for SFTP only answers commands with a text of its own, which is no listing."""
    backend.put("a.jpg", b"x")
    assert connect_detail(storage) == f"{storage.name}; {LISTED_BY[backend.label]}"
    assert keys_of(storage) == ["a.jpg"]


@pytest.mark.parametrize("trouble", ["no -printf", "no find", "talkative shell", "silent death"])
def test_a_shell_that_cannot_list_is_not_used(trouble: str) -> None:
    """Busybox, a missing find and chatty start-up files lead to SFTP, never to a wrong listing."""
    with open_backend("ssh") as backend:
        backend.put("a/b.jpg", b"x")
        tools = backend.server.folder / "tools"
        tools.mkdir()
        (tools / "env").symlink_to("/usr/bin/env")
        find = tools / "find"
        if trouble == "no -printf":
            find.write_text("#!/bin/sh\necho 'find: unrecognized: -printf' >&2\nexit 1\n")
        elif trouble == "silent death":
            find.write_text("#!/bin/sh\nkill -9 $PPID $$\n")
        if find.exists():
            find.chmod(0o755)
        if trouble == "talkative shell":
            (tools / "env").unlink()
            (tools / "env").write_text('#!/bin/sh\necho "Welcome!"\nexec /usr/bin/env "$@"\n')
            (tools / "env").chmod(0o755)
        backend.server.stop()
        backend.server.environment["PATH"] = f"{tools}:/bin" if trouble == "talkative shell" else str(tools)
        backend.server.start()
        with backend.storage() as storage:
            assert "listed by SFTP" in connect_detail(storage)
            assert keys_of(storage) == ["a/b.jpg"]


def test_a_find_that_fails_is_an_error_and_no_short_listing(backend: SshBackend) -> None:
    """A disk error on the server must not make objects look deleted."""
    use_find(backend, '/usr/bin/find "$@"; echo "find: \'./x\': Input/output error" >&2; exit 1')
    backend.put("a.jpg", b"x")
    with backend.storage() as storage, pytest.raises(StorageError, match="Input/output error"):
        list(storage.list())


def test_much_complaint_does_not_block_a_listing(backend: SshBackend) -> None:
    """stderr is read along, or the channel's window fills up and find waits for ever."""
    complaint = "find: './gone': No such file or directory"
    use_find(backend, f'yes "{complaint}" | head -n 100000 >&2; /usr/bin/find "$@"; exit 1')
    backend.put("a.jpg", b"x")
    with backend.storage() as storage:
        assert keys_of(storage) == ["a.jpg"]


@BOTH_WAYS
def test_a_fraction_of_a_second_hides_nothing(backend: SshBackend, storage: SshStorage) -> None:
    """SFTP tells whole seconds; what was modified later in the second asked for is listed."""
    moment = datetime(2026, 3, 1, 12, 0, 0, 700_000, tzinfo=UTC)
    backend.put("a.jpg", b"x", moment)
    for since in (moment - timedelta(milliseconds=500), moment):
        assert keys_of(storage, since=since) == ["a.jpg"]
        assert [obj.key for obj in IncrementalListing(storage).new_since(since)] == ["a.jpg"]
    assert keys_of(storage, since=moment + timedelta(seconds=1)) == []


@BOTH_WAYS
def test_many_new_cells_are_all_listed(backend: SshBackend, storage: SshStorage) -> None:
    """More minutes with uploads than start folders are given to find, and one folder level is not enough."""
    storage.whole_listing_up_to = 0  # as in a large store
    listing = IncrementalListing(storage)
    now = datetime.now(UTC).replace(microsecond=0)
    placed = {}
    for number in range(150):
        moment = now - timedelta(minutes=number * 7)
        placed[make_key(moment, number, ".png")] = moment
    placed |= {make_key(now - timedelta(days=90 + number), number): now - timedelta(days=90) for number in range(5)}
    for key, moment in placed.items():
        backend.put(key, b"x", moment)
    for minutes in (5, 60, 600, 2_000):
        since = now - timedelta(minutes=minutes)
        expected = sorted(key for key, moment in placed.items() if moment >= since)
        assert sorted(obj.key for obj in listing.new_since(since)) == expected


def test_many_folders_are_asked_for_over_several_sessions_together(
    backend: SshBackend, storage: SshStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four sessions have full batches in their hands at the same time, and every file is told of once."""
    keys = [f"{number:03}/{number % 7}/a.png" for number in range(300)]
    meeting = threading.Barrier(SESSIONS)
    sessions: list[int] = []
    scan_folders = SftpSession.scan_folders

    def scan(session, paths):
        if len(paths) == FOLDERS_AT_ONCE and len(sessions) < SESSIONS:
            sessions.append(id(session))
            meeting.wait(timeout=20)
        return scan_folders(session, paths)

    monkeypatch.setattr(SftpSession, "scan_folders", scan)
    for key in keys:
        backend.put(key, b"x")
    found = [file.path.decode() for file in storage._listings()[1].files(b"", WantedKeys())]
    assert sorted(found) == keys
    assert len(set(sessions)) == SESSIONS


def test_a_silent_listing_is_waited_for_while_the_server_answers(
    backend: SshBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """find may search a slow disk for longer than any timeout; a frozen server is noticed all the same."""
    release = backend.server.folder / "release"
    os.mkfifo(release)
    use_find(backend, f'cat {release}; exec /usr/bin/find "$@"')
    backend.put("a.jpg", b"x")
    monkeypatch.setattr(connection, "CHANNEL_TIMEOUT_S", 2.0)
    monkeypatch.setattr(connection.RemoteCommand, "_POLL_S", 0.1)
    asked = threading.Semaphore(0)
    original = Link.check

    def check(link: Link) -> None:
        original(link)
        asked.release()

    monkeypatch.setattr(Link, "check", check)
    with backend.storage() as storage, ThreadPoolExecutor(1) as pool:
        listing = pool.submit(keys_of, storage)
        assert asked.acquire(timeout=60)
        assert asked.acquire(timeout=60)
        release.write_bytes(b"")
        assert listing.result() == ["a.jpg"]


@pytest.mark.parametrize(
    ("date", "ahead"),
    [
        ("echo $(($(/bin/date +%s) - 3600))", timedelta(hours=-1)),
        ("echo $(($(/bin/date +%s) + 86400))", timedelta(days=1)),
        ("echo yesterday", timedelta(0)),
        ("echo 99999999999999999999", timedelta(0)),
        ("echo; echo 1 2", timedelta(0)),
        ("exit 1", timedelta(0)),
        ("yes 1", timedelta(0)),
    ],
)
def test_the_clock_of_the_server_is_compared(date: str, ahead: timedelta) -> None:
    """Where its shell tells the time, and only if it is one."""
    with open_backend("ssh") as backend:
        tools = backend.server.folder / "tools"
        tools.mkdir()
        (tools / "date").write_text(f"#!/bin/sh\n{date}\n")
        (tools / "date").chmod(0o755)
        backend.server.stop()
        backend.server.environment["PATH"] = f"{tools}:/usr/bin:/bin"
        backend.server.start()
        with backend.storage() as storage:
            assert abs(storage.clock_ahead - ahead) < timedelta(seconds=30)
            assert len(storage.learned.notes) == (1 if ahead else 0)


def test_an_account_without_a_shell_tells_no_time() -> None:
    """Then the clocks are taken to agree."""
    with open_backend("sftp") as backend, backend.storage() as storage:
        assert storage.clock_ahead == timedelta(0)
