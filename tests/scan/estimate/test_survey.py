"""Counting a storage and drawing a sample from one listing."""

from __future__ import annotations

import threading
from collections import Counter
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.errors import AccessDenied, StorageUnreachable
from lemmy_safety.pictrs.variants import Variant
from lemmy_safety.records import UNKNOWN_TIME, StoredObject
from lemmy_safety.scan.estimate.survey import Stopped, survey

NEVER = threading.Event()


def listing(sizes):
    return [StoredObject(key=f"{place:06}", size=size, modified_at=UNKNOWN_TIME) for place, size in enumerate(sizes)]


@given(sizes=st.lists(st.integers(0, 200), max_size=1500), sample=st.integers(1, 300), seed=st.integers(0, 99))
def test_the_sums_are_exact_and_the_sample_is_part_of_what_can_be_read(sizes, sample, seed):
    """Whatever the sizes: what is too large is counted apart and never drawn; no object is drawn twice."""
    objects = listing(sizes)
    found = survey(iter(objects), sample=sample, seed=seed, max_bytes=100, stop=NEVER)
    readable = [obj for obj in objects if obj.size <= 100]
    assert (found.objects, found.size) == (len(objects), sum(sizes))
    assert (found.readable, found.size_readable) == (len(readable), sum(obj.size for obj in readable))
    assert len(found.sample) == min(sample, len(readable))
    assert set(found.sample) <= set(readable)
    assert len(set(found.sample)) == len(found.sample)


def test_every_object_has_the_same_chance_wherever_it_is_listed():
    """Not the first 200: each tenth of the listing gives about a tenth of all samples, in any place of the order."""
    objects, drawn, first = listing([1] * 1000), Counter(), Counter()
    for seed in range(300):
        sample = survey(iter(objects), sample=50, seed=seed, max_bytes=1, stop=NEVER).sample
        drawn.update(int(obj.key) // 100 for obj in sample)
        first[int(sample[0].key) // 100] += 1
    assert all(1300 < drawn[tenth] < 1700 for tenth in range(10))  # 1,500 expected, 37 its standard deviation
    assert all(10 < first[tenth] < 55 for tenth in range(10))  # 30 expected, 5 its standard deviation


def test_the_same_seed_draws_the_same_sample():
    """Two estimates of an unchanged store differ by the machine only."""
    samples = [survey(iter(listing([1] * 900)), sample=20, seed=7, max_bytes=1, stop=NEVER).sample for _ in range(2)]
    assert samples[0] == samples[1]


def test_known_objects_are_counted_and_may_still_be_drawn():
    """The rate is about all kinds of objects; only the rest of the work leaves out what is known."""
    objects = listing([10] * 1200)
    found = survey(
        iter(objects),
        sample=1200,
        seed=1,
        max_bytes=10,
        stop=NEVER,
        known=lambda batch: {obj.key for obj in batch if int(obj.key) < 700},
    )
    assert (found.known, found.size_known, len(found.sample)) == (700, 7000, 1200)


def test_variants_that_follow_an_original_are_counted_and_not_drawn():
    """A pass will not read them. A thumbnail is read unless its original is small, which a listing does not tell."""
    objects = listing([10] * 1200)
    found = survey(
        iter(objects),
        sample=1200,
        seed=1,
        max_bytes=10,
        stop=NEVER,
        known=lambda batch: {obj.key for obj in batch if int(obj.key) < 700},
        variants_among=lambda keys: {
            key: Variant(original="0", fits_in=96 if int(key) % 4 else None) for key in keys if int(key) % 2 == 0
        },
    )
    assert (found.variants, found.size_variants) == (300, 3000)
    assert (found.readable, found.size_readable, len(found.sample)) == (900, 9000, 900)
    assert (found.known, found.size_known) == (525, 5250)
    assert not any(int(obj.key) % 4 == 0 for obj in found.sample)


def test_a_storage_that_cannot_be_listed_completely_is_counted_as_far_as_it_can():
    """The error comes after everything else, and is kept."""

    def partly():
        yield from listing([1] * 10)
        raise AccessDenied("one folder")

    found = survey(partly(), sample=5, seed=1, max_bytes=1, stop=NEVER)
    assert (found.objects, len(found.sample), type(found.refused)) == (10, 5, AccessDenied)


def test_a_storage_that_goes_down_ends_the_survey():
    """A sample of a part is not one of everything."""

    def broken():
        yield from listing([1] * 10)
        raise StorageUnreachable("the line is cut")

    with pytest.raises(StorageUnreachable):
        survey(broken(), sample=5, seed=1, max_bytes=1, stop=NEVER)


def test_a_stop_ends_an_endless_listing():
    """At the next batch."""
    stop = threading.Event()
    endless = (StoredObject(key=str(place), size=1, modified_at=UNKNOWN_TIME) for place in count())
    with pytest.raises(Stopped):
        survey(endless, sample=5, seed=1, max_bytes=1, stop=stop, show=lambda _number: stop.set())
