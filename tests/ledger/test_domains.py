"""Outcomes of all domains are on record, and only flags in domains that this version knows lead to anything."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update
from support.examples import examples
from support.ledger.created import new_ledger
from support.ledger.results import DETECTORS, STORAGE, checked, record, sha256_of
from support.ledger.uploads import judged

from lemmy_safety.ledger import FROM_UPLOAD
from lemmy_safety.ledger.schema.tables import flags, images, uploads
from lemmy_safety.policy import Effect, Policy, Rule
from lemmy_safety.records import ActionPlan, Finding, Outcome, Verdict

PLAN = ActionPlan("delete")
DOMAINS = ["csam", "violence", "hate"]
POLICIES = st.builds(
    Policy,
    st.fixed_dictionaries(
        {
            ("clip", label): st.builds(
                Rule, st.sampled_from([frozenset({effect}) for effect in Effect]), st.sampled_from(DOMAINS)
            )
            for label in "abc"
        }
    ),
    st.frozensets(st.sampled_from(DOMAINS)),
)


def of_domains(outcome, **outcomes) -> Verdict:
    return Verdict(outcome=outcome, nsfw=None, findings=(), rules_version="rules-1", outcomes=outcomes)


BESIDE = of_domains(Outcome.CLEAR, csam=Outcome.CLEAR, violence=Outcome.FLAGGED)
BOTH = of_domains(Outcome.FLAGGED, csam=Outcome.FLAGGED, violence=Outcome.BORDERLINE)
#: As a version writes it whose policy acts on violence.
UNKNOWN = of_domains(Outcome.FLAGGED, csam=Outcome.CLEAR, violence=Outcome.FLAGGED)


def by_key(ledger):
    with ledger.database.reading() as connection:
        return {row.key: row for row in connection.execute(select(images))}


@pytest.mark.parametrize("verdict", [BESIDE, BOTH, UNKNOWN], ids=["beside", "both", "unknown"])
def test_outcomes_of_all_domains_come_back(ledger, verdict) -> None:
    """From objects and from uploads, whatever this version makes of them."""
    record(ledger, [checked("a", verdict=verdict)])
    ledger.uploads.record([judged("b", verdict=verdict)])
    assert by_key(ledger)["a"].outcomes == dict(verdict.outcomes)
    assert ledger.uploads.get(sha256_of("b")).assessment.verdict == verdict
    if verdict is not UNKNOWN:
        for content in "ab":
            known = ledger.objects.verdict_for(sha256_of(content))
            assert known.verdict == verdict


@pytest.mark.parametrize("outcome", Outcome)
def test_csam_alone_takes_no_room(ledger, outcome) -> None:
    """Nearly every row is like that."""
    record(ledger, [checked("a", outcome)])
    ledger.uploads.record([judged("b", outcome)])
    assert by_key(ledger)["a"].outcomes is None
    with ledger.database.reading() as connection:
        assert set(connection.execute(select(uploads.c.outcomes)).scalars()) == {None}
        assert set(connection.execute(select(flags.c.outcomes)).scalars()) <= {None}
    assert ledger.uploads.get(sha256_of("b")).assessment.verdict.outcomes == {"csam": outcome}


def test_a_flag_keeps_its_domains_under_another_key(ledger) -> None:
    """Also where it wins over a later verdict by others."""
    record(ledger, [checked("a", verdict=BOTH, detectors=frozenset({"clip"}))])
    record(ledger, [checked("b", content="a", detectors=frozenset({"hashes"}))])
    outcomes = {row.key: row.assessment.verdict.outcomes for row in ledger.reviews.flagged()}
    assert outcomes == {"a": BOTH.outcomes, "b": BOTH.outcomes}


def test_what_is_let_in_unchecked_is_settled_with_its_domains(ledger) -> None:
    """A pass meets bytes that the door did not judge."""
    ledger.uploads.record([replace(judged("a"), assessment=None, answer="unchecked")])
    record(ledger, [checked("key", content="a", verdict=BOTH)])
    assert ledger.uploads.get(sha256_of("a")).assessment.verdict.outcomes == BOTH.outcomes


def written_by_another_version(ledger, key) -> int:
    """A flag on csam with its intent becomes one on a domain that only the other version knows; the action's number."""
    (pending,) = record(ledger, [checked(key, Outcome.FLAGGED)])
    with ledger.database.writing() as connection:
        for table in (images, flags):
            here = table.c.sha256 == sha256_of(key)
            connection.execute(update(table).where(here).values(outcomes=dict(UNKNOWN.outcomes)))
    return pending.id


def test_nothing_follows_from_a_flag_in_an_unknown_domain(ledger) -> None:
    """An intent that the other version left is not carried out, and no new one is written. The text stays."""
    action = written_by_another_version(ledger, "a")
    assert not ledger.actions.is_intended(action)
    assert ledger.actions.unfinished(STORAGE) == []
    assert ledger.actions.intend(STORAGE, ["a"], PLAN) == []
    assert list(ledger.reviews.flagged(include_settled=True)) == []
    assert ledger.maintenance.stats().flagged_open == 0
    assert ledger.rechecks.flagged(STORAGE, ["a"]) == set()
    assert by_key(ledger)["a"].outcomes == dict(UNKNOWN.outcomes)


def test_a_flag_in_an_unknown_domain_wins_over_nothing(ledger) -> None:
    """Neither over a later verdict on the bytes, nor at the door where there is no time to judge. It is kept."""
    written_by_another_version(ledger, "a")
    known = ledger.objects.verdict_for(sha256_of("a"))
    assert known is None
    assert record(ledger, [checked("b", content="a", detectors=frozenset({"nudenet"}))]) == []
    assert by_key(ledger)["b"].outcome is Outcome.CLEAR
    record(ledger, [checked("c", content="a")])  # by the same detectors
    with ledger.database.reading() as connection:
        assert list(connection.execute(select(flags.c.outcomes)).scalars()) == [dict(UNKNOWN.outcomes)]


def test_a_flag_of_the_door_in_an_unknown_domain_has_nothing_read_again(ledger) -> None:
    """It would be, in every pass."""
    record(ledger, [checked("a")])
    ledger.uploads.record([judged("a", verdict=UNKNOWN)])
    with ledger.database.reading() as connection:
        assert list(connection.execute(select(flags.c.found_under)).scalars()) == [FROM_UPLOAD]
    assert ledger.objects.retryable(STORAGE, 9) == []


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One SQLite database for all examples, which use keys of their own."""
    with new_ledger(tmp_path_factory.mktemp("domains") / "ledger.db") as opened:
        yield opened


_numbers = itertools.count()


@given(POLICIES, st.lists(st.sampled_from("abc"), max_size=3))
@settings(max_examples=examples(60), deadline=None)
def test_exactly_the_domains_that_a_policy_names_lead_to_an_intent(shared, policy, labels) -> None:
    """Whatever it judges beside them; of those, the list has what this version knows."""
    found = [Finding(detector="clip", version="1", label=label, score=1.0, threshold=0.5) for label in labels]
    verdict = policy.judge(found, ran=DETECTORS)
    key = f"key{next(_numbers)}"
    pending = record(shared, [checked(key, verdict=verdict)])
    flagging = {name for name, outcome in verdict.outcomes.items() if outcome is Outcome.FLAGGED}
    assert [one.obj.key for one in pending] == ([key] if flagging & policy.acts_in else [])
    listed = key in {row.key for row in shared.reviews.flagged(include_settled=True)}
    assert listed == (bool(flagging & policy.acts_in) and "csam" in flagging)
