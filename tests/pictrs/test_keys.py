"""pict-rs's key scheme: what a key says of time, and what that allows a listing to leave out."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.pictrs.keys import (
    LEGACY_GRACE,
    V7_ROOT,
    created_at,
    is_ordered_since,
    legacy_may_be_new,
    make_key,
    newest_below,
    start_after,
)

EXAMPLE = "01/a1/96/fb/16/00/7a/bc/9d/ef/0123456789ab.webp"
MILLISECOND = timedelta(milliseconds=1)

moments = st.datetimes(
    min_value=datetime(2004, 11, 4), max_value=datetime(2038, 12, 31), timezones=st.just(UTC)  # noqa: DTZ001
).map(lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000))  # fmt: skip
random_bits = st.integers(0, 2**74 - 1)
extensions = st.sampled_from(["", ".webp", ".jpeg", ".avif", ".mp4"])
keys = st.builds(make_key, moments, random_bits, extensions)


def test_the_example_of_the_scheme_is_read() -> None:
    """The first six folders are milliseconds since 1970."""
    assert created_at(EXAMPLE) == datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@given(moments, random_bits, extensions)
def test_a_key_tells_when_it_was_made(moment: datetime, bits: int, extension: str) -> None:
    """To the millisecond, whatever the random part and the extension are."""
    assert created_at(make_key(moment, bits, extension)) == moment


@given(moments, random_bits)
def test_a_key_is_a_uuid_of_version_7(moment: datetime, bits: int) -> None:
    """The standard library reads the same version, variant and time from its digits."""
    key = make_key(moment, bits)
    number = uuid.UUID(key.replace("/", ""))
    assert number.version == 7
    assert number.variant == uuid.RFC_4122
    assert number.int >> 80 == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // MILLISECOND
    assert key.startswith(V7_ROOT)
    assert [len(part) for part in key.split("/")] == [2] * 10 + [12]


@given(st.tuples(moments, random_bits, extensions), st.tuples(moments, random_bits, extensions))
def test_keys_sort_as_their_times_do(one: tuple, other: tuple) -> None:
    """Between different milliseconds the order of keys is the order of creation."""
    if one[0] != other[0]:
        assert (make_key(*one) < make_key(*other)) == (one[0] < other[0])


@given(keys, moments)
def test_start_after_separates_before_from_since(key: str, moment: datetime) -> None:
    """No key made at or after the moment sorts before it, and every key made before it does."""
    assert (key > start_after(moment)) == (created_at(key) >= moment)


@given(moments, random_bits)
def test_start_after_includes_the_moment_itself(moment: datetime, bits: int) -> None:
    """The bound is inclusive, also for a moment within a millisecond."""
    assert make_key(moment, bits) > start_after(moment)
    assert make_key(moment, bits) > start_after(moment + timedelta(microseconds=999))
    assert make_key(moment, bits) < start_after(moment + MILLISECOND)


@given(keys)
def test_no_key_is_newer_than_its_folders_say(key: str) -> None:
    """Leaving out a folder for its age never leaves out a newer key; and each level narrows the time down."""
    parts = key.split("/")
    bounds = [newest_below("/".join(parts[:depth])) for depth in range(1, 11)]
    assert all(bound > created_at(key) for bound in bounds)
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[5] == created_at(key) + MILLISECOND
    assert bounds[3] - created_at(key) <= timedelta(seconds=65.536)
    assert bounds[2] - created_at(key) <= timedelta(hours=4.67)


@given(st.text(alphabet="01234567890abcdef/.-é\n", max_size=60))
def test_anything_else_has_no_time(text: str) -> None:
    """Random names are no time-ordered keys (one in 2^80 would have been)."""
    assert created_at(text) is None


@pytest.mark.parametrize(
    "key",
    [
        "",
        "health-check",
        "0/1f0c1a52-4a6f-4a7e-9d4e-7b8d1f1f0d1e",
        "1/023/1f0c1a52-4a6f-4a7e-9d4e-7b8d1f1f0d1e",
        "files/" + EXAMPLE,
        EXAMPLE.upper(),
        EXAMPLE + "\n",
        EXAMPLE + "/x",
        EXAMPLE.replace("/7a/", "/4a/"),
        EXAMPLE.replace("/9d/", "/cd/"),
        EXAMPLE.replace("ab.webp", ".webp"),
        EXAMPLE.replace("01/a1", "02/a1"),
        EXAMPLE.replace("/", ""),
        "01/a1/96/fb",
    ],
)
def test_near_misses_are_not_taken_for_time_ordered_keys(key: str) -> None:
    """Older keys, other versions and variants, and damaged names say nothing about time."""
    assert created_at(key) is None


@pytest.mark.parametrize("folder", ["", "0", "1", "1/023", "01/", "01/zz", "00", "02", "01/a1/x", "files", "0/01"])
def test_other_folders_are_not_judged_by_age(folder: str) -> None:
    """Only folders of the scheme can be left out for their age."""
    assert newest_below(folder) is None


def test_the_scheme_is_relied_on_only_while_its_root_is_01() -> None:
    """From 2004 until the year in which the first folder becomes 02; every zone means the same moment."""
    assert is_ordered_since(datetime(2026, 11, 20, tzinfo=timezone(timedelta(hours=-9))))
    assert not is_ordered_since(datetime(2004, 11, 2, tzinfo=UTC))
    assert not is_ordered_since(datetime(2039, 6, 1, tzinfo=UTC))
    assert start_after(datetime(2038, 12, 31, tzinfo=UTC)).startswith(V7_ROOT)
    assert make_key(datetime(2039, 9, 8, tzinfo=UTC), 0).startswith("02/")


def test_older_keys_matter_until_a_day_after_the_upgrade() -> None:
    """Without any time-ordered key they always do."""
    upgraded = datetime(2026, 1, 1, tzinfo=UTC)
    assert legacy_may_be_new(upgraded, None)
    assert legacy_may_be_new(upgraded - timedelta(days=30), upgraded)
    assert legacy_may_be_new(upgraded + LEGACY_GRACE, upgraded)
    assert not legacy_may_be_new(upgraded + LEGACY_GRACE + MILLISECOND, upgraded)
