"""Requests at the door that pict-rs cannot have made so, and the storage key that it sends with others."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ledger.created import new_ledger
from support.ledger.uploads import AT, judged, row_for, upload

from lemmy_safety.ledger import UploadAnswer

MINUTE = timedelta(minutes=1)
KEY = "01/a2/29/9d/ef/e6/73/81/94/0f/016a16c0b0c8.png"
OTHER = "01/a2/29/9e/00/11/7a/bc/9d/ef/0123456789ab ünï.png"


def test_garbled_requests_add_up_until_one_is_understood(ledger) -> None:
    """The number of all, of the last ones in a row, and what was wrong with the last."""
    assert ledger.garbled.get() is None
    ledger.garbled.end_row()
    assert ledger.garbled.get() is None
    ledger.garbled.count("form", added=1, in_a_row=1)
    first = ledger.garbled.get()
    assert (first.total, first.in_a_row, first.last_what, first.too_many) == (1, 1, "form", False)
    ledger.garbled.count("not_media", added=18, in_a_row=19)
    assert not ledger.garbled.get().too_many
    ledger.garbled.count("not_media", added=1, in_a_row=20)
    later = ledger.garbled.get()
    assert (later.total, later.in_a_row, later.last_what, later.too_many) == (20, 20, "not_media", True)
    assert (later.first_at, later.last_at > first.last_at) == (first.first_at, True)
    ledger.garbled.end_row()
    ended = ledger.garbled.get()
    assert (ended.total, ended.in_a_row, ended.last_at) == (20, 0, later.last_at)
    ledger.garbled.count("empty", added=1, in_a_row=1)
    assert (ledger.garbled.get().total, ledger.garbled.get().in_a_row) == (21, 1)


def test_an_end_of_no_row_writes_nothing(quick_ledger) -> None:
    """A hook says it with its first upload, and must not wait for a writer then."""
    quick_ledger.garbled.count("form", added=3, in_a_row=0)
    before = quick_ledger.garbled.get()
    quick_ledger.garbled.end_row()
    assert quick_ledger.garbled.get() == before


@pytest.mark.long
@given(st.lists(st.one_of(st.integers(min_value=1, max_value=40), st.none()), max_size=12))
def test_any_order_of_requests_is_counted(tmp_path_factory, story) -> None:
    """Numbers are garbled requests, None is one that was understood."""
    total = in_a_row = 0
    with new_ledger(tmp_path_factory.mktemp("story") / "a.db") as ledger:
        for number in story:
            if number is None:
                in_a_row = 0
                ledger.garbled.end_row()
            else:
                total, in_a_row = total + number, in_a_row + number
                ledger.garbled.count("form", added=number, in_a_row=in_a_row)
        known = ledger.garbled.get()
        assert (known.total, known.in_a_row) == (total, in_a_row) if total else known is None


def test_the_key_that_pictrs_named_last_is_kept(ledger) -> None:
    """A request of 0.5, a late judgement, and an old request that is told again take nothing away."""
    ledger.uploads.record([upload("a")])
    assert row_for(ledger, "a").storage_key is None
    ledger.uploads.record([upload("a", at=AT + MINUTE, storage_key=KEY)])
    assert row_for(ledger, "a").storage_key == KEY
    ledger.uploads.record([upload("a", at=AT + 2 * MINUTE), judged("a", answer=None)])
    row = row_for(ledger, "a")
    assert (row.storage_key, row.times, row.answer) == (KEY, 3, UploadAnswer.UNCHECKED)
    ledger.uploads.record([judged("a", at=AT + 3 * MINUTE, storage_key=OTHER), upload("a", at=AT, storage_key=KEY)])
    assert row_for(ledger, "a").storage_key == OTHER
    ledger.uploads.record([judged("b", storage_key=KEY)])
    assert [row_for(ledger, name).storage_key for name in "ab"] == [OTHER, KEY]
