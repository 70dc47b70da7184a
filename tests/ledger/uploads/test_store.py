"""Uploads: what was let in unchecked stays in sight until it is judged, and verdicts outlive later attempts."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from datetime import timedelta

import pytest
from support.ledger.results import DETECTORS, RULES, STORAGE, checked, failed, flagged, record, rules, stored
from support.ledger.uploads import AT, judged, row_for, stored_upload, upload, waiting

from lemmy_safety.ledger import FROM_UPLOAD, UNSAID, UploadAnswer
from lemmy_safety.records import ItemStatus, Outcome, Review

MINUTE = timedelta(minutes=1)


def of(content):
    return upload(content).sha256


def test_an_upload_says_everything_that_was_recorded(ledger) -> None:
    """Every field, and when."""
    result = judged("a", Outcome.BORDERLINE, reason="odd \0")
    ledger.uploads.record([result])
    row = row_for(ledger, "a")
    assert (row.sha256, row.size, row.answer) == (result.sha256, 1, UploadAnswer.ACCEPTED)
    assert (row.assessment.verdict, row.assessment.detectors, row.assessment.pdq, row.assessment.info) == (
        result.assessment.verdict,
        result.assessment.detectors,
        result.assessment.pdq,
        result.assessment.info,
    )
    assert (row.media_type, row.assessment.status, row.reason) == (
        "image/webp",
        ItemStatus.CHECKED,
        "odd \N{REPLACEMENT CHARACTER}",
    )
    assert (row.first_at, row.last_at, row.times) == (AT, AT, 1)
    assert row.judged_at is not None
    assert (row.found_storage, row.found_key) == (None, None)
    assert ledger.uploads.get("00" * 32) is None


def test_what_is_said_of_the_type_is_kept_until_it_is_known(quick_ledger) -> None:
    """A request may call anything anything."""
    quick_ledger.uploads.record([upload("a", media_type="image/j\udc80")])
    assert (row_for(quick_ledger, "a").media_type, row_for(quick_ledger, "a").assessment) == ("image/j?", None)


def test_uploads_are_counted(ledger) -> None:
    """By bytes; first, last, how often, whatever order they are told in; an earlier one told again is none."""
    ledger.uploads.record([judged("a"), judged("b")])
    ledger.uploads.record([judged("a", at=AT + MINUTE), judged("a", at=AT + 2 * MINUTE)])
    ledger.uploads.record([judged("a", at=AT + MINUTE)])
    row = row_for(ledger, "a")
    assert (row.first_at, row.last_at, row.times) == (AT, AT + 2 * MINUTE, 3)
    assert ledger.maintenance.stats().uploads == {UploadAnswer.ACCEPTED: 2}
    ledger.uploads.record([])


def test_what_was_let_in_unchecked_is_listed_until_it_is_judged_at_the_door(quick_ledger) -> None:
    """A re-upload with a verdict settles it, however that is answered."""
    quick_ledger.uploads.record([upload("a"), upload("b", at=AT - MINUTE), upload("c", UploadAnswer.REFUSED)])
    assert waiting(quick_ledger) == [of("b"), of("a")]
    quick_ledger.uploads.record([judged("a"), judged("b", Outcome.FLAGGED)])
    assert waiting(quick_ledger) == []
    assert row_for(quick_ledger, "b").answer is UploadAnswer.REFUSED


@pytest.mark.parametrize("status", [ItemStatus.UNREADABLE, ItemStatus.UNSUPPORTED, ItemStatus.TOO_LARGE])
def test_what_cannot_be_looked_at_is_settled_without_a_verdict(quick_ledger, status) -> None:
    """Someone has tried."""
    quick_ledger.uploads.record([upload("a")])
    quick_ledger.uploads.record([upload("a", UploadAnswer.ACCEPTED, status=status)])
    assert waiting(quick_ledger) == []
    assert quick_ledger.objects.verdict_for(of("a")) is None


@pytest.mark.parametrize("status", [ItemStatus.DETECTOR_FAILED, ItemStatus.FETCH_FAILED, None])
def test_a_failed_attempt_settles_nothing(quick_ledger, status) -> None:
    """Neither does one that was turned away, while the bytes of the one before lie in the storage."""
    quick_ledger.uploads.record([upload("a")])
    quick_ledger.uploads.record([upload("a", status=status)])
    quick_ledger.uploads.record([upload("a", UploadAnswer.REFUSED, status=status, at=AT + MINUTE)])
    assert waiting(quick_ledger) == [of("a")]
    assert row_for(quick_ledger, "a").times == 2


def test_a_verdict_outlives_a_later_attempt_without_one(quick_ledger) -> None:
    """The bytes are the same, so what was said of them holds. Flagged ones that were let in all the same are looked for."""
    quick_ledger.uploads.record([judged("a"), judged("b", Outcome.FLAGGED)])
    later = {"at": AT + MINUTE}
    quick_ledger.uploads.record([upload("a", **later), upload("b", **later)])
    assert waiting(quick_ledger) == [of("b")]
    assert (row_for(quick_ledger, "a").times, row_for(quick_ledger, "a").answer) == (2, UploadAnswer.ACCEPTED)
    assert (row_for(quick_ledger, "b").answer, row_for(quick_ledger, "b").assessment.verdict.outcome) == (
        UploadAnswer.UNCHECKED,
        Outcome.FLAGGED,
    )
    quick_ledger.uploads.record([upload("a", UploadAnswer.REFUSED, status=ItemStatus.UNREADABLE, **later)])
    assert row_for(quick_ledger, "a").assessment.verdict.outcome is Outcome.CLEAR
    assert quick_ledger.objects.verdict_for(of("b"), RULES).verdict.outcome is Outcome.FLAGGED


def test_a_late_judgement_settles_without_counting(quick_ledger) -> None:
    """The answer that was given stays on record; bytes that no one asked about are not invented."""
    quick_ledger.uploads.record([upload("a")])
    quick_ledger.uploads.record([judged("a", answer=None), judged("never asked", answer=None)])
    row = row_for(quick_ledger, "a")
    assert (row.answer, row.assessment.verdict.outcome, row.times) == (UploadAnswer.UNCHECKED, Outcome.CLEAR, 1)
    assert waiting(quick_ledger) == []
    assert quick_ledger.uploads.get(of("never asked")) is None


@pytest.mark.parametrize("outcome", [Outcome.CLEAR, Outcome.FLAGGED])
def test_a_pass_that_judges_the_bytes_settles_it(ledger, outcome) -> None:
    """It is acted on like any other object, and the upload says where it was found."""
    ledger.uploads.record([upload("a"), upload("b")])
    pending = record(ledger, [checked("01/key", outcome, sha256=of("a"))])
    assert bool(pending) is (outcome is Outcome.FLAGGED)
    assert waiting(ledger) == [of("b")]
    row = row_for(ledger, "a")
    assert (row.answer, row.assessment.verdict.outcome) == (UploadAnswer.UNCHECKED, outcome)
    assert (row.found_storage, row.found_key) == (STORAGE, "01/key")


def test_a_pass_that_can_make_no_picture_of_it_settles_it_too(quick_ledger) -> None:
    """A failed read does not."""
    quick_ledger.uploads.record([upload("a")])
    record(quick_ledger, [failed("01/key", sha256=of("a"))])
    assert waiting(quick_ledger) == [of("a")]
    record(quick_ledger, [failed("01/key", ItemStatus.UNREADABLE, sha256=of("a"))])
    assert waiting(quick_ledger) == []
    assert row_for(quick_ledger, "a").assessment.status is ItemStatus.UNREADABLE


def test_what_a_pass_judged_before_it_was_told_of_is_settled_at_once(ledger) -> None:
    """A relay tells of its unchecked uploads later than a daemon may have met them."""
    record(ledger, [failed("old", ItemStatus.UNREADABLE, sha256=of("a")), checked("key", sha256=of("a"))])
    ledger.uploads.record([upload("a"), upload("b")])
    assert waiting(ledger) == [of("b")]
    row = row_for(ledger, "a")
    assert (row.assessment.verdict.outcome, row.found_key) == (Outcome.CLEAR, "key")


def test_uploads_belong_to_the_storage_that_the_hook_named_or_that_receives_later_ones(ledger) -> None:
    """Not where an object of their size was never read."""
    ledger.uploads.stored_in = STORAGE
    ledger.uploads.record([upload("named"), upload("other size", at=AT)])
    ledger.uploads.stored_in = UNSAID
    ledger.uploads.record([upload("unsaid"), judged("later", at=AT + MINUTE)])
    assert ledger.uploads.belonging_to(STORAGE) == {of("named"), of("other size")}
    assert ledger.uploads.belonging_to("local:/elsewhere") == set()
    came = replace(stored("key", "later"), modified_at=AT + MINUTE)
    record(ledger, [checked("key", obj=came, sha256=of("later"))])
    assert ledger.uploads.belonging_to(STORAGE) == {of("named"), of("other size"), of("unsaid")}
    unread = replace(stored("unread"), size=len("other size"))
    record(ledger, [replace(failed("unread", ItemStatus.TOO_LARGE), obj=unread)])
    assert ledger.uploads.belonging_to(STORAGE) == {of("named"), of("unsaid")}
    assert ledger.uploads.settle_lost(AT + MINUTE, storage=STORAGE, among={of("named")}) == 1
    assert of("named") not in waiting(ledger)


def test_what_is_nowhere_to_be_found_is_taken_off_the_list(ledger) -> None:
    """Its uploader removed it before anybody looked; let in again, it is listed again."""
    ledger.uploads.record([upload("a"), upload("b", at=AT + 2 * MINUTE)])
    assert ledger.uploads.settle_lost(AT + MINUTE, storage=STORAGE) == 1
    assert waiting(ledger) == [of("b")]
    row = row_for(ledger, "a")
    assert (row.assessment.status, row.answer, row.assessment.verdict) == (
        ItemStatus.GONE,
        UploadAnswer.UNCHECKED,
        None,
    )
    assert STORAGE in row.reason
    ledger.uploads.record([upload("a", at=AT + 3 * MINUTE)])
    assert waiting(ledger) == [of("a"), of("b")]


def test_somebody_else_can_say_that_it_is_nowhere_to_be_found(quick_ledger) -> None:
    """Anyone who looks into the storage for a relay; a verdict is not taken back by that."""
    quick_ledger.uploads.record([upload("a"), judged("b")])
    quick_ledger.uploads.record(
        [upload(name, None, status=ItemStatus.GONE, reason="not met") for name in ("a", "b", "c")]
    )
    assert waiting(quick_ledger) == []
    assert (row_for(quick_ledger, "a").assessment.status, row_for(quick_ledger, "a").answer) == (
        ItemStatus.GONE,
        UploadAnswer.UNCHECKED,
    )
    assert row_for(quick_ledger, "b").assessment.status is ItemStatus.CHECKED
    assert quick_ledger.uploads.get(of("c")) is None


def test_verdicts_of_the_door_answer_for_the_same_bytes(ledger) -> None:
    """By at least the same detectors and, where asked for, the same rules; a storage's own verdict goes first."""
    ledger.uploads.record([judged("a", Outcome.BORDERLINE)])
    found = ledger.objects.verdict_for(of("a"), rules(detectors=DETECTORS, rules_version="rules-1"))
    assert found.assessment == judged("a", Outcome.BORDERLINE).assessment
    assert (found.key, found.review) == (FROM_UPLOAD, Review.NONE)
    assert ledger.objects.verdict_for(of("a"), rules(detectors=DETECTORS | {"more"})) is None
    assert ledger.objects.verdict_for(of("a"), rules(detectors=DETECTORS, rules_version="rules-2")) is None
    record(ledger, [checked("key", sha256=of("a"))])
    assert ledger.objects.verdict_for(of("a"), RULES).key == "key"


def test_an_assessment_of_other_bytes_is_refused() -> None:
    """A flag on one file must never be written for another."""
    with pytest.raises(ValueError, match="is not one of"):
        upload("a", assessment=judged("b").assessment)


def test_a_humans_decision_on_the_bytes_reaches_the_door(quick_ledger) -> None:
    """What was cleared is known to be cleared when it is uploaded again."""
    record(quick_ledger, [flagged("key", sha256=of("a"))])
    quick_ledger.reviews.decide(["key"], Review.CLEARED)
    record(quick_ledger, [checked("key", content="other bytes")])
    quick_ledger.uploads.record([judged("a", Outcome.FLAGGED)])
    assert quick_ledger.objects.verdict_for(of("a"), RULES).review is Review.CLEARED


@pytest.mark.parametrize("digits", [64, 16])
def test_an_upload_that_was_refused_is_cleared_by_its_hash(ledger, digits) -> None:
    """It has no key. The decision is about its bytes, and holds for objects that hold them as well."""
    ledger.uploads.record([judged("a", Outcome.FLAGGED), judged("b", Outcome.FLAGGED)])
    name = of("a")[:digits]
    result = ledger.reviews.decide([name, "0" * 16, "nobody"], Review.CLEARED, note="my cat")
    assert (result.changed, result.unknown) == ((), ("0" * 16, "nobody"))
    assert ledger.objects.verdict_for(of("a"), RULES).review is Review.CLEARED
    assert ledger.objects.verdict_for(of("b"), RULES).review is Review.NONE
    assert record(ledger, [flagged("key", sha256=of("a"))]) == []
    result = ledger.reviews.decide([name], Review.NONE)
    assert [row.key for row in result.changed] == ["key"]
    assert ledger.objects.verdict_for(of("a"), RULES).review is Review.NONE


def test_old_uploads_that_were_fine_can_be_forgotten(ledger) -> None:
    """Neither refused ones nor those that someone still has to look at."""
    names = {"clear": judged("clear"), "new": judged("new", at=AT + MINUTE), "bad": judged("bad", Outcome.FLAGGED)}
    names |= {"unchecked": upload("unchecked"), "refused": upload("refused", UploadAnswer.REFUSED)}
    ledger.uploads.record(list(names.values()))
    assert ledger.uploads.forget(AT + MINUTE) == 1
    assert [name for name in names if ledger.uploads.get(of(name)) is None] == ["clear"]


def test_objects_of_the_size_of_an_unchecked_upload_are_pointed_out(ledger) -> None:
    """The size is all that every storage tells; once the bytes were judged no object is pointed out."""
    ledger.uploads.record([upload("abc"), judged("abcd")])
    listed = [stored_upload(key, content) for key, content in (("three", "xyz"), ("four", "wxyz"), ("two", "xy"))]
    assert ledger.uploads.unchecked_among(listed) == {"three"}
    record(ledger, [checked("three", sha256=upload("abc").sha256)])
    assert ledger.uploads.unchecked_among(listed) == frozenset()
    assert ledger.uploads.unchecked_among([]) == frozenset()


def test_a_long_list_is_read_in_pieces(ledger, monkeypatch) -> None:
    """In order, each once, also where many came at the same moment."""
    monkeypatch.setattr("lemmy_safety.ledger.uploads.store.PAGE", 7)
    ledger.uploads.record([upload(f"u{number}", at=AT + number // 10 * MINUTE) for number in range(50)])
    assert len(set(waiting(ledger))) == 50


def test_letting_in_is_audited_once(quick_ledger) -> None:
    """With its hash and without a key; asking again for the same bytes adds nothing."""
    quick_ledger.uploads.record([upload("a"), upload("a", at=AT + MINUTE)])
    with quick_ledger.database.engine.connect() as connection:
        kinds = connection.exec_driver_sql("SELECT kind FROM events").scalars().all()
    assert kinds == ["let_in"]


@pytest.mark.parametrize(
    "wrong",
    [
        judged("a", status=ItemStatus.UNREADABLE),
        judged("a", verdict=None),
        dataclasses.replace(judged("a"), answer=UploadAnswer.UNCHECKED),
    ],
    ids=["not checked", "no verdict", "unchecked"],
)
def test_contradictions_are_refused_with_their_batch(quick_ledger, wrong) -> None:
    """A verdict is set exactly when something was checked."""
    with pytest.raises(ValueError, match=wrong.sha256):
        quick_ledger.uploads.record([judged("fine"), wrong])
    assert quick_ledger.maintenance.stats().uploads == {}
