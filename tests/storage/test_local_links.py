"""A folder of the store becomes a symbolic link while something is done in it: nothing outside is touched or shown."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lemmy_safety.errors import BadKey, ObjectChanged, ObjectGone, StorageError, StorageUnreachable
from lemmy_safety.storage.local import LocalStorage
from lemmy_safety.storage.local.folder import HAS_DESCRIPTORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lemmy_safety.records import StoredObject

pytestmark = pytest.mark.skipif(not HAS_DESCRIPTORS, reason="this system cannot hold a folder open")

#: Of the same size and time, so that nothing but the place tells the two files apart.
INSIDE, OUTSIDE = b"inside!", b"outside"
KEY = "a/b/x.jpg"
MODIFIED_S = 1_700_000_000


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (MODIFIED_S, MODIFIED_S))


class Swap:
    """The folder ``a`` of a store, and a link to a folder outside that takes its place and gives it back."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "files"
        self.folder = self.root / "a"
        self.aside = tmp_path / "aside"
        self.outside = tmp_path / "outside"
        self.victim = self.outside / "b" / "x.jpg"
        self.is_link = False
        self._link = tmp_path / "link"
        write(self.root / KEY, INSIDE)
        write(self.root / "a/stays.jpg", b"it keeps its folder from being removed as empty")
        write(self.root / "other.jpg", b"other")
        write(self.victim, OUTSIDE)
        (self.outside / "empty" / "too").mkdir(parents=True)

    def swap(self) -> None:
        """Without a moment in which there is nothing: a link cannot replace a folder at once, but nearly."""
        if self.is_link:
            self.folder.unlink()
            self.aside.rename(self.folder)
        else:
            self._link.symlink_to(self.outside)
            self.folder.rename(self.aside)
            self._link.rename(self.folder)
        self.is_link = not self.is_link

    def as_it_was_outside(self) -> bool:
        files = {path.relative_to(self.outside).as_posix() for path in self.outside.rglob("*")}
        return files == {"b", "b/x.jpg", "empty", "empty/too"} and self.victim.read_bytes() == OUTSIDE


@pytest.fixture
def place(tmp_path: Path) -> Swap:
    return Swap(tmp_path)


@pytest.fixture
def storage(place: Swap) -> Iterator[LocalStorage]:
    with LocalStorage(place.root) as opened:
        yield opened


def outcome(operation: Callable[[], object]) -> object:
    """What came back, or the class of our error; any other exception is a fault."""
    try:
        return operation()
    except StorageError as error:
        return type(error)


#: The calls by which a file or folder is reached, those that change something first.
CALLS = ("unlink", "rmdir", "rename", "replace", "link", "mkdir", "makedirs", "open", "lstat", "stat", "scandir")


@pytest.mark.parametrize(("nth", "begins_as_link"), list(itertools.product(range(12), [False, True])))
@pytest.mark.parametrize("what", ["read", "stat", "delete", "delete expected", "move away", "move there", "list"])
def test_nothing_outside_is_reached_whichever_call_the_swap_comes_before(
    place: Swap, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, what: str, *, begins_as_link: bool, nth: int
) -> None:
    """The folder is exchanged right before the nth system call of each operation."""
    judged = storage.stat(KEY)
    operations: dict[str, Callable[[], object]] = {
        "read": lambda: storage.read(KEY, max_bytes=100),
        "stat": lambda: storage.stat(KEY),
        "delete": lambda: storage.delete(KEY),
        "delete expected": lambda: storage.delete(KEY, expected=judged),
        "move away": lambda: storage.move(KEY, "moved.jpg"),
        "move there": lambda: storage.move("other.jpg", "a/b/deeper/other.jpg"),
        "list": lambda: [obj.key for obj in storage.list()],
    }
    if begins_as_link:
        place.swap()
    calls = 0

    def swapping(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **how: object) -> object:
            nonlocal calls
            calls += 1
            if calls == nth + 1:
                with monkeypatch.context() as undone:
                    for other, was in reals.items():
                        undone.setattr(os, other, was)
                    place.swap()
            return real(*args, **how)

        return call

    reals = {name: getattr(os, name) for name in CALLS}
    for name, real in reals.items():
        monkeypatch.setattr(os, name, swapping(real))
    came = outcome(operations[what])
    monkeypatch.undo()
    assert place.as_it_was_outside()
    assert came != OUTSIDE
    assert not (place.root / "moved.jpg").exists() or (place.root / "moved.jpg").read_bytes() == INSIDE
    if place.is_link:
        place.swap()
    if what in ("read", "stat", "list"):
        assert (place.root / KEY).read_bytes() == INSIDE


@pytest.fixture
def swapping(place: Swap) -> Iterator[threading.Event]:
    """A thread that exchanges the folder and the link as fast as it can, for as long as a test runs."""
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            place.swap()

    thread = threading.Thread(target=swap)
    thread.start()
    yield over
    over.set()
    thread.join()


def put_back(place: Swap) -> None:
    """The object lies in its folder again, wherever that folder is at the moment."""
    for folder in (place.aside, place.folder):
        with contextlib.suppress(OSError):
            at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir("b", dir_fd=at)
                file = os.open("b/x.jpg", os.O_WRONLY | os.O_CREAT, dir_fd=at)
                os.write(file, INSIDE)
                os.utime(file, (MODIFIED_S, MODIFIED_S))
                os.close(file)
            finally:
                os.close(at)


@pytest.mark.long
def test_a_file_outside_survives_deletions_while_folder_and_link_are_exchanged(
    place: Swap, storage: LocalStorage, swapping: threading.Event
) -> None:
    """Many rounds; the file outside has the name, size and time of the one that was judged."""
    del swapping
    judged = described(storage)
    outcomes: Counter[object] = Counter()
    for number in range(100_000):
        put_back(place)
        outcomes[outcome(lambda: storage.delete(KEY, expected=judged))] += 1
        assert place.victim.read_bytes() == OUTSIDE
        if number >= 2000 and min(outcomes[True], outcomes[BadKey]) >= 20:
            break
    assert place.as_it_was_outside()
    assert min(outcomes[True], outcomes[BadKey]) >= 20, outcomes


@pytest.mark.long
def test_nothing_outside_is_read_or_moved_while_folder_and_link_are_exchanged(
    place: Swap, storage: LocalStorage, swapping: threading.Event
) -> None:
    """What is read is the store's own file, or nothing."""
    del swapping
    contents, moved = set(), 0
    for number in range(100_000):
        put_back(place)
        contents.add(outcome(lambda: storage.read(KEY, max_bytes=100)))
        if outcome(lambda: storage.move(KEY, "moved/x.jpg")) is None:
            moved += 1
            assert (place.root / "moved" / "x.jpg").read_bytes() == INSIDE
            (place.root / "moved" / "x.jpg").unlink()
        if number >= 1500 and moved >= 20 and {INSIDE, BadKey} <= contents:
            break
    assert contents <= {INSIDE, BadKey, ObjectGone}
    assert {INSIDE, BadKey} <= contents
    assert moved >= 20
    assert place.as_it_was_outside()


def described(storage: LocalStorage) -> StoredObject:
    """The object as it was judged, found in one of the moments in which its folder is there."""
    while True:
        with contextlib.suppress(StorageError):
            return storage.stat(KEY)


def test_a_listing_shows_nothing_of_outside_while_folder_and_link_are_exchanged(
    place: Swap, storage: LocalStorage, swapping: threading.Event
) -> None:
    """Not even names: the link's own folder is never listed."""
    del swapping
    write(place.outside / "b" / "only-outside.jpg", b"x")
    try:
        seen: set[str] = set()
        for number in range(100_000):
            with contextlib.suppress(StorageError):
                seen.update(obj.key for obj in storage.list())
            if number >= 1000 and KEY in seen:
                break
        assert seen == {KEY, "a/stays.jpg", "other.jpg"}
    finally:
        (place.outside / "b" / "only-outside.jpg").unlink()


def test_folders_outside_that_are_empty_are_not_removed(
    place: Swap, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder becomes a link after the deletion, and before the folders that it left empty are removed."""
    write(place.root / "a/empty/too/x.jpg", INSIDE)
    rmdir = os.rmdir

    def swapped(*args, **how):
        if not place.is_link:
            place.swap()
        return rmdir(*args, **how)

    monkeypatch.setattr(os, "rmdir", swapped)
    assert storage.delete("a/empty/too/x.jpg") is True
    assert place.as_it_was_outside()


def test_a_root_that_becomes_a_link_is_an_outage(place: Swap, storage: LocalStorage) -> None:
    """What it leads to is not the folder that was opened: nothing there is listed, read, moved or deleted."""
    judged = storage.stat(KEY)
    write(place.outside / KEY, INSIDE)
    place.root.rename(place.root.with_name("away"))
    place.root.symlink_to(place.outside)
    for operation in (
        lambda: list(storage.list()),
        lambda: storage.read(KEY, max_bytes=100),
        lambda: storage.delete(KEY, expected=judged),
        lambda: storage.move(KEY, "new.jpg"),
    ):
        with pytest.raises(StorageUnreachable):
            operation()
    assert (place.outside / KEY).read_bytes() == INSIDE


@pytest.mark.parametrize("call", ["unlink", "open"])
def test_a_file_that_becomes_a_link_leads_nowhere(
    place: Swap, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """In the last moment before it is read or deleted: the link itself may go, what it points to stays."""
    path, real = place.root / KEY, getattr(os, call)

    def exchanged(name, *args, **how):
        if name == path.name and not path.is_symlink():
            path.rename(place.aside)
            path.symlink_to(place.victim)
        return real(name, *args, **how)

    monkeypatch.setattr(os, call, exchanged)
    if call == "open":
        with pytest.raises(BadKey):
            storage.read(KEY, max_bytes=100)
    else:
        assert storage.delete(KEY) is True
    assert place.as_it_was_outside()


def test_folders_that_hold_too_many_folders_end_no_listing(tmp_path: Path) -> None:
    """Each open folder costs a descriptor: what lies deeper than pict-rs ever stores is reported, the rest is listed."""
    root = tmp_path / "files"
    write(root / "a.jpg", b"x")
    deep = root
    for _ in range(110):
        deep = deep / "d"
    deep.mkdir(parents=True)
    write(root / "z/b.jpg", b"x")
    seen = []
    with LocalStorage(root) as storage, pytest.raises(StorageError, match="1 folders"):
        seen.extend(obj.key for obj in storage.list())
    assert seen == ["a.jpg", "z/b.jpg"]


def test_no_descriptor_is_left_open(place: Swap, storage: LocalStorage) -> None:
    """After operations that went well, that failed, and a listing that was given up."""

    def numbers() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    before = numbers()
    next(storage.list())
    for key in (KEY, "a/nothing.jpg", "nothing/x.jpg", "other.jpg/x"):
        outcome(lambda key=key: storage.read(key, max_bytes=100))
        outcome(lambda key=key: storage.move(key, "other.jpg"))
        outcome(lambda key=key: storage.delete(key))
    list(storage.list())
    assert numbers() == before


@pytest.fixture
def disk(place: Swap) -> Iterator[Path]:
    """A file system of its own in the store's folder ``disk``, as where one grew too large for its first disk."""
    folder = place.root / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], check=False, capture_output=True)
    if made.returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_is_mounted_in_the_store_is_part_of_it(storage: LocalStorage, disk: Path) -> None:
    """Its objects are listed, read, moved and deleted; the mount point is no empty folder to be removed."""
    write(disk / "a/x.jpg", INSIDE)
    write(disk / "y.jpg", INSIDE)
    assert {"disk/a/x.jpg", "disk/y.jpg"} <= {obj.key for obj in storage.list()}
    assert storage.read("disk/a/x.jpg", max_bytes=100) == INSIDE
    storage.move("disk/a/x.jpg", "disk/b/x.jpg")
    assert storage.delete("disk/b/x.jpg", expected=storage.stat("disk/b/x.jpg")) is True
    assert storage.delete("disk/y.jpg") is True
    assert list(disk.iterdir()) == []
    assert os.path.ismount(disk)


def test_what_is_mounted_over_a_folder_is_not_what_was_judged(storage: LocalStorage, place: Swap) -> None:
    """The object of the same name on the other disk stays."""
    judged = storage.stat(KEY)
    made = subprocess.run(["mount", "-t", "tmpfs", "none", str(place.folder)], check=False, capture_output=True)
    if made.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        write(place.root / KEY, b"another one")
        with pytest.raises(ObjectChanged):
            storage.delete(KEY, expected=judged)
        assert (place.root / KEY).read_bytes() == b"another one"
    finally:
        subprocess.run(["umount", "--lazy", str(place.folder)], check=True)
    assert storage.delete(KEY, expected=judged) is True


def test_an_object_cannot_be_moved_to_another_disk(storage: LocalStorage, place: Swap, disk: Path) -> None:
    """A rename cannot do it: both places stay as they are, and nothing half-made is left."""
    with pytest.raises(StorageError):
        storage.move(KEY, "disk/x.jpg")
    assert (place.root / KEY).read_bytes() == INSIDE
    assert list(disk.iterdir()) == []
