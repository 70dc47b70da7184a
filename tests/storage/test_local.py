"""What only a folder on this machine does: links, pipes, unmounted disks, and the systems' ideas of a name."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from support.storage.backends import LocalBackend

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
from lemmy_safety.storage.incremental import IncrementalListing
from lemmy_safety.storage.local import LocalStorage, folder
from lemmy_safety.storage.probing import probe

if TYPE_CHECKING:
    from pathlib import Path

    from lemmy_safety.storage.local.folder import Folder

needs_links = pytest.mark.skipif(os.name == "nt", reason="making links needs a privilege on Windows")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "volumes" / "files"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(params=["by descriptors", "by paths"])
def storage(root: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LocalStorage:
    """As on Linux and macOS, and as on Windows."""
    if request.param == "by paths":
        monkeypatch.setattr(folder, "HAS_DESCRIPTORS", False)
    elif not folder.HAS_DESCRIPTORS:
        pytest.skip("this system cannot hold a folder open")
    storage = LocalStorage(root)
    storage.open()
    return storage


def put(root: Path, key: str, data: bytes = b"x") -> Path:
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def listed(storage: LocalStorage, **how) -> list[str]:
    return sorted(obj.key for obj in storage.list(**how))


# The root


def test_the_name_is_the_resolved_path(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the folder is spelt, the ledger sees one storage."""
    monkeypatch.chdir(root.parent)
    names = {LocalStorage(spelling).name for spelling in (root, str(root) + "/", "files", "../volumes/./files")}
    assert names == {f"local:{root.resolve().as_posix()}"}


@needs_links
def test_a_link_to_the_root_is_the_root(root: Path, tmp_path: Path) -> None:
    """The admin may name the folder by a link; its objects are found."""
    put(root, "a.jpg")
    (tmp_path / "link").symlink_to(root)
    with LocalStorage(tmp_path / "link") as storage:
        assert storage.name == LocalStorage(root).name
        assert storage.read("a.jpg", max_bytes=1) == b"x"


def test_no_folder_and_no_folder_at_all_are_missing(root: Path) -> None:
    """The message names the path, the hint names the setting."""
    for path in (root / "no", put(root, "file")):
        with pytest.raises(StorageMissing, match=path.name) as caught:
            LocalStorage(path).open()
        assert "PICTRS_FILES_DIRECTORY" in caught.value.hint
        (step,) = probe(LocalStorage(path))
        assert not step.ok
        assert "PICTRS_FILES_DIRECTORY" in step.fix


def test_a_root_that_vanishes_does_not_make_objects_gone(root: Path, storage: LocalStorage) -> None:
    """Were 'gone' recorded for everything, nothing would be looked at again."""
    put(root, "a/b.jpg")
    root.rename(root.with_name("away"))
    for operation in (
        lambda: storage.read("a/b.jpg", max_bytes=1),
        lambda: storage.stat("a/b.jpg"),
        lambda: storage.delete("a/b.jpg"),
        lambda: listed(storage),
    ):
        with pytest.raises(StorageMissing):
            operation()


def test_another_folder_in_the_roots_place_is_an_outage(root: Path, storage: LocalStorage) -> None:
    """That is what an unmounted disk leaves, be it with a file that was put there meanwhile; a new disk is opened again."""
    put(root, "a/b.jpg")
    root.rename(root.with_name("away"))
    root.mkdir()
    with pytest.raises(StorageUnreachable, match="mounted"):
        listed(storage)
    with pytest.raises(StorageUnreachable, match="mounted"):
        storage.stat("a/b.jpg")
    put(root, "a/c.jpg")
    with pytest.raises(StorageUnreachable, match="mounted"):
        listed(storage)
    with pytest.raises(StorageUnreachable, match="mounted"):
        storage.stat("a/b.jpg")
    storage.open()
    assert listed(storage) == ["a/c.jpg"]
    with pytest.raises(ObjectGone):
        storage.stat("a/b.jpg")


def test_a_root_that_vanishes_while_it_is_listed_ends_the_listing_with_an_error(
    root: Path, storage: LocalStorage
) -> None:
    """Half a listing must not pass for a whole one."""
    for number in range(10):
        put(root, f"{number}/a.jpg")
    listing = storage.list()
    next(listing)
    root.rename(root.with_name("away"))
    with pytest.raises(StorageMissing):
        list(listing)


# Links and other things that are no objects


@needs_links
def test_links_are_neither_listed_nor_followed(root: Path, storage: LocalStorage, tmp_path: Path) -> None:
    """Wherever a link points, out of the store or within it, nothing happens behind it."""
    outside = put(tmp_path, "outside/secret.jpg", b"secret")
    put(root, "real/a.jpg")
    (root / "out.jpg").symlink_to(outside)
    (root / "folder").symlink_to(outside.parent)
    (root / "within").symlink_to(root / "real")
    (root / "real" / "loop").symlink_to(root)
    (root / "dangling.jpg").symlink_to(root / "nothing")
    assert listed(storage) == ["real/a.jpg"]
    for key in ("out.jpg", "folder/secret.jpg", "within/a.jpg", "real/loop/real/a.jpg", "dangling.jpg"):
        for operation in (
            lambda key=key: storage.read(key, max_bytes=10),
            lambda key=key: storage.stat(key),
            lambda key=key: storage.delete(key),
            lambda key=key: storage.move(key, "new.jpg"),
            lambda key=key: storage.move("real/a.jpg", key + "/x.jpg"),
        ):
            with pytest.raises(BadKey):
                operation()
    assert outside.read_bytes() == b"secret"
    assert (root / "out.jpg").is_symlink()
    assert listed(storage) == ["real/a.jpg"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_blocks_nothing(root: Path, storage: LocalStorage) -> None:
    """A pipe named .jpg, with no one at its other end, is no object."""
    os.mkfifo(root / "pipe.jpg")
    put(root, "a.jpg")
    assert listed(storage) == ["a.jpg"]
    with pytest.raises(ObjectGone):
        storage.read("pipe.jpg", max_bytes=10)
    assert storage.delete("pipe.jpg") is False
    assert stat.S_ISFIFO((root / "pipe.jpg").stat().st_mode)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_put_in_the_place_of_a_file_blocks_nothing(
    root: Path, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it takes the file's place between looking and opening."""
    path = put(root, "a.jpg")
    look = storage._tree.regular

    def look_then_swap(key: str, where: Folder, name: str) -> os.stat_result:
        facts = look(key, where, name)
        path.unlink()
        os.mkfifo(path)
        return facts

    monkeypatch.setattr(storage._tree, "regular", look_then_swap)
    with pytest.raises(ObjectGone):
        storage.read("a.jpg", max_bytes=10)


# Deleting and moving


def test_folders_left_empty_are_removed_but_never_the_root(root: Path, storage: LocalStorage) -> None:
    """As pict-rs does, up to the first folder that holds something else."""
    put(root, "01/aa/bb/x.jpg")
    put(root, "01/cc/y.jpg")
    storage.delete("01/aa/bb/x.jpg")
    assert not (root / "01" / "aa").exists()
    assert (root / "01" / "cc").exists()
    storage.delete("01/cc/y.jpg")
    assert root.exists()
    assert list(root.iterdir()) == []


@pytest.mark.long
def test_several_threads_empty_one_folder(root: Path, storage: LocalStorage) -> None:
    """Threads that race to remove the same empty folders do not disturb each other or those that move in."""
    for number in range(200):
        put(root, f"a/b/{number}.jpg")
    errors = []

    def work(numbers: range) -> None:
        try:
            for number in numbers:
                if number % 2:
                    storage.move(f"a/b/{number}.jpg", f"q/{number % 5}/{number}.jpg")
                    storage.move(f"q/{number % 5}/{number}.jpg", f"a/c/{number}.jpg")
                    storage.delete(f"a/c/{number}.jpg")
                else:
                    storage.delete(f"a/b/{number}.jpg")
        except StorageError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(range(start, 200, 8),)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list(root.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "link") or os.name == "nt", reason="hard links are used on POSIX only")
@pytest.mark.parametrize("existing", [False, True])
def test_without_hard_links_moving_does_not_overwrite_either(
    root: Path, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    """FAT and some network disks know no hard links, and the kernel may forbid linking other people's files."""

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    put(root, "a.jpg", b"mine")
    if existing:
        put(root, "q/a.jpg", b"another")
        with pytest.raises(ObjectChanged):
            storage.move("a.jpg", "q/a.jpg")
        assert (root / "a.jpg").read_bytes() == b"mine"
        assert (root / "q" / "a.jpg").read_bytes() == b"another"
    else:
        storage.move("a.jpg", "q/a.jpg")
        assert listed(storage) == ["q/a.jpg"]
        assert (root / "q" / "a.jpg").read_bytes() == b"mine"


@pytest.mark.skipif(not hasattr(os, "link") or os.name == "nt", reason="hard links are used on POSIX only")
@pytest.mark.parametrize("links", [False, True])
def test_a_file_that_appears_while_another_is_written_is_kept(
    root: Path, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Also where there are no hard links; and without it, the new file gets its name."""

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    assert storage.write_new("q/new.enc", b"new") is True
    put(root, "q/a.enc", b"another")
    monkeypatch.setattr(folder.Folder, "exists", lambda *_: False)
    with pytest.raises(ObjectChanged, match="already exists"):
        storage.write_new("q/a.enc", b"mine!")
    assert (root / "q" / "a.enc").read_bytes() == b"another"
    assert sorted(os.listdir(root / "q")) == ["a.enc", "new.enc"]  # noqa: PTH208


@needs_links
def test_a_move_that_was_cut_short_is_finished(root: Path, storage: LocalStorage) -> None:
    """Linked at its new place but not yet removed from the old one: moving again removes it there."""
    put(root, "a/b.jpg", b"data")
    (root / "q").mkdir()
    os.link(root / "a" / "b.jpg", root / "q" / "b.jpg")
    storage.move("a/b.jpg", "q/b.jpg")
    assert listed(storage) == ["q/b.jpg"]
    assert (root / "q" / "b.jpg").read_bytes() == b"data"


def test_a_file_where_a_folder_is_needed_refuses_the_move(root: Path, storage: LocalStorage) -> None:
    """It is not mistaken for the object being gone, which would count as moved."""
    put(root, "a.jpg")
    put(root, "q")
    with pytest.raises(ObjectChanged):
        storage.move("a.jpg", "q/a.jpg")
    with pytest.raises(ObjectChanged):
        storage.move("a.jpg", "q/deeper/a.jpg")
    assert listed(storage) == ["a.jpg", "q"]


def test_a_file_that_grows_while_it_is_read_is_limited(
    root: Path, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pict-rs writes to the final path; what is read is at most what was allowed."""
    path = put(root, "a.jpg", b"x" * 10)
    real = os.fstat

    def grow(descriptor: int) -> os.stat_result:
        facts = real(descriptor)
        with path.open("ab") as file:
            file.write(b"y" * 200_000)
        return facts

    monkeypatch.setattr(os, "fstat", grow)
    assert len(storage.read("a.jpg", max_bytes=200_010)) == 200_010


# Listing


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_a_folder_that_may_not_be_read_hides_no_other(
    root: Path, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest is listed first, the folder is named in the log, and the listing ends as not complete."""
    for key in ("a/1.jpg", "b/2.jpg", "c/3.jpg"):
        put(root, key)
    if not LocalBackend.can_forbid:
        # Root may read everything, so the system's answer to others is put in its place.
        scan = os.scandir

        def refuse(where):
            if os.path.samestat(os.stat(where), (root / "b").stat()):  # noqa: PTH116 - of a descriptor
                raise PermissionError(errno.EACCES, "Permission denied")
            return scan(where)

        monkeypatch.setattr(os, "scandir", refuse)
    else:
        (root / "b").chmod(0)
    caplog.set_level(logging.WARNING)
    seen = []
    try:
        with pytest.raises(AccessDenied, match="b/"):
            # extend() keeps what came before the error.
            seen.extend(obj.key for obj in storage.list())
    finally:
        (root / "b").chmod(0o755)
    assert sorted(seen) == ["a/1.jpg", "c/3.jpg"]
    assert "b/" in caplog.text


def test_an_incremental_listing_looks_only_into_new_folders(
    root: Path, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost is that of the new objects: folders that are proved old are not opened, legacy ones neither."""
    storage.whole_listing_up_to = 0  # as in a large store
    listing = IncrementalListing(storage)
    now = datetime.now(UTC)
    for day in range(1, 400, 7):
        put(root, make_key(now - timedelta(days=day), day, ".webp"))
    for number in range(50):
        put(root, f"1/{number}/legacy")
    new = make_key(now - timedelta(minutes=3), 1, ".webp")
    put(root, new)
    assert [obj.key for obj in listing.new_since(now - timedelta(minutes=20))] == [new]
    opened = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: opened.append(path) or scan(path))
    assert [obj.key for obj in listing.new_since(now - timedelta(minutes=20))] == [new]
    assert len(opened) <= 1 + 2 * 10


def test_times_no_clock_can_show_do_not_end_a_listing(root: Path, storage: LocalStorage) -> None:
    """Disks can hold times before 1970 and far in the future."""
    os.utime(put(root, "before.jpg"), (-10_000, -10_000))
    far = put(root, "far.jpg")
    with contextlib.suppress(OSError):  # not every file system can hold that; the other half still counts
        os.utime(far, (2**40, 2**40))
    assert listed(storage) == ["before.jpg", "far.jpg"]
    assert storage.stat("before.jpg").modified_at == datetime(1970, 1, 1, tzinfo=UTC)


# Names and errors


def test_a_name_too_long_for_the_disk_is_a_bad_key(storage: LocalStorage) -> None:
    """It cannot exist here, which is not the same as being gone."""
    with pytest.raises(BadKey):
        storage.stat("x" * 300)
