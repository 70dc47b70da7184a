"""An estimate with the real engine over a folder of real pictures."""

from __future__ import annotations

import threading
import time

import pytest
from support.scan.passes import WatchedStorage, put
from support.scan.scanned_store import CANARIES, Recognizer, picture

from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.errors import AccessDenied, StorageUnreachable, WeightsMissing
from lemmy_safety.media import InlineDecoder, MediaLimits
from lemmy_safety.policy import build_policy
from lemmy_safety.records import ItemStatus
from lemmy_safety.scan import EngineLimits, RateLimit, ThreadsEngine
from lemmy_safety.scan.estimate import Estimator
from lemmy_safety.scan.estimate.survey import Stopped
from lemmy_safety.scan.estimate.trial import try_out
from lemmy_safety.scan.progress import Bottleneck

SLOW_S = 0.1


class Slow(Recognizer):
    """Takes much longer for each object than all other stages, and knows how fast it was."""

    batch_size = 1

    def __init__(self):
        super().__init__()
        self.at_s = []

    def detect(self, batch):
        time.sleep(SLOW_S * len(batch))  # stands for a model's arithmetic
        self.at_s += [time.monotonic()] * len(batch)
        return super().detect(batch)

    @property
    def per_s(self):
        later = [at for at in self.at_s if at > self.at_s[0]]
        return len(later) / (later[-1] - self.at_s[0])


class Broken(Recognizer):
    def open(self):
        raise WeightsMissing("The weights are not on this machine.")


@pytest.fixture
def many(store):
    for number in range(40):
        put(store, f"more/{number:03}.png", picture(100 + number))
    put(store, "more/text", b"not a picture")
    return store


def engine_of(storage, detectors, rate=None):
    return ThreadsEngine(
        storage=storage,
        detectors=detectors,
        policy=build_policy(nudenet_flags=False),
        decoder=InlineDecoder(MediaLimits(max_bytes=10_000_000, max_pixels=40_000_000)),
        limits=EngineLimits(threads=4, decode_workers=2, max_bytes=10_000_000, memory_bytes=50_000_000),
        rate=rate,
    )


def estimator_over(root, detectors, *, storage=None, stop=None, rate=None, **options):
    storage = storage or WatchedStorage(root)

    def engine_with(some):
        return engine_of(storage, some, rate)

    return Estimator(
        storage=storage, detectors=detectors, engine_with=engine_with, stop=stop or threading.Event(), **options
    )


@pytest.mark.long
def test_the_rate_of_a_slow_detector_is_measured_and_named_as_the_limit(many):
    """Everything else runs beside it, and its rate is that of all objects."""
    slow = Slow()
    estimator = estimator_over(many, [HashesDetector(), slow])
    counted = estimator.count(sample=30)
    estimator.start(counted.sample)
    slow.at_s.clear()
    found = estimator.measure(["hashes", "clip"], counted, most_s=60.0)
    assert found.everything is not None
    assert found.everything.per_s == pytest.approx(slow.per_s, rel=0.15)
    assert found.everything.low_s < counted.objects / slow.per_s < found.everything.high_s
    assert (found.trial.bottleneck, found.trial.finished) == (Bottleneck.JUDGING, 30)
    estimator.close()


@pytest.mark.long
def test_an_estimate_deletes_nothing_and_reports_nothing(many):
    """Also with canaries in the sample: they are judged, and that is all."""
    storage = WatchedStorage(many)
    estimator = estimator_over(many, [HashesDetector()], storage=storage)
    before = {path: path.stat() for path in many.rglob("*") if path.is_file()}
    counted = estimator.count(sample=100)
    estimator.start(counted.sample)
    found = estimator.measure(["hashes"], counted, most_s=60.0)
    assert found.trial.counts.flagged == len(CANARIES)
    assert storage.deletes == []
    after = {path: path.stat() for path in many.rglob("*") if path.is_file()}
    assert {path: (one.st_size, one.st_mtime_ns) for path, one in after.items()} == {
        path: (one.st_size, one.st_mtime_ns) for path, one in before.items()
    }


@pytest.mark.long
def test_what_cannot_be_read_is_counted(many):
    """A text, a refused file; and one whose line is cut again and again is not waited for."""
    storage = WatchedStorage(many)
    storage.refused["more/001.png"] = AccessDenied("not for you")
    storage.refused["more/002.png"] = StorageUnreachable("the line is cut")
    estimator = estimator_over(many, [HashesDetector()], storage=storage)
    counted = estimator.count(sample=100)
    estimator.start(counted.sample)
    trial = estimator.measure(["hashes"], counted, most_s=60.0).trial
    assert dict(trial.counts.unreadable) == {"unreadable": 1}
    assert dict(trial.counts.failed) == {"denied": 1}
    assert trial.objects - trial.finished == 1


@pytest.mark.long
def test_objects_that_are_gone_make_no_rate(many):
    """They cost nothing, and a pass would hardly find any."""
    estimator = estimator_over(many, [Slow()])
    counted = estimator.count(sample=30)
    for obj in counted.sample[:20]:
        (many / obj.key).unlink()
    found = estimator.measure(["clip"], counted, most_s=60.0)
    assert found.trial.counts.unreadable[ItemStatus.GONE] == 20
    assert found.everything.per_s <= 1 / SLOW_S
    estimator.close()


def test_a_storage_that_is_down_ends_the_estimate(many):
    """As it ends a pass."""
    storage = WatchedStorage(many)
    estimator = estimator_over(many, [HashesDetector()], storage=storage)
    counted = estimator.count(sample=100)
    storage.reads.append("the first")
    storage.down = True
    with pytest.raises(StorageUnreachable):
        estimator.measure(["hashes"], counted, most_s=60.0)


@pytest.mark.long
def test_a_detector_that_cannot_be_loaded_does_not_stop_the_others(many):
    """Its fault is kept for the report."""
    estimator = estimator_over(many, [HashesDetector(), Broken()])
    counted = estimator.count(sample=20)
    estimator.start(counted.sample)
    assert type(estimator.faults["clip"]) is WeightsMissing
    assert set(estimator.start_up_s) == {"decoders", "hashes"}
    assert estimator.measure(["hashes"], counted, most_s=60.0).everything is not None


@pytest.mark.long
def test_a_slow_model_is_given_up_after_its_time_and_gives_a_rate_all_the_same(many):
    """A fraction of the sample; the spread says how little that is."""
    slow = Slow()
    estimator = estimator_over(many, [slow])
    counted = estimator.count(sample=53)
    estimator.start(counted.sample)
    slow.at_s.clear()
    found = estimator.measure(["clip"], counted, most_s=2.0)
    assert 0 < found.trial.finished < 53
    assert found.everything.per_s == pytest.approx(slow.per_s, rel=0.3)


@pytest.mark.long
def test_only_what_is_not_judged_yet_counts_as_the_rest(many):
    """The rate is that of everything."""
    estimator = estimator_over(many, [Slow()])
    counted = estimator.count(sample=20, known=lambda batch: {obj.key for obj in batch if obj.key.startswith("more/")})
    estimator.start(counted.sample)
    found = estimator.measure(["clip"], counted, most_s=60.0)
    assert found.rest.high_s / found.everything.high_s == pytest.approx((counted.objects - 41) / counted.objects)


def test_a_stop_ends_a_trial_at_once(many):
    """Even if a batch in the model takes a minute."""

    class Stuck(Recognizer):
        def detect(self, batch):
            stop.set()
            assert done.wait(60.0)
            return super().detect(batch)

    stop, done = threading.Event(), threading.Event()
    estimator = estimator_over(many, [Stuck()], stop=stop)
    counted = estimator.count(sample=20)
    began = time.monotonic()
    with pytest.raises(Stopped):
        estimator.measure(["clip"], counted, most_s=60.0)
    assert time.monotonic() - began < 30.0
    done.set()


@pytest.mark.long
def test_no_object_of_a_trial_is_left_in_memory_budgets(many):
    """One trial after the other with the same detectors, as an estimate does it."""
    storage, detectors = WatchedStorage(many), [HashesDetector()]
    estimator = estimator_over(many, detectors, storage=storage)
    counted = estimator.count(sample=53)
    estimator.start(counted.sample)
    for _ in range(3):
        trial = try_out(engine_of(storage, detectors), counted.sample, most_s=60.0, stop=threading.Event())
        assert trial.finished == 53


@pytest.mark.long
def test_the_limit_on_reading_is_named_and_bounds_the_time(many):
    """16 kB at 10 kB a second, and nothing else is slow."""
    rate = RateLimit(10_000)
    estimator = estimator_over(many, [HashesDetector()], rate=rate, most_bytes_per_s=10_000)
    counted = estimator.count(sample=53)
    estimator.start(counted.sample)
    found = estimator.measure(["hashes"], counted, most_s=60.0)
    assert found.trial.bottleneck is Bottleneck.RATE
    assert found.everything.low_s >= counted.size / 10_000
