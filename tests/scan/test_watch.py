"""What a running pass tells its listener: how much there is, what limits it, and how it is counted."""

from __future__ import annotations

import threading

import pytest
from support.scan.passes import WatchedStorage, put, scanner_over
from support.scan.scanned_store import SWEEP, Recognizer, picture

from lemmy_safety.errors import AccessDenied, StorageUnreachable
from lemmy_safety.records import UNKNOWN_TIME, StoredObject
from lemmy_safety.scan import PassRequest
from lemmy_safety.scan.progress import Bottleneck, Total
from lemmy_safety.scan.totals import Counting

PATIENCE_S = 60.0

#: More than the queues before the detector hold.
MANY = 60


class Listener:
    """Keeps what it is shown, and says when something wanted was."""

    def __init__(self, wanted=lambda _outlook: False):
        self.shown = []
        self._wanted = wanted
        self.saw = threading.Event()

    def update(self, counts, outlook):
        self.shown.append((counts, outlook))
        if self._wanted(outlook):
            self.saw.set()


class Waiting(Recognizer):
    """Judges nothing before it may."""

    def __init__(self):
        super().__init__()
        self.go_on = threading.Event()

    def detect(self, batch):
        assert self.go_on.wait(PATIENCE_S)
        return super().detect(batch)


class Listings(WatchedStorage):
    """Says which threads listed it; the listing of the counter fails if a test wants that."""

    def __init__(self, root, fault=None):
        super().__init__(root)
        self.listed_by = []
        self._fault = fault

    def _list(self, **how):
        thread = threading.current_thread().name
        self.listed_by.append(thread)
        if thread == "count" and self._fault is not None:
            raise self._fault
        return super()._list(**how)


@pytest.fixture
def many(tmp_path):
    root = tmp_path / "many"
    for number in range(MANY):
        put(root, f"{number % 7}/{number:03d}.png", picture(number))
    return root


def swept(root, database, listener, *, storage=None, request=SWEEP, **options):
    """A sweep whose detector waits until the listener saw what it wants, so that all queues fill up before."""
    detector = Waiting()
    with scanner_over(root, database, detectors=[detector], listener=listener, storage=storage, **options) as scanner:
        summaries = []
        thread = threading.Thread(target=lambda: summaries.append(scanner.run(request)))
        thread.start()
        try:
            assert listener.saw.wait(PATIENCE_S)
        finally:
            detector.go_on.set()
            thread.join(PATIENCE_S)
    return summaries[0]


def size_of(root):
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


@pytest.mark.long
def test_a_pass_knows_how_much_there_is_long_before_it_has_listed_it(many, database):
    """Counted next to the pass, which itself cannot list on while the detector is busy."""
    listener = Listener(lambda outlook: outlook.total is not None)
    summary = swept(many, database, listener)
    counts, outlook = next(pair for pair in listener.shown if pair[1].total is not None)
    assert counts.done < MANY
    assert outlook.total == Total(
        objects=MANY, size=size_of(many), to_read=MANY, size_to_read=size_of(many), is_exact=True
    )
    assert (summary.checked, summary.bytes_seen, summary.bytes_read) == (MANY, size_of(many), size_of(many))


@pytest.mark.long
def test_known_objects_count_as_nothing_to_read(many, database):
    """A sweep that continues after new uploads has only those to read."""
    with scanner_over(many, database, detectors=[Recognizer()]) as scanner:
        scanner.run(SWEEP)
    for number in range(MANY):
        put(many, f"new/{number:03d}.png", picture(1000 + number))
    listener = Listener(lambda outlook: outlook.total is not None and outlook.total.is_exact)
    swept(many, database, listener)
    total = next(outlook.total for _, outlook in listener.shown if outlook.total and outlook.total.is_exact)
    assert (total.objects, total.to_read) == (2 * MANY, MANY)


@pytest.mark.long
def test_until_it_is_counted_the_last_complete_sweep_says_about_how_much_there_is(many, database):
    """Only one over the same keys; another prefix says nothing."""
    with scanner_over(many, database, detectors=[Recognizer()]) as scanner:
        scanner.run(SWEEP)
    (many / "8").mkdir()
    for number in range(MANY):
        put(many, f"8/{number:03d}.png", picture(1000 + number))
    storage = Listings(many, fault=StorageUnreachable("the line is cut"))
    listener = Listener(lambda outlook: outlook.total is not None)
    swept(many, database, listener, storage=storage)
    first = listener.shown[0][1].total
    assert first is not None
    assert (first.objects, first.to_read, first.is_exact) == (MANY, None, False)
    elsewhere = Listener(lambda outlook: outlook.bottleneck is Bottleneck.JUDGING)
    for number in range(MANY):
        put(many, f"9/{number:03d}.png", picture(2000 + number))
    swept(many, database, elsewhere, storage=Listings(many, fault=StorageUnreachable("cut")), prefix="9/")
    assert elsewhere.shown[0][1].total is None


@pytest.mark.long
@pytest.mark.parametrize("fault", [StorageUnreachable("the line is cut"), RuntimeError("a bug")])
def test_a_count_that_fails_does_not_fail_the_pass(many, database, fault):
    """The total stays unknown; everything is judged."""
    storage = Listings(many, fault=fault)
    listener = Listener(lambda _outlook: "count" in storage.listed_by)
    summary = swept(many, database, listener, storage=storage)
    assert (summary.checked, summary.complete) == (MANY, True)
    assert all(outlook.total is None for counts, outlook in listener.shown if counts.seen < MANY)


@pytest.mark.long
def test_a_pass_that_never_waits_for_its_engine_is_not_counted(many, database):
    """All objects are known: one listing, no second one."""
    with scanner_over(many, database, detectors=[Recognizer()]) as scanner:
        scanner.run(SWEEP)
    storage = Listings(many)
    with scanner_over(many, database, detectors=[Recognizer()], listener=Listener(), storage=storage) as scanner:
        assert scanner.run(SWEEP).skipped == MANY
    assert "count" not in storage.listed_by


@pytest.mark.long
def test_only_exhaustive_passes_are_counted(many, database):
    """A daemon's usual pass looks at what is new; a second listing would double its cost."""
    storage = Listings(many)
    listener = Listener(lambda outlook: outlook.bottleneck is Bottleneck.JUDGING)
    request = PassRequest(kind="daemon", since=UNKNOWN_TIME.replace(year=2020), exhaustive=False)
    assert swept(many, database, listener, storage=storage, request=request).checked == MANY
    assert "count" not in storage.listed_by


@pytest.mark.long
def test_the_slowest_stage_is_named(many, database):
    """A detector that holds everything up is what limits the pass."""
    listener = Listener(lambda outlook: outlook.bottleneck is Bottleneck.JUDGING)
    swept(many, database, listener)
    assert listener.shown[-1][1].bottleneck is Bottleneck.JUDGING


def objects(number):
    return [StoredObject(key=f"{place}", size=10, modified_at=UNKNOWN_TIME) for place in range(number)]


def test_a_stopped_count_ends_and_tells_nothing():
    """It ends at the next batch, however long the listing is."""
    ended, begun = threading.Event(), threading.Event()

    def endless():
        try:
            while True:
                begun.set()
                yield from objects(100)
        finally:
            ended.set()

    counting = Counting(endless, lambda _: set(), done=0, bytes_done=0)
    counting.start()
    assert begun.wait(PATIENCE_S)
    counting.stop()
    assert ended.wait(PATIENCE_S)
    assert counting.total is None


def test_what_was_read_before_the_count_began_is_part_of_what_is_to_be_read():
    """It is on record by then, so the count takes it for known."""

    def listing():
        yield from objects(1200)
        raise AccessDenied("one folder may not be read")

    counting = Counting(
        listing, lambda batch: {obj.key for obj in batch if int(obj.key) < 300}, done=200, bytes_done=2000
    )
    counting._run()
    assert counting.total == Total(objects=1200, size=12_000, to_read=1100, size_to_read=11_000, is_exact=True)


def test_a_count_that_is_cut_off_by_the_end_of_the_pass_is_no_news(caplog):
    """The storage is closed while it lists: whatever that raises is expected then, and is a warning otherwise."""

    def closed():
        if stops:
            counting.stop()
        raise AttributeError("closed")
        yield

    for stops in (True, False):
        counting = Counting(closed, lambda _: set(), done=0, bytes_done=0)
        counting._run()
        assert counting.total is None
        assert len(caplog.records) == (0 if stops else 1)
