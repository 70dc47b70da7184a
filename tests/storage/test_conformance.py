"""The storage contract, held against every backend on a real place: a folder, two S3 servers, sshd with and without shell."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.storage.backends import WITH_CONTROL_SIGNS

from lemmy_safety.errors import (
    AccessDenied,
    BadKey,
    ObjectChanged,
    ObjectGone,
    ObjectTooLarge,
    StorageUnreachable,
)
from lemmy_safety.pictrs.keys import LATE_ARRIVAL, LEGACY_GRACE, created_at, make_key
from lemmy_safety.storage.incremental import IncrementalListing
from lemmy_safety.storage.probing import probe

if TYPE_CHECKING:
    from support.storage.backends import StorageBackend

    from lemmy_safety.storage.base import Storage

ODD_KEYS = [
    "über/straße.webp",
    "日本語/画像.png",
    "emoji \U0001f600\U0001f468‍\U0001f469.jpg",
    "combining e\u0301.jpg",
    "line\nfeed\r.jpg",
    "quotes'\".jpg",
    "percent%20%2F%zz.jpg",
    "plus+and&equals=?#;,@.jpg",
    "  spaces  / a  b .jpg",
    "tab\t.jpg",
    WITH_CONTROL_SIGNS,
    "-rf",
    "--help",
    "$(id);`id`|id",
    "*?[a]{b}!.jpg",
    "~root/~.jpg",
    "...",
    "..a/a..",
    "right to left \u202egpj.exe",
    "no-break\u00a0space\ufeff.jpg",
    "x" * 200,
    "/".join(["deep"] * 30),
]


def keys_of(storage: Storage, **how) -> list[str]:
    return [obj.key for obj in storage.list(**how)]


def new_keys(storage: Storage, since: datetime, **how) -> list[str]:
    return [obj.key for obj in IncrementalListing(storage).new_since(since, **how)]


def test_an_empty_place_lists_nothing(storage: Storage) -> None:
    """No object is no error."""
    assert keys_of(storage) == []


def test_objects_are_listed_once_with_size_and_aware_time(backend: StorageBackend, storage: Storage) -> None:
    """Every object comes exactly once, described as the server knows it."""
    sizes = {"a.jpg": 3, "b/c.webp": 0, "b/d/e/f.png": 70_000}
    for key, size in sizes.items():
        backend.put(key, b"x" * size)
    listed = list(storage.list())
    assert sorted((obj.key, obj.size) for obj in listed) == sorted(sizes.items())
    for obj in listed:
        assert obj.modified_at.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - obj.modified_at) < timedelta(minutes=2)
        assert (obj.etag is not None) == backend.has_etag
        assert '"' not in (obj.etag or "")
        assert storage.stat(obj.key).same_content_as(obj)


def test_a_set_time_of_modification_is_told(backend: StorageBackend, storage: Storage) -> None:
    """Times come from the storage, to the second at least."""
    if not backend.keeps_mtime:
        pytest.skip(f"{backend.label} sets times itself")
    moment = datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC)
    backend.put("a/old.jpg", b"x", moment)
    (obj,) = storage.list()
    assert obj.modified_at.replace(microsecond=0) == moment
    assert storage.stat("a/old.jpg").modified_at.replace(microsecond=0) == moment


def test_odd_names_survive_every_operation(backend: StorageBackend, storage: Storage) -> None:
    """Any Unicode, blanks, control signs, shell signs and long names can be listed, read, moved and deleted."""
    if backend.label == "local" and os.name == "nt":
        pytest.skip("Windows cannot have such names")
    keys = [key for key in ODD_KEYS if key not in backend.unlisted]
    for number, key in enumerate(keys):
        backend.put(key, b"%d" % number)
    assert sorted(keys_of(storage)) == sorted(keys)
    for number, key in enumerate(keys):
        assert storage.read(key, max_bytes=10) == b"%d" % number
        assert storage.stat(key).size == len(b"%d" % number)
    for key in keys[:8]:
        storage.move(key, "moved/" + key)
        assert not backend.exists(key)
        assert storage.delete("moved/" + key) is True
    for key in keys[8:]:
        assert storage.delete(key) is True
    assert keys_of(storage) == []


def test_names_that_are_not_utf8_hide_nothing(backend: StorageBackend, storage: Storage) -> None:
    """A name in an old encoding has a key like any other, and its neighbours are seen."""
    put_raw_name = getattr(backend, "put_raw_name", None)
    if put_raw_name is None or os.name == "nt":
        pytest.skip(f"{backend.label} holds only Unicode names")
    put_raw_name(b"dir\xff/caf\xe9.jpg", b"latin-1")
    put_raw_name(b"dir\xff/back\\slash.jpg", b"backslash")
    backend.put("neighbour.jpg", b"utf-8")
    expected = {r"dir\xff/caf\xe9.jpg": b"latin-1", r"dir\xff/back\\slash.jpg": b"backslash", "neighbour.jpg": b"utf-8"}
    assert sorted(keys_of(storage)) == sorted(expected)
    for key, data in expected.items():
        key.encode("utf-8")
        assert storage.read(key, max_bytes=100) == data
    storage.move(r"dir\xff/caf\xe9.jpg", r"quarantine/caf\xe9.jpg")
    assert storage.delete(r"quarantine/caf\xe9.jpg") is True
    assert storage.delete(r"dir\xff/back\\slash.jpg") is True
    assert keys_of(storage) == ["neighbour.jpg"]


def test_more_objects_than_a_page_are_all_listed(backend: StorageBackend, storage: Storage) -> None:
    """A listing goes on behind the first page (1,000 keys; 100 on S3 here), and may be stopped at any place."""
    expected = [f"{n % 7}/{n:05}.jpg" for n in range(130 if backend.scheme == "s3" else 1_100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: backend.put(key, b"x"), expected))
    listed = keys_of(storage)
    assert sorted(listed) == sorted(expected)
    if backend.scheme == "s3":
        assert listed == sorted(expected)
    some = storage.list()
    assert next(some).key in expected
    some.close()


def test_prefix_and_after_select_by_text(backend: StorageBackend, storage: Storage) -> None:
    """Both are comparisons of whole keys in byte order, whatever folders there are."""
    every = ["a.jpg", "b.jpg", "b/c/1.jpg", "b/c/2.jpg", "b/c0", "b/z", "bb/x", "é/ü", "\uffee.jpg", "\U0001f600"]
    for key in every:
        backend.put(key, b"x")
    for prefix in ("", "b", "b/", "b/c/1", "b/c/1.jpg", "é", "nothing", "b/c/1.jpg/"):
        for after in (None, "", "a", "b/c/1.jpg", "b/c0", "é/", "\U0001f600"):
            expected = [key for key in every if key.startswith(prefix) and key.encode() > (after or "").encode()]
            assert sorted(keys_of(storage, prefix=prefix, after=after)) == sorted(expected), (prefix, after)


def test_since_keeps_what_was_modified_then_or_later(backend: StorageBackend, storage: Storage) -> None:
    """The bound itself belongs to it."""
    now = datetime.now(UTC).replace(microsecond=0)
    backend.put("old.jpg", b"x", now - timedelta(hours=2))
    backend.put("edge.jpg", b"x", now - timedelta(hours=1))
    backend.put("new.jpg", b"x")
    listed = keys_of(storage, since=now - timedelta(hours=1))
    assert sorted(listed) == (["edge.jpg", "new.jpg"] if backend.keeps_mtime else ["edge.jpg", "new.jpg", "old.jpg"])
    assert keys_of(storage, since=now + timedelta(days=1)) == []


@pytest.mark.parametrize("time", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)])
def test_a_file_whose_date_says_nothing_may_be_new(backend: StorageBackend, storage: Storage, time: datetime) -> None:
    """No date at all, which looks like 1970, or one in the future: such a file is listed whatever is asked for."""
    if not backend.keeps_mtime:
        pytest.skip(f"{backend.label} sets times itself")
    now = datetime.now(UTC)
    backend.put("a/odd.jpg", b"x", time)
    backend.put("a/old.jpg", b"x", now - timedelta(days=3))
    assert keys_of(storage, since=now) == ["a/odd.jpg"]
    assert new_keys(storage, now) == ["a/odd.jpg"]
    (odd,) = storage.list(since=now)
    assert storage.read("a/odd.jpg", max_bytes=1, expected=odd) == b"x"


def test_an_object_that_is_not_as_it_was_listed_is_said_to_have_changed(
    backend: StorageBackend, storage: Storage
) -> None:
    """It was written to between listing and reading: it is neither cut nor judged half."""
    backend.put("a.jpg", b"half")
    (listed,) = storage.list()
    assert storage.read("a.jpg", max_bytes=100, expected=listed) == b"half"
    backend.put("a.jpg", b"the whole file")
    with pytest.raises(ObjectChanged):
        storage.read("a.jpg", max_bytes=100, expected=listed)


def test_since_without_a_time_zone_is_a_programming_error(storage: Storage) -> None:
    """Local times are not guessed at."""
    with pytest.raises(ValueError, match="timezone-aware"):
        storage.list(since=datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("prefix", ["", "0", "01/", "1/"])
def test_an_incremental_listing_gives_what_is_new(backend: StorageBackend, storage: Storage, prefix: str) -> None:
    """On a large store with keys of both forms it equals the full listing filtered by time, without the long past."""
    storage.whole_listing_up_to = 0
    now = datetime.now(UTC).replace(microsecond=0)
    rng = random.Random(1)
    ages = [0, 1, 19, 21, 45, 60 * 5, 60 * 24 * 3, 60 * 24 * 60, 60 * 24 * 400]
    placed = {}
    for age in ages:
        moment = now - timedelta(minutes=age)
        placed[make_key(moment, rng.getrandbits(74), ".webp")] = moment
    for number in range(5):
        placed[f"1/{number}/legacy-{number}"] = now - timedelta(days=500 + number)
    for key, moment in placed.items():
        backend.put(key, b"x", moment)
    since = now - timedelta(minutes=20)
    incremental = new_keys(storage, since, prefix=prefix)
    new = [key for key, moment in placed.items() if moment >= since and key.startswith(prefix)]
    if backend.keeps_mtime:
        assert sorted(incremental) == sorted(keys_of(storage, since=since, prefix=prefix)) == sorted(new)
    else:
        assert set(new) <= set(incremental)
        assert all(created_at(key) >= since - LATE_ARRIVAL for key in incremental)


@pytest.mark.parametrize("upgraded", ["never", "an hour ago"])
def test_older_keys_are_listed_while_they_can_be_new(backend: StorageBackend, storage: Storage, upgraded: str) -> None:
    """Before and shortly after the upgrade to pict-rs 0.5.7 an incremental listing sees keys of the older form."""
    storage.whole_listing_up_to = 0
    now = datetime.now(UTC)
    backend.put("1/23/legacy", b"x")
    if upgraded == "an hour ago":
        backend.put(make_key(now - timedelta(hours=1), 7, ".png"), b"x", now - timedelta(hours=1))
        assert timedelta(hours=1) < LEGACY_GRACE
    assert "1/23/legacy" in new_keys(storage, now - timedelta(minutes=20))


@pytest.mark.parametrize(("up_to", "found"), [(4, True), (0, False)])
def test_a_small_store_is_listed_whole_whatever_its_keys(
    backend: StorageBackend, storage: Storage, up_to: int, found: bool
) -> None:
    """A file copied in by hand beside pict-rs's keys is seen at once; a large store shows it in the next full listing."""
    storage.whole_listing_up_to = up_to
    now = datetime.now(UTC)
    long_ago = now - timedelta(days=60)
    for number in range(3):
        backend.put(make_key(long_ago + timedelta(minutes=number), number, ".png"), b"x", long_ago)
    backend.put("copied-by-hand.png", b"x")
    incremental = new_keys(storage, now - timedelta(minutes=20))
    assert ("copied-by-hand.png" in incremental) is found
    assert len(incremental) == len(set(incremental))
    assert "copied-by-hand.png" in keys_of(storage, since=now - timedelta(minutes=20))


def test_what_the_file_system_salvaged_is_not_part_of_the_store(backend: StorageBackend, storage: Storage) -> None:
    """lost+found in the root of a volume is root's alone; a bucket may have keys of that name like any other."""
    backend.put("lost+found/x.png", b"x")
    backend.put("a/lost+found/x.png", b"x")
    expected = ["a/lost+found/x.png", "lost+found/x.png"] if backend.has_etag else ["a/lost+found/x.png"]
    assert sorted(keys_of(storage)) == expected


def test_reading_is_limited_by_bytes(backend: StorageBackend, storage: Storage) -> None:
    """Exactly the limit is read, one byte more is refused, and nothing at all is a fine object."""
    data = random.Random(2).randbytes(200_001)
    backend.put("a/b.jpg", data)
    backend.put("empty", b"")
    assert storage.read("a/b.jpg", max_bytes=200_001) == data
    assert storage.read("a/b.jpg", max_bytes=10**9) == data
    with pytest.raises(ObjectTooLarge, match="more than 200000 bytes"):
        storage.read("a/b.jpg", max_bytes=200_000)
    assert storage.read("a/b.jpg", max_bytes=200_001) == data
    assert storage.read("empty", max_bytes=0) == b""
    assert storage.stat("empty").size == 0


@pytest.mark.parametrize("key", ["nothing.jpg", "no/such/folder/x.jpg", "a/b.jpg/below-a-file", "a"])
def test_what_is_not_there_is_gone(backend: StorageBackend, storage: Storage, key: str) -> None:
    """Reading and describing say ObjectGone; deleting says that nothing was left to do."""
    backend.put("a/b.jpg", b"x")
    with pytest.raises(ObjectGone):
        storage.read(key, max_bytes=10)
    with pytest.raises(ObjectGone):
        storage.stat(key)
    assert storage.delete(key) is False
    assert backend.exists("a/b.jpg")


def test_a_deleted_object_is_gone_and_its_neighbours_are_not(backend: StorageBackend, storage: Storage) -> None:
    """Deleting twice is success both times."""
    backend.put("01/aa/x.jpg", b"x")
    backend.put("01/aa/y.jpg", b"y")
    assert storage.delete("01/aa/x.jpg") is True
    assert storage.delete("01/aa/x.jpg") is False
    with pytest.raises(ObjectGone):
        storage.stat("01/aa/x.jpg")
    assert keys_of(storage) == ["01/aa/y.jpg"]
    assert storage.delete("01/aa/y.jpg") is True
    assert keys_of(storage) == []


def test_only_the_judged_content_is_deleted(backend: StorageBackend, storage: Storage) -> None:
    """With ``expected``, a changed object is left alone, a same one is deleted, a missing one is success."""
    backend.put("neighbour.jpg", b"x")
    backend.put("a.jpg", b"first", datetime(2026, 1, 1, tzinfo=UTC))
    judged = storage.stat("a.jpg")
    backend.put("a.jpg", b"other", datetime(2026, 1, 2, tzinfo=UTC))
    with pytest.raises(ObjectChanged):
        storage.delete("a.jpg", expected=judged)
    assert storage.read("a.jpg", max_bytes=10) == b"other"
    assert storage.delete("a.jpg", expected=storage.stat("a.jpg")) is True
    assert storage.delete("a.jpg", expected=judged) is False


def test_in_an_empty_folder_nothing_can_be_told_to_be_gone(backend: StorageBackend, storage: Storage) -> None:
    """That is what a mount point without its file system looks like; an empty bucket is just empty."""
    backend.put("a.jpg", b"x")
    judged = storage.stat("a.jpg")
    assert storage.delete("a.jpg", expected=judged) is True
    if backend.has_etag:
        assert storage.delete("a.jpg", expected=judged) is False
        return
    for how in ({"expected": judged}, {}):
        with pytest.raises(StorageUnreachable, match="is empty"):
            storage.delete("a.jpg", **how)


def test_a_listed_object_can_be_deleted_as_expected(backend: StorageBackend, storage: Storage) -> None:
    """What a listing says and what describing says are comparable, although servers round times differently."""
    for number in range(5):
        backend.put(f"a/{number}.jpg", b"x")
    for obj in list(storage.list()):
        assert storage.delete(obj.key, expected=obj) is True


def test_moving_keeps_the_bytes(backend: StorageBackend, storage: Storage) -> None:
    """The object is at its new place only, and moving it again is already done."""
    backend.put("01/aa/x y.jpg", b"data", datetime(2026, 1, 1, tzinfo=UTC))
    before = storage.stat("01/aa/x y.jpg")
    storage.move("01/aa/x y.jpg", "quarantine/é/x y.jpg")
    storage.move("01/aa/x y.jpg", "quarantine/é/x y.jpg")
    assert keys_of(storage) == ["quarantine/é/x y.jpg"]
    assert storage.read("quarantine/é/x y.jpg", max_bytes=10) == b"data"
    if backend.keeps_mtime:
        assert storage.stat("quarantine/é/x y.jpg").same_content_as(before)
    storage.move("quarantine/é/x y.jpg", "01/aa/x y.jpg")
    assert keys_of(storage) == ["01/aa/x y.jpg"]


def test_moving_never_overwrites(backend: StorageBackend, storage: Storage) -> None:
    """Another object at the new place is kept, and so is the one to be moved."""
    backend.put("a.jpg", b"mine")
    backend.put("b/c.jpg", b"another")
    with pytest.raises(ObjectChanged):
        storage.move("a.jpg", "b/c.jpg")
    assert storage.read("a.jpg", max_bytes=10) == b"mine"
    assert storage.read("b/c.jpg", max_bytes=10) == b"another"


def test_moving_what_is_not_there_is_gone(backend: StorageBackend, storage: Storage) -> None:
    """Nothing is made at the new place."""
    with pytest.raises(ObjectGone):
        storage.move("no/such.jpg", "new.jpg")
    assert keys_of(storage) == []


def test_moving_onto_itself_is_refused(backend: StorageBackend, storage: Storage) -> None:
    """It must not end in a deletion."""
    backend.put("a.jpg", b"x")
    with pytest.raises(BadKey):
        storage.move("a.jpg", "a.jpg")
    assert backend.exists("a.jpg")


_PARTS = st.lists(st.sampled_from(["a", "..", ".", "", "b.jpg"]), min_size=1, max_size=5).map("/".join)


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.one_of(_PARTS, st.text(max_size=20), _PARTS.map(lambda key: "/" + key), _PARTS.map(lambda key: key + "\0"))
    .filter(lambda key: key.startswith("/") or "\0" in key or {"", ".", ".."} & set(key.split("/")))
)  # fmt: skip
def test_keys_that_could_leave_the_root_are_refused(storage: Storage, key: str) -> None:
    """No operation looks at them, not even to say that there is nothing."""
    for operation in (
        lambda: storage.read(key, max_bytes=10),
        lambda: storage.stat(key),
        lambda: storage.delete(key),
        lambda: storage.move(key, "fine.jpg"),
        lambda: storage.move("fine.jpg", key),
        lambda: storage.write_new(key, b"x"),
    ):
        with pytest.raises(BadKey):
            operation()


@pytest.mark.parametrize("key", ["\ud800.jpg", "a/\udcff"])
def test_keys_that_are_no_text_are_refused(storage: Storage, key: str) -> None:
    """Half a surrogate pair cannot be written in UTF-8 and names nothing."""
    with pytest.raises(BadKey):
        storage.read(key, max_bytes=10)
    with pytest.raises(BadKey):
        storage.delete(key)


def test_a_refused_object_is_denied_and_the_rest_goes_on(backend: StorageBackend) -> None:
    """Without permission on one object, that one is AccessDenied; the others are still read."""
    if not backend.can_forbid:
        pytest.skip(f"no one can be refused anything on {backend.label} here")
    backend.put("a/closed.jpg", b"x")
    backend.put("b/open.jpg", b"y")
    backend.forbid("a/closed.jpg")
    with backend.storage() as storage:
        with pytest.raises(AccessDenied):
            storage.read("a/closed.jpg", max_bytes=10)
        with pytest.raises(AccessDenied):
            storage.delete("a/closed.jpg")
        assert storage.read("b/open.jpg", max_bytes=10) == b"y"
    assert backend.exists("a/closed.jpg")


def test_an_outage_is_passing(backend: StorageBackend) -> None:
    """While the server is down everything says StorageUnreachable; the same storage works when it is back."""
    if not backend.has_server:
        pytest.skip(f"{backend.label} has no server")
    backend.put("a.jpg", b"x")
    with backend.storage() as storage:
        assert storage.read("a.jpg", max_bytes=10) == b"x"
        backend.break_off()
        try:
            with pytest.raises(StorageUnreachable):
                storage.read("a.jpg", max_bytes=10)
            with pytest.raises(StorageUnreachable):
                keys_of(storage)
            with pytest.raises(StorageUnreachable):
                storage.delete("a.jpg")
            with pytest.raises(StorageUnreachable):
                backend.storage().open()
            steps = list(probe(backend.storage()))
            assert [step.ok for step in steps] == [False]
            assert steps[0].fix
        finally:
            backend.come_back()
        assert keys_of(storage) == ["a.jpg"]
        assert storage.read("a.jpg", max_bytes=10) == b"x"
        assert storage.delete("a.jpg") is True


def test_several_threads_read_through_one_storage(backend: StorageBackend, storage: Storage) -> None:
    """Eight threads get each the bytes they asked for, while another lists."""
    rng = random.Random(3)
    objects = {f"t/{number}.jpg": rng.randbytes(rng.randrange(1, 60_000)) for number in range(12)}
    for key, data in objects.items():
        backend.put(key, data)
    wanted = [key for key in objects for _ in range(4)]
    rng.shuffle(wanted)
    with ThreadPoolExecutor(8) as pool:
        listing = pool.submit(keys_of, storage)
        read = list(pool.map(lambda key: storage.read(key, max_bytes=60_000), wanted))
    assert read == [objects[key] for key in wanted]
    assert sorted(listing.result()) == sorted(objects)


def test_objects_may_vanish_while_they_are_listed(backend: StorageBackend, storage: Storage) -> None:
    """pict-rs deletes by itself; a listing goes on over the gap."""
    for number in range(20):
        backend.put(f"{number:02}/{number}.jpg", b"x")
    listing = storage.list()
    first = next(listing)
    for number in range(20):
        storage.delete(f"{number:02}/{number}.jpg")
    rest = [obj.key for obj in listing]
    assert len({first.key, *rest}) == 1 + len(rest)
    assert keys_of(storage) == []


@pytest.mark.parametrize("filled", [False, True])
def test_a_healthy_place_passes_every_probe_and_is_left_as_it_was(backend: StorageBackend, filled: bool) -> None:
    """The doctor connects, lists, reads, writes and deletes, and leaves nothing behind."""
    if filled:
        backend.put("01/x.jpg", b"x" * 1000)
    with backend.storage() as storage:
        steps = list(probe(storage))
        assert [(step.name, step.fix) for step in steps if not step.ok] == []
        assert [step.name for step in steps] == ["connect", "list", *(["read"] if filled else []), "write and delete"]
        assert keys_of(storage) == (["01/x.jpg"] if filled else [])


def test_a_probe_says_what_is_not_allowed(backend: StorageBackend) -> None:
    """An account that may only look passes the first steps and fails the writing one, with a way to fix it."""
    if not backend.can_forbid:
        pytest.skip(f"no one can be refused anything on {backend.label} here")
    backend.put("closed.jpg", b"x")
    backend.forbid("closed.jpg")
    with backend.storage() as storage:
        steps = {step.name: step for step in probe(storage)}
    assert steps["connect"].ok
    assert steps["list"].ok
    assert not steps["read"].ok
    assert not steps["write and delete"].ok
    assert all(step.fix and "closed.jpg" in steps["read"].detail for step in steps.values() if not step.ok)


def test_a_place_has_one_name_without_secrets(backend: StorageBackend) -> None:
    """The ledger knows a storage by its name; two openings of one place must not look like two."""
    first, second = backend.storage(), backend.storage()
    assert first.name == second.name
    assert first.name.split(":")[0] == backend.scheme
    assert "testing" not in first.name


def test_closing_twice_is_fine(backend: StorageBackend) -> None:
    """Closing is safe in every state."""
    storage = backend.storage()
    storage.close()
    storage.open()
    storage.close()
    storage.close()


class Interrupted(Exception):
    """What a pace raises in these tests."""


@pytest.mark.parametrize("size", [0, 1, 5_000, 300_000, 3_000_000])
def test_a_pace_is_asked_for_every_byte_in_small_pieces(backend: StorageBackend, storage: Storage, size: int) -> None:
    """One large object does not come in one burst, and what comes is the object. SFTP asks for a byte more, to notice growth."""
    data = random.Random(size).randbytes(size)
    backend.put("a/b.jpg", data)
    (listed,) = storage.list()
    asked: list[int] = []
    assert storage.read("a/b.jpg", max_bytes=max(size, 1), expected=listed, pace=asked.append) == data
    assert size <= sum(asked) <= size + 1
    assert max(asked, default=0) <= 100_000


def test_bytes_come_only_after_the_pace_let_them(backend: StorageBackend, storage: Storage) -> None:
    """The pace is asked first, and an object that is not read any further costs nothing more."""
    backend.put("a/b.jpg", bytes(3_000_000))
    (listed,) = storage.list()
    asked: list[int] = []

    def interrupt(number: int) -> None:
        asked.append(number)
        if len(asked) == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        storage.read("a/b.jpg", max_bytes=3_000_000, expected=listed, pace=interrupt)
    assert len(asked) == 3
    assert sum(asked) <= 300_000


def test_a_read_that_its_pace_ended_leaves_the_storage_usable(backend: StorageBackend, storage: Storage) -> None:
    """A stop amid a large object, many times over: no session or connection is left in the middle of an answer."""
    data = random.Random(7).randbytes(600_000)
    backend.put("a/b.jpg", data)
    (listed,) = storage.list()

    def read_until(last: int) -> None:
        left = iter(range(last))

        def interrupt(_: int) -> None:
            if next(left, None) is None:
                raise Interrupted

        with pytest.raises(Interrupted):
            storage.read("a/b.jpg", max_bytes=len(data), expected=listed, pace=interrupt)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_until, [0, 1, 2, 4] * 5))
    assert storage.read("a/b.jpg", max_bytes=len(data), expected=listed) == data
