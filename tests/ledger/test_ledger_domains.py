"""Outcomes in several domains are kept; only the outcome that may lead to an action leads to one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select
from support.ledgers import RULES, RULES_VERSION, checked, record, row_of, sha256_of
from support.uploads import judged

from lemmy_safety.ledger.models import flags, images, uploads
from lemmy_safety.records import Outcome, Verdict

VIOLENT = {"csam": Outcome.CLEAR, "violence": Outcome.FLAGGED}
BOTH = {"csam": Outcome.FLAGGED, "violence": Outcome.BORDERLINE}


def verdict(outcome, outcomes):
    return Verdict(outcome=outcome, nsfw=None, findings=(), rules_version=RULES_VERSION, outcomes=outcomes)


def in_domains(result, outcome, outcomes):
    return replace(result, assessment=replace(result.assessment, verdict=verdict(outcome, outcomes)))


def test_what_is_flagged_only_where_nothing_acts_gets_no_intent_and_is_in_no_list(ledger) -> None:
    """Its outcome in that domain is on record all the same."""
    assert record(ledger, [in_domains(checked("a"), Outcome.CLEAR, VIOLENT)]) == []
    assert list(ledger.reviews.flagged(include_settled=True)) == []
    known = ledger.objects.verdict_for(sha256_of("a"), RULES)
    assert known.verdict == verdict(Outcome.CLEAR, VIOLENT)


def test_what_is_flagged_where_it_may_be_acted_on_gets_an_intent(ledger) -> None:
    """And keeps what it is in the others; also where the same bytes come back under another key."""
    (pending,) = record(ledger, [in_domains(checked("a"), Outcome.FLAGGED, BOTH)])
    assert pending.obj.key == "a"
    assert row_of(ledger, "a").assessment.verdict.outcomes == BOTH
    assert ledger.objects.verdict_for(sha256_of("a")).verdict.outcomes == BOTH  # the flag on the bytes
    (again,) = record(ledger, [checked("b", content="a", sha256=sha256_of("a"), detectors=frozenset({"clip"}))])
    assert again.obj.key == "b"
    assert row_of(ledger, "b").assessment.verdict.outcomes == BOTH


@pytest.mark.parametrize(("outcome", "outcomes"), [(Outcome.CLEAR, VIOLENT), (Outcome.FLAGGED, BOTH)])
def test_uploads_keep_them_too(ledger, outcome, outcomes) -> None:
    """What a pass then meets is reused with them."""
    ledger.uploads.record([in_domains(judged("a"), outcome, outcomes)])
    assert ledger.uploads.get(sha256_of("a")).assessment.verdict.outcomes == outcomes
    assert ledger.objects.verdict_for(sha256_of("a")).verdict == verdict(outcome, outcomes)


def test_csam_alone_takes_no_room(ledger) -> None:
    """As in all rows of before there were domains."""
    record(ledger, [checked("a"), checked("b", Outcome.FLAGGED)])
    ledger.uploads.record([judged("c")])
    with ledger.reading() as connection:
        for table in (images, uploads, flags):
            assert set(connection.execute(select(table.c.outcomes)).scalars()) == {None}
    assert row_of(ledger, "b").assessment.verdict.outcomes == {"csam": Outcome.FLAGGED}
