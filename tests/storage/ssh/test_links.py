"""A folder of the store becomes a symbolic link while something is done in it, on a real sshd.

SFTP cannot hold a folder open, so the moment between the look and the request remains. What is tested is that a link is
noticed before a request and after it, and that what was done through one never counts as done.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import pytest
from support.storage.ssh import BOTH_WAYS, keys_of

from lemmy_safety.errors import AccessDenied, BadKey, ObjectChanged, StorageUnreachable
from lemmy_safety.storage.ssh.link import Link
from lemmy_safety.storage.ssh.sftp import SftpSession

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.servers.sshd import SshBackend

    from lemmy_safety.storage.ssh import SshStorage

pytestmark = pytest.mark.external_service

KEY = "a/b/x.jpg"
MODIFIED_S = 1_700_000_000


@pytest.fixture
def outside(backend: SshBackend) -> Path:
    """A folder outside the store with a file of the same name, size and time as the store's."""
    folder = backend.root.parent / "outside"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "x.jpg").write_bytes(b"outside")
    owner = backend.root.stat()
    for path in (folder, folder / "b"):
        os.chown(path, owner.st_uid, owner.st_gid)
    backend.put(KEY, b"inside!")
    backend.put("other.jpg", b"x")
    for path in (folder / "b" / "x.jpg", backend.root / KEY):
        os.utime(path, (MODIFIED_S, MODIFIED_S))
    return folder


def exchange(backend: SshBackend, outside: Path) -> None:
    """The folder gives way to a link."""
    (backend.root / "a").rename(backend.root.parent / "aside")
    (backend.root / "a").symlink_to(f"../{outside.name}")


def once_before(monkeypatch: pytest.MonkeyPatch, name: str, happens: Callable[[], None]) -> None:
    """Let something happen right before the next call of a session's method."""
    real = getattr(SftpSession, name)

    def call(session: SftpSession, *args: object, **how: object) -> object:
        monkeypatch.setattr(SftpSession, name, real)
        happens()
        return real(session, *args, **how)

    monkeypatch.setattr(SftpSession, name, call)


@BOTH_WAYS
def test_nothing_is_read_through_a_link_that_came_after_the_look(
    backend: SshBackend, storage: SshStorage, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read of the other file is thrown away."""
    once_before(monkeypatch, "read", lambda: exchange(backend, outside))
    with pytest.raises(BadKey, match="symbolic link"):
        storage.read(KEY, max_bytes=100)


def test_a_file_that_was_exchanged_when_it_was_opened_is_not_the_one_that_is_read(
    backend: SshBackend, storage: SshStorage, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link came and went between two looks: the open file is neither of those that were seen."""
    (outside / "b" / "x.jpg").write_bytes(b"longer than it was")
    real = SftpSession._handle

    def opened(session: SftpSession, request: int) -> bytes:
        exchange(backend, outside)
        handle = real(session, request)
        (backend.root / "a").unlink()
        (backend.root.parent / "aside").rename(backend.root / "a")
        return handle

    monkeypatch.setattr(SftpSession, "_handle", opened)
    with pytest.raises(StorageUnreachable, match="changed in the moment"):
        storage.read(KEY, max_bytes=100)
    monkeypatch.undo()
    assert storage.read(KEY, max_bytes=100) == b"inside!"


@BOTH_WAYS
def test_a_link_that_came_before_the_look_is_refused_where_the_server_resolves_none(
    backend: SshBackend, storage: SshStorage, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """realpath of some servers only tidies the text, so each folder is looked at by itself."""
    real = SftpSession._seen

    def lexical(session: SftpSession, requests: list[int]) -> object:
        return dataclasses.replace(real(session, requests), real_folder=folder)

    folder = backend.seen_root.encode() + b"/a/b"
    monkeypatch.setattr(SftpSession, "_seen", lexical)
    monkeypatch.setattr(Link, "is_openssh", False)
    storage.close()
    storage.open()
    assert storage.read(KEY, max_bytes=100) == b"inside!"
    exchange(backend, outside)
    for operation in (
        lambda: storage.read(KEY, max_bytes=100),
        lambda: storage.stat(KEY),
        lambda: storage.delete(KEY),
        lambda: storage.move(KEY, "a/b/new.jpg"),
    ):
        with pytest.raises(BadKey, match="symbolic link"):
            operation()
    assert (outside / "b" / "x.jpg").read_bytes() == b"outside"


@BOTH_WAYS
def test_a_deletion_that_a_link_came_into_does_not_count_as_done(
    backend: SshBackend, storage: SshStorage, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No one can say which file the server removed; no folder outside is removed as empty either."""
    once_before(monkeypatch, "remove", lambda: exchange(backend, outside))
    with pytest.raises(BadKey, match="symbolic link"):
        storage.delete(KEY)
    assert (outside / "b").is_dir()
    assert (backend.root.parent / "aside" / "b" / "x.jpg").read_bytes() == b"inside!"


def test_a_move_that_a_link_came_into_does_not_count_as_done(
    backend: SshBackend, storage: SshStorage, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came to the new place is not what had been looked at."""
    (outside / "b" / "x.jpg").write_bytes(b"longer than it was")
    once_before(monkeypatch, "rename", lambda: exchange(backend, outside))
    with pytest.raises(ObjectChanged, match="not what lay"):
        storage.move(KEY, "new.jpg")
    assert (outside / "b").is_dir()


@BOTH_WAYS
def test_only_the_judged_file_is_deleted_whatever_comes_in_its_place(
    backend: SshBackend, storage: SshStorage, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compared by the session that removes it, right before."""
    del outside
    judged = storage.stat(KEY)
    once_before(monkeypatch, "look", lambda: backend.put(KEY, b"another picture"))
    with pytest.raises(ObjectChanged):
        storage.delete(KEY, expected=judged)
    assert storage.read(KEY, max_bytes=100) == b"another picture"


@BOTH_WAYS
def test_a_server_that_says_deleted_and_keeps_the_file_is_believed_its_listing(
    backend: SshBackend, storage: SshStorage, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An append-only or versioned disk behind the server; the deletion is refused, not done."""
    del outside
    monkeypatch.setattr(SftpSession, "remove", lambda *_: None)
    with pytest.raises(AccessDenied, match="still there"):
        storage.delete(KEY)
    assert keys_of(storage) == sorted([KEY, "other.jpg"])


def test_a_file_that_comes_back_at_once_is_another_one(
    backend: SshBackend, storage: SshStorage, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploaded again under the same name right after its deletion: that one is done, the new file stays."""
    del outside
    real = SftpSession.remove

    def replaced(session: SftpSession, path: bytes) -> None:
        real(session, path)
        backend.put(KEY, b"new upload")

    monkeypatch.setattr(SftpSession, "remove", replaced)
    assert storage.delete(KEY) is True
    assert storage.read(KEY, max_bytes=100) == b"new upload"
