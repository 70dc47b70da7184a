"""What a store may hold: links, pipes, odd times, closed folders, odd names of the root."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.storage.ssh import BOTH_WAYS, LISTED_BY, connect_detail, keys_of

from lemmy_safety.errors import (
    AccessDenied,
    BadKey,
    ObjectGone,
    StorageError,
    StorageMissing,
    StorageUnreachable,
)
from lemmy_safety.pictrs.keys import make_key
from lemmy_safety.storage.incremental import IncrementalListing
from lemmy_safety.storage.ssh import SshStorage
from lemmy_safety.storage.ssh.sftp import SftpSession

if TYPE_CHECKING:
    from support.servers.sshd import SshBackend

pytestmark = pytest.mark.external_service


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
    new = IncrementalListing(storage).new_since(now - timedelta(hours=1))
    assert [obj.key for obj in new] == keys_of(storage)


@BOTH_WAYS
def test_a_pipe_is_no_object_and_blocks_nothing(backend: SshBackend, storage: SshStorage) -> None:
    """sftp-server would wait for a writer for ever."""
    backend.put("a.jpg", b"x")
    os.mkfifo(backend.root / "pipe.jpg")
    assert keys_of(storage) == ["a.jpg"]
    with pytest.raises(ObjectGone, match="not a regular file"):
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
    """The folder is there, on another file system: the disk was unmounted, whatever lies in its place."""
    with pytest.raises(ObjectGone):
        storage.stat("a.jpg")
    monkeypatch.setattr(SftpSession, "file_system", lambda *_: -1)
    for _ in range(2):
        for operation in (lambda: storage.stat("a.jpg"), lambda: list(storage.list())):
            with pytest.raises(StorageUnreachable, match="mounted"):
                operation()
        backend.put("b.jpg", b"x")
    storage.open()
    assert keys_of(storage) == ["b.jpg"]
    with pytest.raises(ObjectGone):
        storage.stat("a.jpg")
