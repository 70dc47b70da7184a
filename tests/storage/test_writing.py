"""Writing and moving a new object on every kind of place: whole or not at all, and never over another one."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support.storage.killed import NEVER, killed
from support.storage.small_disk import small_disk

from lemmy_safety.errors import AccessDenied, BadKey, ObjectChanged, StorageError, StorageFull
from lemmy_safety.storage.parts import is_part, new_part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.storage.backends import StorageBackend

    from lemmy_safety.storage.base import Storage

KEY = "quarantine/01/é x.enc"
DATA = random.Random(1).randbytes(300_000)


def keys_of(storage: Storage) -> list[str]:
    return sorted(obj.key for obj in storage.list())


def parts_in(backend: StorageBackend) -> list[str]:
    root = getattr(backend, "root", None)
    return [] if root is None else [path.name for path in root.rglob("*") if is_part(path.name)]


@pytest.mark.parametrize("size", [0, 1, 32_768, 32_769, 3_000_001])
def test_what_was_written_is_there_byte_for_byte(storage: Storage, backend: StorageBackend, size: int) -> None:
    """Of any size, in folders that are made for it, and nothing else lies there afterwards."""
    data = random.Random(size).randbytes(size)
    assert storage.write_new(KEY, data) is True
    assert storage.read(KEY, max_bytes=size) == data
    assert [(obj.key, obj.size) for obj in storage.list()] == [(KEY, size)]
    assert parts_in(backend) == []


@pytest.mark.parametrize("there", [b"", b"other", b"longer than what is to be written"])
def test_an_object_that_is_there_is_never_overwritten(backend: StorageBackend, storage: Storage, there: bytes) -> None:
    """Of the same size, shorter or longer: it stays as it is, and the error says so."""
    backend.put(KEY, there)
    with pytest.raises(ObjectChanged, match="already exists"):
        storage.write_new(KEY, b"mine!")
    assert storage.read(KEY, max_bytes=100) == there
    assert keys_of(storage) == [KEY]
    assert parts_in(backend) == []


def test_writing_the_same_again_is_done_already(storage: Storage) -> None:
    """So a call whose answer was lost can be repeated; the object is not written a second time."""
    assert storage.write_new(KEY, DATA) is True
    (before,) = storage.list()
    assert storage.write_new(KEY, DATA) is False
    (after,) = storage.list()
    assert after == before


def test_several_writers_of_one_key_make_one_object(backend: StorageBackend, storage: Storage) -> None:
    """One wins, the others are refused; what is there is the winner's."""
    if backend.label == "swift":
        pytest.skip(
            "Swift looks whether a key is free when a request begins: two that begin together both find it free"
        )

    def write(number: int) -> bool:
        try:
            return storage.write_new(KEY, b"%d" % number * 1000)
        except ObjectChanged:
            return False

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(write, range(8)))
    assert made.count(True) == 1
    assert storage.read(KEY, max_bytes=1000) == b"%d" % made.index(True) * 1000
    assert keys_of(storage) == [KEY]
    assert parts_in(backend) == []


def test_neighbours_may_come_and_go_while_one_writes(backend: StorageBackend, storage: Storage) -> None:
    """A deletion removes the folder that it leaves empty, which another thread has just made."""
    if backend.scheme == "s3":
        pytest.skip("a bucket has no folders that are ours to make")

    def come_and_go(number: int) -> None:
        for _ in range(5):
            storage.write_new(f"q/same/folder/{number}", b"x")
            assert storage.delete(f"q/same/folder/{number}") is True

    storage.write_new("stays", b"x")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(come_and_go, range(4)))
    assert keys_of(storage) == ["stays"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_only_the_account_may_read_what_was_written(storage: Storage, backend: StorageBackend) -> None:
    """Whatever its umask allows."""
    if backend.scheme == "s3":
        pytest.skip("who may read an object is the bucket's affair")
    before = os.umask(0)
    try:
        storage.write_new(KEY, DATA)
    finally:
        os.umask(before)
    assert stat.S_IMODE((backend.root / KEY).stat().st_mode) == 0o600


def test_what_is_being_written_is_no_object(storage: Storage, backend: StorageBackend) -> None:
    """Nor is what a crash left behind; and it is in no one's way."""
    if backend.scheme == "s3":
        pytest.skip("S3 shows nothing before it is whole")
    backend.put(f"quarantine/01/{new_part()}", b"half")
    backend.put(new_part(), b"half")
    assert keys_of(storage) == []
    assert storage.write_new(KEY, DATA) is True
    assert keys_of(storage) == [KEY]


def test_a_key_below_a_file_is_refused(storage: Storage, backend: StorageBackend) -> None:
    """The file stays. A bucket that is not kept in folders can hold both."""
    backend.put("a", b"file")
    if backend.label == "swift":
        assert storage.write_new("a/b", b"x") is True
        return
    with pytest.raises((BadKey, ObjectChanged)):
        storage.write_new("a/b", b"x")
    assert storage.read("a", max_bytes=10) == b"file"
    assert keys_of(storage) == ["a"]


def test_a_writer_without_permission_is_denied(backend: StorageBackend) -> None:
    """Nothing is there afterwards."""
    if not backend.can_forbid:
        pytest.skip(f"no one can be refused anything on {backend.label} here")
    backend.put("closed/a.jpg", b"x")
    backend.forbid("closed/a.jpg")
    with backend.storage() as storage:
        with pytest.raises(AccessDenied):
            storage.write_new("closed/b.jpg", DATA)
        assert "closed/b.jpg" not in keys_of(storage)
    assert parts_in(backend) == []


@contextmanager
def _on_a_small_disk(backend: StorageBackend) -> Iterator[Path]:
    if backend.scheme == "s3":
        pytest.skip("Swift's disk is not ours to fill; what a server says of it is in s3/test_writing.py")
    backend.root.rmdir()
    with small_disk(backend.root, megabytes=2) as disk:
        if backend.label == "sftp":
            shutil.chown(disk, backend.username)
        yield disk


def test_a_full_disk_is_named_and_nothing_is_left_on_it(backend: StorageBackend) -> None:
    """The rest still works: what there is room for is written, and what is there can be deleted."""
    with _on_a_small_disk(backend) as disk, backend.storage() as storage:
        with pytest.raises(StorageFull):
            storage.write_new(KEY, bytes(3_000_000))
        assert os.listdir(disk) == []  # noqa: PTH208
        assert storage.write_new(KEY, DATA) is True
        assert storage.delete(KEY) is True


def test_a_disk_that_is_read_only_is_denied(backend: StorageBackend) -> None:
    """With what to do about it."""
    with _on_a_small_disk(backend) as disk:
        backend.put("a.jpg", b"x")
        with backend.storage() as storage:
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            for key in ("b.jpg", KEY):
                with pytest.raises(AccessDenied) as caught:
                    storage.write_new(key, DATA)
                assert "can be written to" in caught.value.hint
            assert keys_of(storage) == ["a.jpg"]


def test_bytes_that_come_back_changed_are_an_error(
    backend: StorageBackend, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage that damages what it is given must not be trusted with the only copy."""
    real = storage._write_new
    monkeypatch.setattr(storage, "_write_new", lambda key, data: real(key, data[:-1] + b"?"))
    with pytest.raises(StorageError, match="came back changed"):
        storage.write_new(KEY, b"mine!")
    assert backend.exists(KEY)


def _middles(total: int) -> list[int]:
    """Every step of a few; of many bytes some on the way, and more towards the end, where the small requests are."""
    if total < 50:
        return list(range(total))
    return sorted({total // 9, total // 2, *(total - left for left in (1, 300, 900) if left < total)})


def _killed_at_each_step(backend: StorageBackend, call: list, check: Callable[[], None], reset: Callable) -> None:
    if backend.label == "sftp":
        pytest.skip("the same requests as over ssh")
    total = killed(backend, call, after=NEVER)
    assert total
    reset()
    died = 0
    for after in _middles(total):
        if killed(backend, call, after=after) is None:
            died += 1
            check()
        reset()
    assert died


def test_a_writer_that_is_killed_leaves_no_half_object(backend: StorageBackend, storage: Storage) -> None:
    """At any step: the key is free or holds everything, and the same call succeeds afterwards."""

    def check() -> None:
        if keys_of(storage):
            assert storage.read(KEY, max_bytes=len(DATA)) == DATA
        storage.write_new(KEY, DATA)
        assert keys_of(storage) == [KEY]
        assert storage.read(KEY, max_bytes=len(DATA)) == DATA

    def reset() -> None:
        storage.delete(KEY) if backend.exists(KEY) else None

    _killed_at_each_step(backend, ["write_new", KEY, DATA.decode("latin-1")], check, reset)


def test_a_mover_that_is_killed_loses_nothing(backend: StorageBackend, storage: Storage) -> None:
    """At any step the bytes are whole at one of the two places, or both; and the same call succeeds afterwards."""
    backend.put("neighbour", b"x")
    backend.put("a/b.jpg", DATA)

    def check() -> None:
        found = [key for key in keys_of(storage) if key != "neighbour"]
        assert found
        assert {storage.read(key, max_bytes=len(DATA)) for key in found} == {DATA}
        storage.move("a/b.jpg", KEY)
        assert keys_of(storage) == ["neighbour", KEY]
        assert storage.read(KEY, max_bytes=len(DATA)) == DATA

    def reset() -> None:
        if backend.exists(KEY):
            storage.delete(KEY)
        backend.put("a/b.jpg", DATA)

    _killed_at_each_step(backend, ["move", "a/b.jpg", KEY], check, reset)
