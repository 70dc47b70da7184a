"""A verdict has an outcome for each domain, and follows those alone that the policy names. Domains beyond csam are planted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.policy import Effect, Policy, Rule, build_policy
from lemmy_safety.records import Finding, Outcome, Verdict, worst

DOMAINS = ["csam", "violence", "hate", "nsfw-ads"]
LABELS = [(detector, label) for detector in ("clip", "hashes") for label in "abcd"]
RULES = st.builds(Rule, st.frozensets(st.sampled_from(Effect)), st.sampled_from(DOMAINS))
POLICIES = st.builds(
    Policy, st.dictionaries(st.sampled_from(LABELS), RULES), st.frozensets(st.sampled_from([*DOMAINS, "unjudged"]))
)
HITS = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from([0.1, 0.9])), max_size=8)
FLAG = frozenset({Effect.FLAG})


def judged(policy, found) -> Verdict:
    findings = [
        Finding(detector=of, version="1", label=label, score=score, threshold=0.5) for (of, label), score in found
    ]
    return policy.judge(findings, ran=frozenset({"clip", "hashes"}))


def flagging(policy, found) -> set[str]:
    """The domains of the rules that flag for what was found."""
    rules = [policy.rules.get(label) for label, score in found if score >= 0.5]
    return {rule.domain for rule in rules if rule is not None and Effect.FLAG in rule.effects}


@given(POLICIES, HITS)
def test_exactly_the_domains_that_are_named_flag_an_object(policy, found):
    """Others are told beside it."""
    verdict = judged(policy, found)
    assert (verdict.outcome is Outcome.FLAGGED) == bool(flagging(policy, found) & policy.acts_in)
    assert {name for name, outcome in verdict.outcomes.items() if outcome is Outcome.FLAGGED} == flagging(policy, found)


@given(POLICIES, HITS)
def test_the_outcome_is_the_worst_of_those_that_may_lead_to_an_action(policy, found):
    """And each domain of the rules has one, csam always."""
    verdict = judged(policy, found)
    assert verdict.outcomes.keys() == {"csam", *(rule.domain for rule in policy.rules.values())}
    assert verdict.outcome is worst(of for name, of in verdict.outcomes.items() if name in policy.acts_in)


@given(POLICIES, HITS, st.randoms(use_true_random=False))
def test_the_order_of_findings_does_not_matter(policy, found, chance):
    """In any number of domains."""
    shuffled = list(found)
    chance.shuffle(shuffled)
    assert judged(policy, shuffled) == judged(policy, found)


@given(POLICIES, HITS)
def test_a_finding_flags_alone_only_where_it_leads_to_an_action(policy, found):
    """Counts of flags by detector are of those that are acted on."""
    verdict = judged(policy, found)
    assert any(policy.flags(finding) for finding in verdict.findings) == (verdict.outcome is Outcome.FLAGGED)


def test_another_domain_is_another_version_of_the_rules():
    """Of a rule, or of those that may lead to an action; in whatever order they are written."""
    rules = {("a", "x"): Rule(FLAG), ("b", "y"): Rule(FLAG)}
    moved = {**rules, ("a", "x"): Rule(FLAG, "violence")}
    other = {**rules, ("b", "y"): Rule(FLAG, "violence")}
    policies = [
        Policy(rules),
        Policy(moved),
        Policy(other),
        Policy(rules, frozenset()),
        Policy(moved, frozenset({"csam", "violence"})),
        Policy(moved, frozenset({"violence"})),
    ]
    assert len({policy.rules_version for policy in policies}) == len(policies)
    assert Policy(moved).rules_version == Policy(dict(reversed(moved.items()))).rules_version


@pytest.mark.parametrize("nudenet_flags", [False, True])
def test_the_product_judges_csam_alone(nudenet_flags):
    """And acts on it."""
    policy = build_policy(nudenet_flags=nudenet_flags, anomaly_flags=["trailing_data"])
    assert (policy.domains, policy.acts_in) == ({"csam"}, {"csam"})


def test_the_version_of_rules_with_anomalies_is_pinned():
    """It is what it was before rules had domains: another one has every store judged again."""
    policy = build_policy(nudenet_flags=False, anomaly_flags=["trailing_data", "lying_extension"])
    assert policy.rules_version == "1-ab9c8cfb252d"


@pytest.mark.parametrize("name", ["", "Csam", "a,b", 'a"b', "ä", "a" * 33, "a\n"])
def test_what_is_no_name_of_a_domain_is_refused(name):
    """Names are written into the database and on the wire."""
    with pytest.raises(ValueError, match="domains"):
        Policy({("a", "x"): Rule(FLAG, name)})
    with pytest.raises(ValueError, match="domains"):
        Policy({}, frozenset({name}))
    with pytest.raises(ValueError, match="domains"):
        Verdict(outcome=Outcome.CLEAR, nsfw=None, findings=(), rules_version="", outcomes={name: Outcome.CLEAR})


def test_a_verdict_cannot_contradict_its_domains():
    """Nor be changed."""
    clear = {"csam": Outcome.CLEAR}
    with pytest.raises(ValueError, match="no domain"):
        Verdict(outcome=Outcome.FLAGGED, nsfw=None, findings=(), rules_version="", outcomes=clear)
    verdict = Verdict(outcome=Outcome.CLEAR, nsfw=None, findings=(), rules_version="", outcomes=clear)
    clear["violence"] = Outcome.FLAGGED
    assert verdict.outcomes == {"csam": Outcome.CLEAR}
    with pytest.raises(TypeError):
        verdict.outcomes["csam"] = Outcome.FLAGGED
