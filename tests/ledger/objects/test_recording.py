"""What is written comes back as it was: keys, times, findings, and the odd values that decoders produce."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ledger.results import (
    DETECTORS,
    NOON,
    STORAGE,
    checked,
    failed,
    flagged,
    record,
    result,
    row_of,
    rules,
    stored,
)

from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger import Known
from lemmy_safety.ledger.schema.columns import JsonText, UtcDateTime, clean_text
from lemmy_safety.records import (
    ActionPlan,
    ActionState,
    Anomaly,
    AnomalyKind,
    Finding,
    ItemStatus,
    MediaInfo,
    Outcome,
    Review,
    StoredObject,
    Verdict,
)

ODD_KEYS = [
    "with space.webp",
    "new\nline",
    "quote'\";--",
    "percent%41%",
    "back\\slash",
    "ümlaut/\N{CAT FACE}/e\u0301",
    "é/composed",
    "UPPER",
    "upper",
    "upper ",
    "up\N{LATIN SMALL LETTER SHARP S}",
    "upss",
    "\N{CAT FACE}" * 512,
    "tab\t",
    ":colon",
    "x" * 1024,
]


def test_odd_keys_are_kept_apart_and_whole(ledger) -> None:
    """Upper and lower case, composed and decomposed letters: a key is its code points."""
    record(ledger, [flagged(key) for key in ODD_KEYS], dry_run=True)
    assert [row.key for row in ledger.reviews.flagged()] == ODD_KEYS
    found = ledger.objects.known(STORAGE, [stored(key) for key in ODD_KEYS], rules(decoder=""))
    assert found == dict.fromkeys(ODD_KEYS, Known.PENDING)
    assert ledger.reviews.decide(ODD_KEYS, Review.CLEARED).unknown == ()


def test_a_flagged_row_says_everything_that_was_recorded(ledger) -> None:
    """Every field of the result, and where and when."""
    result = flagged("a", reused_from="b")
    record(ledger, [result], dry_run=True)
    row = row_of(ledger, "a")
    assert (row.storage, row.obj, row.key) == (STORAGE, result.obj, "a")
    assert (
        row.assessment.outcome,
        row.assessment.verdict.nsfw,
        row.assessment.findings,
        row.assessment.verdict.rules_version,
    ) == (
        Outcome.FLAGGED,
        None,
        result.assessment.verdict.findings,
        "rules-1",
    )
    assert (row.assessment.detectors, row.reused_from) == (DETECTORS, "b")
    assert (row.assessment.sha256, row.assessment.info) == (result.assessment.sha256, result.assessment.info)
    assert (row.assessment.status, row.assessment.reason, row.dry_run, row.origin) == (
        ItemStatus.CHECKED,
        "",
        True,
        "scan",
    )
    assert row.checked_at > NOON
    assert row.checked_at.tzinfo is UTC
    assert (row.action_at, row.action_detail, row.review, row.review_at) == (None, "", Review.NONE, None)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, 0.1, 1e-300, 0])
def test_any_score_is_kept(ledger, score) -> None:
    """A broken model's NaN is recorded like any other number."""
    finding = Finding(detector="clip", version="1", label="x", score=score, threshold=score, frame=3, at_s=score)
    verdict = Verdict(outcome=Outcome.FLAGGED, nsfw=True, findings=(finding,), rules_version="1")
    record(ledger, [flagged("a", verdict=verdict)], dry_run=True)
    (back,) = row_of(ledger, "a").assessment.findings
    assert repr(back.score) == repr(float(score)) == repr(back.threshold) == repr(back.at_s)
    assert (back.frame, row_of(ledger, "a").assessment.verdict.nsfw) == (3, True)


def test_texts_of_decoders_are_kept_as_far_as_databases_can(ledger) -> None:
    """NUL and surrogates, which messages about hostile files hold, are replaced; the rest stays."""
    unread = failed("a", ItemStatus.UNREADABLE, reason="bad \0 byte \udc80")
    odd = tuple(Anomaly(kind=AnomalyKind.DAMAGED, detail=detail) for detail in ("trailing \udc80", "\N{SNOWMAN}"))
    info = MediaInfo(media_type="image/\0odd", width=1, height=2, duration_s=math.nan, anomalies=odd)
    finding = Finding(detector="clip", version="1", label="x", score=0.5, details={"n\0": ["\udc80", {1}, 2.5, None]})
    verdict = Verdict(outcome=Outcome.FLAGGED, nsfw=None, findings=(finding,), rules_version="1")
    record(ledger, [unread, flagged("b", info=info, verdict=verdict)])
    row = row_of(ledger, "b")
    assert row.assessment.info == MediaInfo(
        media_type="image/\N{REPLACEMENT CHARACTER}odd",
        width=1,
        height=2,
        anomalies=(dataclasses.replace(odd[0], detail="trailing ?"), odd[1]),
    )
    assert row.assessment.findings[0].details == {"n\N{REPLACEMENT CHARACTER}": ["?", [1], 2.5, None]}


@pytest.mark.parametrize(
    "result",
    [
        checked("a", status=ItemStatus.UNREADABLE),
        checked("a", verdict=None),
    ],
    ids=["verdict without being checked", "checked without verdict"],
)
def test_a_verdict_without_a_check_is_refused(ledger, result) -> None:
    """Neither can be a verdict on the object."""
    with pytest.raises(ValueError, match="exactly when"):
        record(ledger, [checked("fine"), result])
    assert ledger.maintenance.stats().objects == 0


def test_a_batch_is_written_whole_or_not_at_all(ledger) -> None:
    """A result that the database refuses takes its batch with it, and the error is ours."""
    with pytest.raises(LedgerError):
        record(ledger, [checked("a"), checked("b", sha256="not hexadecimal")])
    assert ledger.maintenance.stats().objects == 0
    with pytest.raises(LedgerError):
        ledger.objects.record(STORAGE, [checked("a")], run_id=12345, dry_run=False, plan=ActionPlan(), decoder="")
    assert ledger.maintenance.stats().objects == 0


def test_the_ancestors_name_is_reserved(ledger) -> None:
    """A storage cannot take the place of the rows that were taken over."""
    with pytest.raises(ValueError, match="ancestor"):
        ledger.passes.start("ancestor", "sweep", dry_run=False, detectors=DETECTORS)


def test_times_of_any_zone_come_back_as_the_same_moment_in_utc(ledger) -> None:
    """Summer time and half-hour zones included; naive times are refused."""
    at = datetime(2026, 7, 1, 5, 30, 15, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    ledger.passes.set_cursor("scope", "name", at)
    back = ledger.passes.cursor("scope", "name")
    assert back == at
    assert back.tzinfo is UTC
    with pytest.raises(ValueError, match="aware"):
        ledger.passes.set_cursor("scope", "name", at.replace(tzinfo=None))


def test_runs_and_cursors(ledger) -> None:
    """Passes are numbered and finished once they are known; cursors are separate by scope and name."""
    run_id = ledger.passes.start(STORAGE, "sweep", dry_run=True, detectors=("hashes", "clip"))
    ledger.passes.finish(run_id, {"seen": 3, "images_per_s": 1.5, "odd": math.nan}, complete=True)
    with pytest.raises(LedgerError, match="no run"):
        ledger.passes.finish(run_id + 1, {}, complete=True)
    assert ledger.maintenance.stats().runs == 1

    assert ledger.passes.cursor("scope", "watermark") is None
    ledger.passes.set_cursor("scope", "watermark", NOON)
    ledger.passes.set_cursor("scope", "watermark", NOON + timedelta(hours=1))
    ledger.passes.set_cursor("scope", "other", NOON)
    assert ledger.passes.cursor("scope", "watermark") == NOON + timedelta(hours=1)
    assert ledger.passes.cursor("scope", "other") == NOON
    assert ledger.passes.cursor("another scope", "watermark") is None


def test_stats_count_everything(ledger) -> None:
    """By status and outcome, what is open, what was done."""
    pending = record(ledger, [checked("a"), flagged("b"), flagged("c"), failed("d"), failed("e", ItemStatus.GONE)])
    ledger.actions.finish(pending[0].id, ActionState.DONE)
    stats = ledger.maintenance.stats()
    assert stats.objects == 5
    assert stats.by_status == {ItemStatus.CHECKED: 3, ItemStatus.FETCH_FAILED: 1, ItemStatus.GONE: 1}
    assert stats.by_outcome == {Outcome.CLEAR: 1, Outcome.FLAGGED: 2}
    assert (stats.flagged_open, stats.acted, stats.runs) == (1, 1, 1)
    assert stats.bytes_on_disk is None or stats.bytes_on_disk > 100_000


def test_nothing_works_after_closing(ledger) -> None:
    """With an error of ours, and closing again is fine."""
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.maintenance.stats()
    with pytest.raises(LedgerError, match="closed"):
        ledger.maintenance.check_writable()


class Dialect:
    name = "sqlite"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
        max_leaves=12,
    )
)
def test_any_details_can_be_stored(value) -> None:
    """Whatever a detector puts there is text that any database takes, and reads back; plain values unchanged."""
    column = JsonText()
    text = column.process_bind_param(value, Dialect())
    if value is None:
        assert text is None
        return
    text.encode()
    assert "\\u0000" not in text
    back = column.process_result_value(text, Dialect())
    assert column.process_bind_param(back, Dialect()) == text


@given(st.text(st.characters()))
def test_cleaned_texts_can_be_stored(text) -> None:
    """And keep their length, character by character."""
    cleaned = clean_text(text)
    assert "\0" not in cleaned
    assert len(cleaned.encode().decode()) == len(text)


@given(st.datetimes(timezones=st.just(UTC)), st.integers(-14 * 60, 14 * 60))
def test_times_survive_sqlites_lack_of_zones(moment, minutes) -> None:
    """In whatever zone they are given."""
    if not datetime(2, 1, 1, tzinfo=UTC) < moment < datetime(9998, 1, 1, tzinfo=UTC):
        return
    column = UtcDateTime()
    given_time = moment.astimezone(timezone(timedelta(minutes=minutes)))
    kept = column.process_bind_param(given_time, Dialect())
    assert kept.tzinfo is None
    assert column.process_result_value(kept, Dialect()) == moment


def test_results_of_the_smallest_kind_are_recorded(ledger) -> None:
    """Nothing but an object and a status is known of most failures."""
    obj = StoredObject(key="a", size=0, modified_at=NOON)
    record(ledger, [result(obj=obj, status=ItemStatus.UNREADABLE)])
    assert ledger.objects.describe(STORAGE, "a") == obj
