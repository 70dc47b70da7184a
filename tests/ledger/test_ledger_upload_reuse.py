"""When a listing alone says that an object is an upload that was judged, and everything that makes it be read."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import timedelta

import pytest
from support.ledgers import DETECTORS, STORAGE, checked, failed, record
from support.uploads import AT, judged, stored_upload, upload

from lemmy_safety.ledger import FROM_UPLOAD_UNREAD, UploadAnswer
from lemmy_safety.records import ItemResult, ItemStatus, Outcome

MINUTE = timedelta(minutes=1)
SAME_MD5 = {"md5": upload("a").md5}


def matches(ledger, *objects, rules="rules-1", detectors=DETECTORS):
    return ledger.uploads_matching(STORAGE, list(objects), detectors=detectors, rules_version=rules)


def taken_over(ledger, *objects, **how):
    return sorted(matches(ledger, *objects, **how).verdicts)


def take(ledger, obj):
    """Record what a pass would."""
    known = matches(ledger, obj).verdicts[obj.key]
    result = ItemResult(
        obj=obj,
        status=ItemStatus.CHECKED,
        verdict=known.verdict,
        detectors=known.detectors,
        sha256=known.sha256,
        reused_from=known.key,
    )
    record(ledger, [result])


@pytest.mark.parametrize("outcome", [Outcome.CLEAR, Outcome.BORDERLINE])
def test_an_object_that_is_an_upload_need_not_be_read(ledger, outcome) -> None:
    """The tag is its MD5, and size and time agree."""
    ledger.record_uploads([judged("a", outcome)])
    found = matches(ledger, stored_upload("key", "a"), stored_upload("other", "b"))
    assert list(found.verdicts) == ["key"]
    known = found.verdicts["key"]
    assert (known.sha256, known.verdict.outcome, known.key) == (judged("a").sha256, outcome, FROM_UPLOAD_UNREAD)
    assert found.unchecked == frozenset()


@pytest.mark.parametrize(
    "results",
    [
        [judged("a", Outcome.FLAGGED)],
        [judged("a", Outcome.FLAGGED, answer=UploadAnswer.ACCEPTED)],
        [judged("a", answer=UploadAnswer.REFUSED)],
        [upload("a")],
        [upload("a"), judged("a", answer=None)],
        [upload("a", UploadAnswer.ACCEPTED, status=ItemStatus.UNREADABLE)],
        [judged("a", size=2)],
        [judged("a"), judged("b", **SAME_MD5)],
        [judged("a"), upload("b", **SAME_MD5)],
        [judged("a"), upload("bb", UploadAnswer.REFUSED, **SAME_MD5)],
        [judged("a"), judged("b", Outcome.FLAGGED, **SAME_MD5)],
    ],
    ids=[
        "flagged and refused",
        "flagged",
        "refused",
        "unchecked",
        "unchecked and judged later",
        "unreadable",
        "another size",
        "two files of one MD5",
        "the other unchecked",
        "the other refused and longer",
        "the other flagged",
    ],
)
def test_in_doubt_an_object_is_read(quick_ledger, results) -> None:
    """MD5 says little by itself; nothing is deleted on its word, and nothing is clear by it when it was made to deceive."""
    quick_ledger.record_uploads(results)
    assert taken_over(quick_ledger, stored_upload("key", "a")) == []


@pytest.mark.parametrize(
    ("how", "is_taken"),
    [
        ({}, True),
        ({"detectors": frozenset({"hashes"})}, True),
        ({"detectors": DETECTORS | {"nudenet"}}, False),
        ({"rules": "rules-2"}, False),
        ({"rules": None}, False),
    ],
)
def test_only_verdicts_of_the_present_rules_are_taken_over(quick_ledger, how, is_taken) -> None:
    """And none where the caller wants everything read."""
    quick_ledger.record_uploads([judged("a")])
    assert taken_over(quick_ledger, stored_upload("key", "a"), **how) == (["key"] if is_taken else [])


@pytest.mark.parametrize(
    ("obj", "is_taken"),
    [
        (stored_upload("key", "a", at=AT - 5 * MINUTE), True),
        (stored_upload("key", "a", at=AT + 5 * MINUTE), True),
        (stored_upload("key", "a", at=AT - 6 * MINUTE), False),
        (stored_upload("key", "a", at=AT + 6 * MINUTE), False),
        (stored_upload("key", "a", at=AT + 600 * MINUTE), True),
        (stored_upload("key", "a", etag=False), False),
        (dataclasses.replace(stored_upload("key", "a"), etag=f"{upload('a').md5}-2"), False),
        (dataclasses.replace(stored_upload("key", "a"), etag=upload("a").md5.upper()), False),
        (dataclasses.replace(stored_upload("key", "a"), etag="0" * 31 + "\n"), False),
    ],
    ids=["before", "after", "long before", "long after", "the last", "no tag", "parts", "letters", "odd"],
)
def test_it_must_have_been_stored_with_an_upload(quick_ledger, obj, is_taken) -> None:
    """Around the first or the last time it was asked about."""
    quick_ledger.record_uploads([judged("a"), judged("a", at=AT + 600 * MINUTE)])
    assert taken_over(quick_ledger, obj) == (["key"] if is_taken else [])


def test_an_upload_stands_for_one_object(ledger) -> None:
    """A second one of the same tag is read, in the same listing and in a later one, unless it was uploaded twice."""
    ledger.record_uploads([judged("a")])
    first, second, third = (stored_upload(name, "a") for name in ("first", "second", "third"))
    assert taken_over(ledger, first, second) == ["first"]
    take(ledger, first)
    assert taken_over(ledger, second) == []
    ledger.record_uploads([judged("a", at=AT + MINUTE)])
    assert taken_over(ledger, second, third) == ["second"]


def test_one_question_may_be_long(ledger) -> None:
    """Pieces of it know of each other."""
    ledger.record_uploads([judged("a"), *(judged(f"u{number}") for number in range(600))])
    objects = [stored_upload(f"k{number}", f"u{number}") for number in range(600)]
    found = taken_over(ledger, stored_upload("0", "a"), *objects, stored_upload("1", "a"))
    assert len(found) == 601
    assert "1" not in found


@pytest.mark.parametrize("earlier", [failed("key"), checked("key", Outcome.FLAGGED), checked("key")])
def test_a_key_that_has_a_row_is_read(quick_ledger, earlier) -> None:
    """It failed, it changed, or it was acted on once: whatever it was, it is no object that was just put."""
    record(quick_ledger, [earlier], dry_run=True)
    quick_ledger.record_uploads([judged("a")])
    assert taken_over(quick_ledger, stored_upload("key", "a")) == []


@pytest.mark.parametrize(
    "second",
    [upload("b", **SAME_MD5), upload("b", UploadAnswer.REFUSED, **SAME_MD5), judged("b", Outcome.FLAGGED, **SAME_MD5)],
    ids=["unchecked", "refused", "flagged"],
)
def test_what_was_taken_over_is_read_as_soon_as_a_second_file_of_its_md5_is_known(ledger, second) -> None:
    """A daemon may list it while the door still looks at it; objects that were read are not touched."""
    ledger.record_uploads([judged("a"), judged("c")])
    take(ledger, stored_upload("key", "a"))
    take(ledger, stored_upload("innocent", "c"))
    record(ledger, [checked("read", sha256=upload("a").sha256)])
    assert ledger.known(STORAGE, [stored_upload("key", "a")], detectors=DETECTORS, decoder="") != {}
    ledger.record_uploads([second])
    assert ledger.known(STORAGE, [stored_upload("key", "a")], detectors=DETECTORS, decoder="") == {}
    assert ledger.retryable(STORAGE, 10) == ["key"]
    assert ledger.stats().by_status == {ItemStatus.CHECKED: 2, ItemStatus.FETCH_FAILED: 1}
    # What it turns out to be is recorded like anything else.
    read = checked("key", Outcome.FLAGGED, sha256=hashlib.sha256(b"b").hexdigest(), obj=stored_upload("key", "a"))
    assert len(record(ledger, [read])) == 1


def test_objects_of_the_size_of_an_unchecked_upload_are_pointed_out(ledger) -> None:
    """The size is all that every storage tells; once the bytes were judged nobody is pointed at."""
    ledger.record_uploads([upload("abc"), judged("abcd")])
    listed = [stored_upload("three", "xyz", etag=False), stored_upload("four", "wxyz"), stored_upload("two", "xy")]
    assert matches(ledger, *listed, rules=None).unchecked == {"three"}
    record(ledger, [checked("three", sha256=upload("abc").sha256)])
    assert matches(ledger, *listed).unchecked == frozenset()
    assert matches(ledger).unchecked == frozenset()
