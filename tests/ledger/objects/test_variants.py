"""Variants follow the verdict on their original as long as that is clear, and nothing of it is copied to them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select
from support.ledger.results import RULES, STORAGE, checked, failed, flagged, record, result, row_of, rules, stored
from support.ledger.uploads import judged

from lemmy_safety.ledger import Known
from lemmy_safety.ledger.schema.tables import images
from lemmy_safety.records import ActionState, ItemStatus, MediaInfo, Outcome, Review

STILL = MediaInfo(media_type="image/webp", width=640, height=480)
MOVING = MediaInfo(media_type="image/gif", width=640, height=480, frame_count=9)


def variant(key: str, original: str):
    return result(obj=stored(key), variant_of=original, status=ItemStatus.VARIANT, reason=f"variant of {original}")


def original(key: str = "original", outcome: Outcome = Outcome.CLEAR, **more):
    return checked(key, outcome, **{"info": STILL, **more})


def is_enough(ledger, key: str = "original", ruleset=RULES) -> bool | None:
    """None if the original is not judged."""
    found = ledger.variants.originals(STORAGE, [key], ruleset).get(key)
    return None if found is None else found.is_enough


def test_a_variant_is_known_by_its_original_and_has_no_verdict(ledger) -> None:
    """It is no flag, no failure and nothing to be read again."""
    record(ledger, [original(), variant("v", "original")])
    assert ledger.objects.known(STORAGE, [stored("v")], RULES) == {"v": Known.VARIANT}
    assert ledger.objects.on_record(["v"])["v"].assessment.reason == "variant of original"
    assert ledger.objects.retryable(STORAGE, 10) == []
    assert list(ledger.reviews.unjudged(include_settled=True)) == []
    assert list(ledger.reviews.flagged(include_settled=True)) == []
    assert ledger.maintenance.stats().by_status == {ItemStatus.CHECKED: 1, ItemStatus.VARIANT: 1}


def test_a_variant_that_changed_is_not_known(ledger) -> None:
    """pict-rs never writes a key twice: another program did."""
    record(ledger, [original(), variant("v", "original")])
    assert ledger.objects.known(STORAGE, [stored("v", "other bytes")], RULES) == {}


@pytest.mark.parametrize(
    ("recorded", "enough"),
    [
        pytest.param(original(), True, id="clear"),
        pytest.param(original(outcome=Outcome.BORDERLINE), False, id="borderline"),
        pytest.param(original(outcome=Outcome.FLAGGED), False, id="flagged"),
        pytest.param(original(info=MOVING), False, id="moving"),
        pytest.param(original(info=None), False, id="never described"),
        pytest.param(checked("original"), False, id="with an anomaly"),
        pytest.param(failed("original", ItemStatus.GONE), None, id="gone"),
        pytest.param(failed("original", ItemStatus.UNREADABLE), False, id="undecodable"),
        pytest.param(failed("original", ItemStatus.DETECTOR_FAILED), None, id="to be judged again"),
        pytest.param(variant("original", "another"), None, id="itself a variant"),
        pytest.param(original("something else"), None, id="not on record"),
    ],
)
def test_only_a_clear_still_picture_is_enough(ledger, recorded, enough) -> None:
    """Any other original leaves its variants to the detectors."""
    record(ledger, [recorded], dry_run=True)
    assert is_enough(ledger) is enough


def test_a_verdict_that_is_no_longer_valid_is_not_enough(ledger) -> None:
    """Judged by fewer detectors than run now."""
    record(ledger, [original()])
    assert is_enough(ledger, ruleset=rules(detectors=frozenset({"hashes", "clip", "nudenet"}))) is None


def test_an_original_that_is_gone_is_not_enough_although_its_verdict_stays(ledger) -> None:
    record(ledger, [original()])
    record(ledger, [failed("original", ItemStatus.GONE)])
    assert is_enough(ledger) is None


def test_an_original_that_a_person_cleared_is_enough(ledger) -> None:
    record(ledger, [original(outcome=Outcome.FLAGGED)], dry_run=True)
    ledger.reviews.decide(["original"], Review.CLEARED)
    assert is_enough(ledger) is True


def test_an_original_whose_bytes_the_hook_flags_is_to_be_judged_again(ledger) -> None:
    record(ledger, [original()])
    ledger.uploads.record([judged("original", Outcome.FLAGGED)])
    assert is_enough(ledger) is None


def test_an_original_of_another_storage_says_nothing(ledger) -> None:
    record(ledger, [original()], storage="local:/elsewhere")
    record(ledger, [checked("unrelated")])
    assert is_enough(ledger) is None


def test_variants_of_an_original_that_is_flagged_later_are_read(ledger) -> None:
    """At the next pass of any kind, until they have a verdict of their own."""
    record(ledger, [original(), original("other"), variant("v", "original"), variant("w", "other")])
    assert ledger.objects.retryable(STORAGE, 10) == []
    record(ledger, [original(outcome=Outcome.FLAGGED)], dry_run=True)
    assert ledger.objects.retryable(STORAGE, 10) == ["v"]
    record(ledger, [checked("v")])
    assert ledger.objects.retryable(STORAGE, 10) == []


def test_variants_of_a_flagged_original_are_left_alone_once_a_person_cleared_it(ledger) -> None:
    record(ledger, [original(outcome=Outcome.FLAGGED), variant("v", "original")], dry_run=True)
    ledger.reviews.decide(["original"], Review.CLEARED)
    assert ledger.objects.retryable(STORAGE, 10) == []


def test_a_variant_that_is_judged_forgets_its_original(ledger) -> None:
    record(ledger, [original(), variant("v", "original")])
    record(ledger, [flagged("v")], dry_run=True)
    assert row_of(ledger, "v").assessment.outcome is Outcome.FLAGGED
    with ledger.database.reading() as connection:
        assert connection.execute(select(images.c.variant_of).where(images.c.key == "v")).scalar_one() is None


def test_what_was_ever_more_than_clear_is_judged_by_itself(ledger) -> None:
    """A flag of a size is not forgotten because the original is clear."""
    record(
        ledger,
        [
            checked("clear"),
            checked("borderline", Outcome.BORDERLINE),
            flagged("flagged"),
            failed("undecodable", ItemStatus.UNREADABLE),
            variant("variant", "original"),
        ],
    )
    keys = ["clear", "borderline", "flagged", "undecodable", "variant", "unheard of"]
    assert ledger.variants.with_a_past(STORAGE, keys) == {"borderline", "flagged", "undecodable"}


def test_an_action_that_was_wanted_is_a_past(ledger) -> None:
    """Such as that on an object that was deleted and exists again."""
    (action,) = record(ledger, [flagged("v")])
    ledger.actions.finish(action.id, ActionState.DONE)
    record(ledger, [checked("v")])
    record(ledger, [failed("v", ItemStatus.DENIED)])
    assert ledger.variants.with_a_past(STORAGE, ["v"]) == {"v"}


def test_a_verdict_on_the_same_bytes_outlives_that_they_were_a_variant_meanwhile(ledger) -> None:
    """It is valid again for the detectors that gave it; for others the original decides."""
    record(ledger, [checked("v")])
    record(ledger, [variant("v", "original")])
    assert ledger.objects.known(STORAGE, [stored("v")], RULES) == {"v": Known.SETTLED}
    more = rules(detectors=frozenset({"hashes", "clip", "nudenet"}))
    assert ledger.objects.known(STORAGE, [stored("v")], more) == {"v": Known.VARIANT}


def test_a_recheck_of_what_was_judged_leaves_out_variants(ledger) -> None:
    record(ledger, [original(), variant("v", "original")])
    row = ledger.objects.on_record(["v"])["v"]
    day = timedelta(days=1)
    keys = list(ledger.rechecks.since(STORAGE, row.checked_at - day, before=row.checked_at + day))
    assert keys == ["original"]


@pytest.mark.parametrize(
    "wrong",
    [
        result(obj=stored("v"), status=ItemStatus.VARIANT),
        result(obj=stored("v"), status=ItemStatus.GONE, variant_of="o"),
    ],
)
def test_a_variant_without_an_original_is_refused(quick_ledger, wrong) -> None:
    with pytest.raises(ValueError, match="an original is named exactly"):
        record(quick_ledger, [wrong])
