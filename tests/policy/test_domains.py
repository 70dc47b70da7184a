"""A verdict has an outcome in each domain; only the domains that the policy names may lead to an action."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.policy import Effect, Policy, Rule, build_policy
from lemmy_safety.records import Domain, Finding, Outcome, Verdict, worst

DOMAINS = ("csam", "violence", "hate")
OF_EFFECT = {Effect.FLAG: Outcome.FLAGGED, Effect.BORDERLINE: Outcome.BORDERLINE}

effects = st.sampled_from([Effect.FLAG, Effect.BORDERLINE, Effect.RECORD])
tables = st.dictionaries(
    st.tuples(st.sampled_from(["clip", "probe"]), st.sampled_from("abcd")),
    st.builds(lambda effect, domain: Rule(frozenset({effect}), domain), effects, st.sampled_from(DOMAINS)),
    min_size=1,
    max_size=8,
)
acting = st.frozensets(st.sampled_from(DOMAINS))


def hit(detector, label):
    return Finding(detector=detector, version="1", label=label, score=1.0, threshold=0.5)


@given(tables, acting, st.data())
def test_exactly_the_domains_that_act_decide_the_outcome(table, acts_in, data):
    """Each domain has the worst of its own hits. What lists, actions and refusals follow is the worst that may act."""
    policy = Policy(table, acts_in=acts_in)
    seen = data.draw(st.lists(st.sampled_from(sorted(table)), max_size=6))
    verdict = policy.judge([hit(*pair) for pair in seen], ran=frozenset())
    for domain in policy.domains:
        expected = worst(
            OF_EFFECT.get(effect, Outcome.CLEAR)
            for pair in seen
            if table[pair].domain == domain
            for effect in table[pair].effects
        )
        assert verdict.outcomes[domain] is expected
    assert verdict.outcome is worst(verdict.outcomes[domain] for domain in policy.domains & acts_in)
    flagging = any(policy.flags(hit(*pair)) for pair in seen)
    assert flagging is (verdict.outcome is Outcome.FLAGGED)


@given(tables, acting, st.data())
def test_the_order_of_findings_does_not_matter(table, acts_in, data):
    """Nor which of several domains was seen first."""
    policy = Policy(table, acts_in=acts_in)
    seen = [hit(*pair) for pair in data.draw(st.lists(st.sampled_from(sorted(table)), max_size=6))]
    shuffled = data.draw(st.permutations(seen))
    assert policy.judge(seen, ran=frozenset()) == policy.judge(shuffled, ran=frozenset())


def test_every_rule_of_the_product_is_about_csam():
    """So each verdict has this one domain, and its outcome says all."""
    for policy in (build_policy(nudenet_flags=False), build_policy(nudenet_flags=True, anomaly_flags=["truncated"])):
        assert policy.domains == policy.acts_in == {Domain.CSAM}
        assert policy.judge([hit("clip", "csam")], ran=frozenset()).is_csam_alone


def test_another_domain_and_another_right_to_act_are_other_rules():
    """Verdicts by them are not reused."""
    flag = Rule(frozenset({Effect.FLAG}))
    table = {("clip", "a"): flag}
    versions = {
        Policy(table).rules_version,
        Policy(table, acts_in=frozenset({"csam", "violence"})).rules_version,
        Policy({("clip", "a"): replace(flag, domain="violence")}).rules_version,
        Policy({("clip", "a"): replace(flag, domain="violence")}, acts_in=frozenset({"violence"})).rules_version,
    }
    assert len(versions) == 4


@pytest.mark.parametrize("name", ["", "Violence", "a b", "x" * 33, "ü"])
def test_a_domain_has_a_short_plain_name(name):
    """It is a key in JSON, and is stored and sent."""
    with pytest.raises(ValueError, match="names of"):
        Policy({("clip", "a"): Rule(frozenset({Effect.FLAG}), name)})
    with pytest.raises(ValueError, match="names of"):
        Verdict(outcome=Outcome.CLEAR, nsfw=None, findings=(), rules_version="1", outcomes={name: Outcome.CLEAR})


def test_an_outcome_that_no_domain_has_is_refused():
    """A verdict cannot be flagged in nothing; its outcomes cannot be changed."""
    with pytest.raises(ValueError, match="no domain"):
        Verdict(
            outcome=Outcome.FLAGGED, nsfw=None, findings=(), rules_version="1", outcomes={"violence": Outcome.CLEAR}
        )
    verdict = Verdict(outcome=Outcome.FLAGGED, nsfw=None, findings=(), rules_version="1")
    assert verdict.outcomes == {"csam": Outcome.FLAGGED}
    with pytest.raises(TypeError):
        verdict.outcomes["csam"] = Outcome.CLEAR
