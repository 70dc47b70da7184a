"""PICTRS_FILES_DIRECTORY names a folder above or inside pict-rs's files: refused when it is opened, with the right one."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from lemmy_safety.errors import WrongFolder
from lemmy_safety.pictrs.keys import make_key
from lemmy_safety.storage.local import LocalStorage

KEY = make_key(datetime(2026, 11, 1, 12, tzinfo=UTC), 7, ".webp")

_SERVER = pytest.mark.external_service

folders = pytest.mark.parametrize(
    "backend", ["local", *(pytest.param(kind, marks=_SERVER) for kind in ("ssh", "sftp"))], indirect=True
)


def seen_root(backend):
    return getattr(backend, "seen_root", str(backend.root))


def storage_of(backend, root):
    return LocalStorage(root) if backend.label == "local" else backend.storage(root=root)


@folders
@pytest.mark.parametrize("keys", [["sled-repo/v0.5.0/db"], []], ids=["with pict-rs's database", "database elsewhere"])
def test_the_folder_above_is_refused(backend, keys) -> None:
    """Each time, so that a daemon does not pass over it later either; nothing in it is touched."""
    for key in [*keys, f"files/{KEY}"]:
        backend.put(key, b"x")
    storage = backend.storage()
    for _ in range(2):
        with pytest.raises(WrongFolder, match="pict-rs's files folder") as caught:
            storage.open()
        assert caught.value.hint == f"Set PICTRS_FILES_DIRECTORY to {seen_root(backend)}/files"
    storage.close()
    with storage_of(backend, f"{seen_root(backend)}/files") as right:
        assert [obj.key for obj in right.list()] == [KEY]


@folders
def test_a_database_without_pictures_is_refused(backend) -> None:
    """The pictures are elsewhere then, in a bucket say."""
    backend.put("sled-repo/v0.5.0/db", b"x")
    with pytest.raises(WrongFolder, match="sled-repo") as caught:
        backend.storage().open()
    assert "store.path" in caught.value.hint


@folders
def test_a_folder_inside_is_refused(backend) -> None:
    """Most pictures would not be seen."""
    backend.put(KEY, b"x")
    inside = f"{seen_root(backend)}/{KEY[:5]}"
    with pytest.raises(WrongFolder, match="inside") as caught:
        storage_of(backend, inside).open()
    assert caught.value.hint == f"Set PICTRS_FILES_DIRECTORY to {seen_root(backend)}"


@folders
def test_other_folders_are_opened(backend) -> None:
    """Pictures of any kind, in folders of any name."""
    for key in ("files/01/holiday.png", "01/a.png", "pictrs.png"):
        backend.put(key, b"x")
    with backend.storage() as storage:
        assert len(list(storage.list())) == 3


@_SERVER
@pytest.mark.parametrize("backend", ["sftp"], indirect=True)
def test_a_folder_that_may_not_be_entered_does_not_keep_a_store_from_being_opened(backend) -> None:
    """What lies in it cannot be told, and the listing says so in its own way."""
    backend.put("a.png", b"x")
    closed = backend.root / "pictrs"
    closed.mkdir(mode=0o700)
    with backend.storage() as storage:
        assert next(storage.list()).key == "a.png"


@pytest.mark.skipif(os.name == "nt", reason="named as on POSIX systems")
@pytest.mark.parametrize("root", ["/", "/etc", "/proc/self"])
def test_a_folder_of_the_system_is_refused_before_anything_in_it_is_listed(root) -> None:
    """Not even doctor lists it."""
    with pytest.raises(WrongFolder) as caught:
        LocalStorage(root).open()
    assert "store.path" in caught.value.hint


def test_the_home_folder_is_refused_and_one_in_it_is_opened(tmp_path, monkeypatch) -> None:
    """By whatever link it is named."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    with pytest.raises(WrongFolder, match="home folder"):
        LocalStorage(tmp_path).open()
    (tmp_path / "files").mkdir()
    LocalStorage(tmp_path / "files").open()


@_SERVER
@pytest.mark.parametrize("backend", ["ssh"], indirect=True)
def test_the_root_of_a_server_is_refused(backend) -> None:
    """Over SSH as well, before it is listed."""
    with pytest.raises(WrongFolder, match="whole file system"):
        backend.storage(root="/").open()


@_SERVER
@pytest.mark.parametrize("backend", ["sftp"], indirect=True)
def test_the_root_of_a_chroot_for_sftp_can_be_the_store(backend) -> None:
    """It holds no folders of a system."""
    backend.put("a.png", b"x")
    with backend.storage(root="/") as storage:
        assert any(obj.key.endswith("a.png") for obj in storage.list())
