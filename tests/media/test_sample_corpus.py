"""The shared sample corpus looks like a pict-rs store and is the same every time."""

from __future__ import annotations

import re
from collections import Counter

from support.media import pictures
from support.storage import sample_store as corpus

from lemmy_safety.media import MediaLimits, decode

LIMITS = MediaLimits(max_bytes=10**7, max_pixels=10**7)
UUID7_KEY = re.compile(r"(?:[0-9a-f]{2}/){6}7[0-9a-f]/[0-9a-f]{2}/[89ab][0-9a-f]/[0-9a-f]{2}/[0-9a-f]{12}\.[a-z]+")
LEGACY_KEY = re.compile(r"2/\d{1,3}/\d{1,3}/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_the_corpus_is_reproducible():
    """The same seed gives the same files under the same keys, another seed gives others."""
    first = list(corpus.sample_pictures(12, seed=4))
    assert first == list(corpus.sample_pictures(12, seed=4))
    assert not {data for _, data in first} & {data for _, data in corpus.sample_pictures(12, seed=5)}


def test_keys_and_files_are_all_different_and_of_both_layouts():
    """UUIDv7 keys ascend in time, legacy keys have no extension, and no key or file comes twice."""
    sample = list(corpus.sample_pictures(60, seed=1, max_side=120))
    keys = [key for key, _ in sample]
    new = [key for key in keys if UUID7_KEY.fullmatch(key)]
    old = [key for key in keys if LEGACY_KEY.fullmatch(key)]
    assert len(new) + len(old) == 60 == len(set(keys)) == len({data for _, data in sample})
    assert len(new) > len(old) > 5
    assert new == sorted(new)


def test_every_sample_is_decoded():
    """All files are healthy pictures of the announced size in several formats."""
    media = [decode(data, LIMITS) for _, data in corpus.sample_pictures(60, seed=2, max_side=200)]
    assert all(max(one.info.width, one.info.height) <= 200 and not one.info.anomalies for one in media)
    assert len(Counter(one.info.media_type for one in media)) >= 4


def test_the_photos_are_all_bundled():
    """Every named photo is there without a download, in colour mode RGB."""
    assert {pictures.photo(name).mode for name in pictures.PHOTOS} == {"RGB"}
