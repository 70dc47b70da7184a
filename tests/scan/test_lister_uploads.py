"""What uploads at the hook mean for a pass: everything is read, what was accepted unchecked first."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.ledger.created import new_ledger
from support.ledger.results import RULES, checked, record, sha256_of
from support.ledger.uploads import judged, upload
from support.scan.passes import WatchedStorage, minutes_ago, put

from lemmy_safety.pauses import Pauses
from lemmy_safety.records import Outcome
from lemmy_safety.scan import PassRequest
from lemmy_safety.scan.pausing import PauseGate
from lemmy_safety.scan.progress import PassCounter
from lemmy_safety.scan.requests import InPause
from lemmy_safety.scan.stages.list import Lister
from lemmy_safety.storage.incremental import IncrementalListing


class TaggedStorage(WatchedStorage):
    """Lists like S3: each object with the MD5 of its bytes; notes since when it was asked to."""

    whole_listing_up_to = 0  # as a large store, of which only what is new is asked for

    def __init__(self, root) -> None:
        super().__init__(root)
        self.listings = []

    def list(self, **how):
        self.listings.append(how["since"])
        return super().list(**how)

    def _list(self, **how):
        for obj in super()._list(**how):
            data = Path(self._root, obj.key).read_bytes()
            yield replace(obj, etag=hashlib.md5(data, usedforsecurity=False).hexdigest())


class Inbox(list):
    put = put_result = put_open_action = list.append


class Pass:
    """One pass of the lister alone, over pictures that are texts."""

    def __init__(self, root, ledger) -> None:
        self.root, self.ledger = root, ledger
        self.storage = TaggedStorage(root)
        self.incremental = IncrementalListing(self.storage)

    def run(self, *, since=None):
        counter = PassCounter()
        self.to_fetch, self.to_record = Inbox(), Inbox()
        lister = Lister(
            storage=self.storage,
            incremental=self.incremental,
            ledger=self.ledger,
            ruleset=RULES,
            counter=counter,
            stop=threading.Event(),
            gate=PauseGate(Pauses(), InPause.GO_ON, counter),
        )
        lister.run(PassRequest(kind="sweep", since=since), "", to_fetch=self.to_fetch, to_record=self.to_record)
        self.counts = counter.snapshot(1.0)
        return [obj.key for obj in self.to_fetch]


@pytest.fixture
def one_pass(tmp_path):
    root = tmp_path / "files"
    root.mkdir()
    with new_ledger(tmp_path / "a.db") as ledger:
        yield Pass(root, ledger)


def store(one_pass, key, content, minutes=30.0):
    put(one_pass.root, key, content.encode(), modified_at=minutes_ago(minutes))


def test_an_object_is_read_whatever_its_listing_says(one_pass) -> None:
    """Tag, size and time are those of an upload that was judged; two files can share all of them."""
    store(one_pass, "uploaded", "one")
    one_pass.ledger.uploads.record([judged("one", at=minutes_ago(30))])
    assert one_pass.run() == ["uploaded"]
    assert one_pass.to_record == []


@pytest.mark.long
def test_what_was_let_in_unchecked_is_read_first(one_pass) -> None:
    """Before a thousand others, once, in a sweep and in a pass of the daemon; those of other sizes wait their turn."""
    for number in range(1200):
        store(one_pass, f"{number % 7}/{number}", f"picture {number:05}")
    store(one_pass, "3/unchecked", "let in unchecked", minutes=5)
    store(one_pass, "5/same size", "let in UNCHECKED", minutes=5)
    one_pass.ledger.uploads.record([upload("let in unchecked", at=minutes_ago(5))])
    for since in (None, minutes_ago(60)):
        keys = one_pass.run(since=since)
        assert set(keys[:2]) == {"3/unchecked", "5/same size"}
        assert len(keys) == len(set(keys)) == one_pass.counts.seen == 1202


def test_looking_for_them_costs_a_listing_of_what_is_newer(one_pass) -> None:
    """And nothing at all where there are none."""
    store(one_pass, "a", "old", minutes=600)
    one_pass.run()
    assert one_pass.storage.listings == [None]
    one_pass.storage.listings.clear()
    accepted = minutes_ago(5)
    one_pass.ledger.uploads.record([upload("let in unchecked", at=accepted)])
    assert one_pass.run() == ["a"]
    first, second = one_pass.storage.listings
    assert second is None
    assert accepted - timedelta(minutes=30) < first < accepted
    one_pass.storage.listings.clear()
    one_pass.run(since=minutes_ago(1))
    assert len(set(one_pass.storage.listings)) == 1  # never before what the pass is about


def test_once_it_was_judged_the_order_is_the_storages_again(one_pass) -> None:
    """The entry is settled by the record of the pass that read it."""
    store(one_pass, "a", "let in unchecked")
    one_pass.ledger.uploads.record([upload("let in unchecked", at=minutes_ago(30))])
    one_pass.run()
    read = checked("a", Outcome.FLAGGED, obj=one_pass.to_fetch[0], sha256=sha256_of("let in unchecked"))
    (pending,) = record(one_pass.ledger, [read], storage=one_pass.storage.name)
    assert pending.obj.key == "a"
    assert one_pass.ledger.uploads.count_unchecked() == 0
    one_pass.storage.listings.clear()
    one_pass.run()
    assert one_pass.storage.listings == [None]


@pytest.mark.parametrize(
    "at", [datetime(1, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)]
)
def test_a_time_that_no_upload_has_stops_no_pass(one_pass, at):
    """A ledger may hold it from a relay that was believed before; unchecked uploads are looked for all the same."""
    one_pass.ledger.uploads.record([upload("waits", at=at)])
    store(one_pass, "a", "waits")
    assert one_pass.run(since=datetime.now(UTC) - timedelta(hours=2)) == ["a"]
    assert one_pass.run() == ["a"]
    assert all(since is None or since.year >= 2019 for since in one_pass.storage.listings)
