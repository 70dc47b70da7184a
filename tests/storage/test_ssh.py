"""What the conformance suite does not ask of the SSH storage: broken lines, many threads, hostile stores, odd servers."""

from __future__ import annotations

import logging
import os
import random
import signal
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.sshd import open_backend

from lemmy_safety.errors import (
    AccessDenied,
    BadKey,
    ObjectChanged,
    ObjectGone,
    StorageError,
    StorageMissing,
    StorageUnreachable,
)
from lemmy_safety.pictrs.keys import make_key
from lemmy_safety.storage import ssh_connection
from lemmy_safety.storage.ssh import SshStorage
from lemmy_safety.storage.ssh_sftp import SftpSession
from lemmy_safety.storage.ssh_sftp_wire import SftpBroken, SftpWire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.sshd import SshBackend

pytestmark = pytest.mark.external_service

BOTH_WAYS = pytest.mark.parametrize("backend", ["ssh", "sftp"], indirect=True)
LISTED_BY = {"ssh": "listed by find", "sftp": "listed by SFTP"}


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
    monkeypatch.setattr(ssh_connection, "RETRY_DELAYS_S", (0.0, 0.0))


def keys_of(storage: SshStorage, **how) -> list[str]:
    return sorted(obj.key for obj in storage.list(**how))


def connect_detail(storage: SshStorage) -> str:
    return next(step.detail for step in storage.probe() if step.name == "connect")


def links(storage: SshStorage) -> list:
    return storage._pool()._links


# What a store may hold


@BOTH_WAYS
def test_links_are_neither_listed_nor_followed(backend: SshBackend, storage: SshStorage, tmp_path: Path) -> None:
    """A link to a file or folder outside of the root stays unread, and what it points to stays untouched."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(b"secret")
    backend.put("01/real.jpg", b"real")
    for name, target in {
        "file.jpg": outside / "secret.jpg",
        "passwd.jpg": Path("/etc/passwd"),
        "folder": outside,
        "inside.jpg": Path("01/real.jpg"),
        "same": Path("01"),
        "loop": Path("loop"),
        "nowhere.jpg": Path("nothing"),
    }.items():
        (backend.root / name).symlink_to(target)
    assert keys_of(storage) == ["01/real.jpg"]
    for prefix in ("folder/", "same/", "fi", "loop/", "../", "same/r"):
        assert keys_of(storage, prefix=prefix) == []
    for key in ("file.jpg", "passwd.jpg", "inside.jpg", "same/real.jpg", "nowhere.jpg"):
        for refused in (
            lambda key=key: storage.read(key, max_bytes=10**6),
            lambda key=key: storage.stat(key),
            lambda key=key: storage.delete(key),
            lambda key=key: storage.move(key, "new.jpg"),
        ):
            with pytest.raises(BadKey, match="symbolic link"):
                refused()
    for new_key in ("same/new.jpg", "same/deeper/new.jpg", "folder/new.jpg"):
        with pytest.raises(BadKey):
            storage.move("01/real.jpg", new_key)
    assert sorted(os.listdir(outside)) == ["secret.jpg"]  # noqa: PTH208
    assert sorted(os.listdir(backend.root / "01")) == ["real.jpg"]  # noqa: PTH208


@BOTH_WAYS
def test_a_linked_tree_is_not_listed_incrementally_either(backend: SshBackend, storage: SshStorage) -> None:
    """Both kinds of listing tell of the same objects."""
    storage.whole_listing_up_to = 0  # as in a large store
    now = datetime.now(UTC)
    key = make_key(now, 5, ".webp")
    backend.put("real/" + key.removeprefix("01/"), b"x")
    (backend.root / "01").symlink_to("real")
    assert keys_of(storage, since=now - timedelta(hours=1), exhaustive=False) == keys_of(storage)


@BOTH_WAYS
def test_a_pipe_is_no_object_and_blocks_nothing(backend: SshBackend, storage: SshStorage) -> None:
    """sftp-server would wait for a writer for ever."""
    backend.put("a.jpg", b"x")
    os.mkfifo(backend.root / "pipe.jpg")
    assert keys_of(storage) == ["a.jpg"]
    with pytest.raises(ObjectGone, match="no regular file"):
        storage.read("pipe.jpg", max_bytes=10)
    assert storage.delete("pipe.jpg") is False
    assert backend.exists("pipe.jpg")


@BOTH_WAYS
def test_odd_times_and_sizes_are_told_alike_by_listing_and_describing(backend: SshBackend, storage: SshStorage) -> None:
    """Before 1970, after 2038, with fractions; a sparse file of 5 GiB."""
    for number, time in enumerate((-5.5, 0.25, 1_700_000_000.75, 4_000_000_000.5, 10_000_000_000)):
        backend.put(f"{number}.jpg", b"x")
        os.utime(backend.root / f"{number}.jpg", (time, time))
    with (backend.root / "sparse").open("wb") as file:
        file.truncate(5 * 2**30)
    listed = list(storage.list())
    assert len(listed) == 6
    for obj in listed:
        assert storage.stat(obj.key) == obj


@pytest.mark.parametrize("backend", ["ssh-plain-user", "sftp"], indirect=True)
def test_a_folder_that_may_not_be_read_does_not_hide_the_others(backend: SshBackend, storage: SshStorage) -> None:
    """Everything else is listed first, then the refusal is raised."""
    for key in ("a/1.jpg", "closed/2.jpg", "z/3.jpg"):
        backend.put(key, b"x")
    backend.forbid("closed/2.jpg")
    (backend.root / "closed").chmod(0o700)
    assert connect_detail(backend.storage()) == f"{storage.name}; {LISTED_BY[backend.label]}"
    seen = []
    with pytest.raises(AccessDenied, match=r"1 folders .* may not be read.*closed"):
        seen.extend(obj.key for obj in storage.list())
    assert sorted(seen) == ["a/1.jpg", "z/3.jpg"]
    (backend.root / "closed").chmod(0o755)
    backend.root.chmod(0o700)
    os.chown(backend.root, 0, 0)
    with pytest.raises(AccessDenied):
        list(storage.list())
    with pytest.raises(AccessDenied):
        backend.storage().open()


@BOTH_WAYS
def test_many_new_cells_are_all_listed(backend: SshBackend, storage: SshStorage) -> None:
    """More minutes with uploads than start folders are given to find, and one folder level is not enough."""
    storage.whole_listing_up_to = 0  # as in a large store
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
        assert keys_of(storage, since=since, exhaustive=False) == expected


# Which way a listing goes


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
    tools = backend.server.folder / "tools"
    tools.mkdir()
    (tools / "find").write_text(
        '#!/bin/sh\ncase "$*" in *maxdepth*) exec /usr/bin/find "$@";; esac\n/usr/bin/find "$@"\n'
        "echo \"find: './x': Input/output error\" >&2\nexit 1\n"
    )
    (tools / "find").chmod(0o755)
    backend.server.stop()
    backend.server.environment["PATH"] = f"{tools}:/usr/bin:/bin"
    backend.server.start()
    backend.put("a.jpg", b"x")
    with backend.storage() as storage, pytest.raises(StorageError, match="Input/output error"):
        list(storage.list())


def test_much_complaint_does_not_block_a_listing(backend: SshBackend) -> None:
    """stderr is read along, or the channel's window fills up and find waits for ever."""
    tools = backend.server.folder / "tools"
    tools.mkdir()
    (tools / "find").write_text(
        '#!/bin/sh\ncase "$*" in *maxdepth*) exec /usr/bin/find "$@";; esac\n'
        "yes \"find: './gone': No such file or directory\" | head -n 100000 >&2\n"
        '/usr/bin/find "$@"\nexit 1\n'
    )
    (tools / "find").chmod(0o755)
    backend.server.stop()
    backend.server.environment["PATH"] = f"{tools}:/usr/bin:/bin"
    backend.server.start()
    backend.put("a.jpg", b"x")
    with backend.storage() as storage:
        assert keys_of(storage) == ["a.jpg"]


def test_an_odd_root_is_quoted(backend: SshBackend) -> None:
    """Quotes, blanks, line feeds and a leading dash in the folder's name reach neither shell nor find as syntax."""
    for name in ("-rf", "it's $(here) `now` !x", "line\nfeed", "é"):
        root = backend.root / name
        root.mkdir()
        (root / "a.jpg").write_bytes(b"x")
        with backend.storage(root=str(root)) as storage:
            assert "listed by find" in connect_detail(storage)
            assert keys_of(storage) == ["a.jpg"]
            assert storage.read("a.jpg", max_bytes=1) == b"x"


@BOTH_WAYS
def test_a_fraction_of_a_second_hides_nothing(backend: SshBackend, storage: SshStorage) -> None:
    """SFTP tells whole seconds; what was modified later in the second asked for is listed."""
    moment = datetime(2026, 3, 1, 12, 0, 0, 700_000, tzinfo=UTC)
    backend.put("a.jpg", b"x", moment)
    for since in (moment - timedelta(milliseconds=500), moment):
        for exhaustive in (True, False):
            assert keys_of(storage, since=since, exhaustive=exhaustive) == ["a.jpg"]
    assert keys_of(storage, since=moment + timedelta(seconds=1)) == []


def test_a_root_may_be_a_link_or_lie_in_the_home_folder(backend: SshBackend) -> None:
    """What it points to when opened is the root."""
    backend.put("a.jpg", b"x")
    link = backend.root.parent / "link"
    link.symlink_to(backend.root)
    with backend.storage(root=f"{link}/") as storage:
        assert keys_of(storage) == ["a.jpg"]
    with backend.storage(root=f"{backend.root}/../link//.") as again:
        assert again.name == storage.name


@pytest.mark.parametrize(
    ("host", "root", "name"),
    [
        ("Example.org", "/a/b/", "ssh:me@example.org:22/a/b"),
        ("example.org", "//a/./b", "ssh:me@example.org:22/a/b"),
        ("example.org", "/", "ssh:me@example.org:22/"),
        ("example.org", "a/b", "ssh:me@example.org:22/~/a/b"),
        ("example.org", "~/a/b/", "ssh:me@example.org:22/~/a/b"),
        ("::1", "/a", "ssh:me@[::1]:22/a"),
    ],
)
def test_one_place_has_one_name(host: str, root: str, name: str) -> None:
    """However it is written in the settings."""
    storage = SshStorage(host, 22, "me", private_key=None, passphrase=None, known_hosts=Path("x"), root=root)
    assert storage.name == name
    with pytest.raises(StorageError, match="not open"):
        storage.stat("a")


# The server's side


@BOTH_WAYS
def test_deleting_happens_on_the_server(backend: SshBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool this one descends from removed a file of the same name on the machine that scans."""
    monkeypatch.chdir(tmp_path)
    local = tmp_path / "store" / "01" / "a.jpg"
    local.parent.mkdir(parents=True)
    local.write_bytes(b"mine")
    backend.put("01/a.jpg", b"theirs")
    if backend.label == "ssh":
        # Relative to the home folder there, which is where sftp-server starts.
        (Path.home() / "store").exists()
        backend.server.stop()
        backend.server.environment["HOME"] = str(backend.root.parent)
        backend.server.start()
        root = str(backend.root)
    else:
        root = "store"
    with backend.storage(root=root) as storage:
        assert storage.delete("01/a.jpg") is True
    assert not backend.exists("01/a.jpg")
    assert local.read_bytes() == b"mine"


def test_deleting_leaves_no_empty_folders_but_full_ones(backend: SshBackend, storage: SshStorage) -> None:
    """As pict-rs does it; the root stays."""
    backend.put("01/aa/bb/cc/x.jpg", b"x")
    backend.put("01/aa/y.jpg", b"y")
    assert storage.delete("01/aa/bb/cc/x.jpg") is True
    assert sorted(os.listdir(backend.root / "01" / "aa")) == ["y.jpg"]  # noqa: PTH208
    storage.move("01/aa/y.jpg", "q/y.jpg")
    assert sorted(os.listdir(backend.root)) == ["q"]  # noqa: PTH208
    assert storage.delete("q/y.jpg") is True
    assert backend.root.is_dir()


def test_moves_side_by_side_never_lose_an_object(backend: SshBackend, storage: SshStorage) -> None:
    """Several threads race to one place; one wins, and the others' objects stay."""
    for number in range(16):
        backend.put(f"from/{number}/x.jpg", b"%d" % number)

    def move(number: int) -> bool:
        try:
            storage.move(f"from/{number}/x.jpg", "to/the/same/x.jpg")
        except ObjectChanged:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        moved = list(pool.map(move, range(16)))
    assert moved.count(True) == 1
    kept = [f"from/{number}/x.jpg" for number in range(16) if not moved[number]]
    assert keys_of(storage) == sorted([*kept, "to/the/same/x.jpg"])


@BOTH_WAYS
def test_a_root_that_vanishes_is_missing_and_not_empty(backend: SshBackend, storage: SshStorage) -> None:
    """Were every object called gone, they would be settled as such."""
    backend.put("a.jpg", b"x")
    away = backend.root.with_name("away")
    backend.root.rename(away)
    for operation in (
        lambda: storage.read("a.jpg", max_bytes=1),
        lambda: storage.delete("a.jpg"),
        lambda: list(storage.list()),
    ):
        with pytest.raises(StorageMissing):
            operation()
    away.rename(backend.root)
    assert keys_of(storage) == ["a.jpg"]


def test_an_empty_mount_point_is_an_outage(
    backend: SshBackend, storage: SshStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is there, on another file system, and holds nothing: the disk was unmounted."""
    with pytest.raises(ObjectGone):
        storage.stat("a.jpg")
    monkeypatch.setattr(SftpSession, "file_system", lambda *_: -1)
    for operation in (lambda: storage.stat("a.jpg"), lambda: list(storage.list())):
        with pytest.raises(StorageUnreachable, match="mounted"):
            operation()
    backend.put("b.jpg", b"x")
    assert keys_of(storage) == ["b.jpg"]


# Many threads


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


def hold_sessions(storage: SshStorage, count: int) -> None:
    """Use this many sessions at the same time."""
    barrier = threading.Barrier(count)

    def hold(session: SftpSession) -> bytes:
        barrier.wait(60)
        return session.realpath(b".")

    with ThreadPoolExecutor(count) as pool:
        homes = list(pool.map(lambda _: storage._pool().run(hold), range(count)))
    assert len(set(homes)) == 1


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


# Broken lines


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
    """The file is read anew and whole, and so is the next one."""
    data = random.Random(5).randbytes(6_000_000)
    backend.put("large.jpg", data)
    original = SftpSession._data
    pieces = Counter[str]()

    def data_then_break(session: SftpSession, request: int) -> bytes | None:
        pieces["read"] += 1
        if pieces["read"] == 20:
            backend.server.kill_sessions()
        return original(session, request)

    monkeypatch.setattr(SftpSession, "_data", data_then_break)
    assert storage.read("large.jpg", max_bytes=10**7) == data
    assert pieces["read"] > 184
    assert storage.read("large.jpg", max_bytes=10**7) == data


def test_a_deletion_whose_answer_was_lost_is_done(
    backend: SshBackend, storage: SshStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the reconnect the object is gone, and that was us."""
    backend.put("neighbour.jpg", b"x")
    backend.put("a.jpg", b"x")
    original = SftpSession.remove

    def remove_then_break(session: SftpSession, path: bytes) -> None:
        original(session, path)
        backend.server.kill_sessions()
        raise SftpBroken("answer lost")

    monkeypatch.setattr(SftpSession, "remove", remove_then_break)
    assert storage.delete("a.jpg") is True
    assert storage.delete("a.jpg") is False


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
    for step in ("CHANNEL_TIMEOUT_S",):
        monkeypatch.setattr(ssh_connection, step, 0.5)
    # Sessions opened before keep the longer timeout; new ones have the short one.
    backend.server.kill_sessions()
    assert storage.read("a.jpg", max_bytes=1) == b"x"
    monkeypatch.setattr("lemmy_safety.storage.ssh_login.BANNER_TIMEOUT_S", 0.5)
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


def test_a_silent_listing_is_waited_for_while_the_server_answers(
    backend: SshBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """find may search a slow disk for longer than any timeout; a frozen server is noticed all the same."""
    tools = backend.server.folder / "tools"
    tools.mkdir()
    release = backend.server.folder / "release"
    os.mkfifo(release)
    (tools / "find").write_text(
        '#!/bin/sh\ncase "$*" in *maxdepth*) ;; *) cat ' + str(release) + ';; esac\nexec /usr/bin/find "$@"\n'
    )
    (tools / "find").chmod(0o755)
    backend.server.stop()
    backend.server.environment["PATH"] = f"{tools}:/usr/bin:/bin"
    backend.server.start()
    backend.put("a.jpg", b"x")
    monkeypatch.setattr(ssh_connection, "CHANNEL_TIMEOUT_S", 2.0)
    monkeypatch.setattr(ssh_connection.RemoteCommand, "_POLL_S", 0.1)
    asked = threading.Semaphore(0)
    original = ssh_connection._Link.check

    def check(link: ssh_connection._Link) -> None:
        original(link)
        asked.release()

    monkeypatch.setattr(ssh_connection._Link, "check", check)
    with backend.storage() as storage, ThreadPoolExecutor(1) as pool:
        listing = pool.submit(keys_of, storage)
        assert asked.acquire(timeout=60)
        assert asked.acquire(timeout=60)
        release.write_bytes(b"")
        assert listing.result() == ["a.jpg"]


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


def test_paramiko_is_quiet_about_what_is_retried(
    backend: SshBackend, storage: SshStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """Its tracebacks of cut connections are for --debug only."""
    caplog.set_level(logging.INFO)
    backend.put("a.jpg", b"x")
    backend.server.kill_sessions()
    assert storage.read("a.jpg", max_bytes=1) == b"x"
    assert [record for record in caplog.records if record.name.startswith("paramiko")] == []
