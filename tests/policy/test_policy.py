"""The policy is pure: order, information and strangers change nothing, and more hits never make it milder."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.policy import Effect, Policy, Rule, build_policy
from lemmy_safety.records import Finding, Outcome

NUDITY = [
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
    "ANUS_EXPOSED",
    "BUTTOCKS_EXPOSED",
]
KNOWN = [
    *(("hashes", label) for label in ("canary", "sha256-list", "pdq-list")),
    *(("clip", label) for label in ("csam", "underage_subject", "nsfw")),
    *(("nudenet", label) for label in (*NUDITY, "FACE_FEMALE", "MALE_BREAST_EXPOSED", "FEET_EXPOSED")),
]
STRANGE = [("clip", "canary"), ("hashes", "csam"), ("stranger", "csam"), ("nudenet", "nsfw"), ("clip", "")]
SEVERITY = [Outcome.CLEAR, Outcome.BORDERLINE, Outcome.FLAGGED]
POLICIES = [build_policy(nudenet_flags=False), build_policy(nudenet_flags=True)]


def finding(detector, label, *, score=1.0, threshold=1.0, frame=0):
    return Finding(detector=detector, version="1", label=label, score=score, threshold=threshold, frame=frame)


def hits(labels=tuple(KNOWN + STRANGE)):
    return st.builds(
        lambda pair, score, frame: finding(*pair, score=score, threshold=0.5, frame=frame),
        st.sampled_from(labels),
        st.floats(0.5, 1.0),
        st.integers(0, 3),
    )


def non_hits():
    below = st.builds(
        lambda pair, score: finding(*pair, score=score, threshold=0.5),
        st.sampled_from(KNOWN + STRANGE),
        st.floats(0.0, 0.5, exclude_max=True),
    )
    information = st.builds(
        lambda pair, score: finding(*pair, score=score, threshold=None),
        st.sampled_from(KNOWN + STRANGE),
        st.floats(0.0, 1.0),
    )
    return below | information


findings = st.lists(hits() | non_hits(), max_size=12)
policies = st.sampled_from(POLICIES)
detectors = st.frozensets(st.sampled_from(["hashes", "clip", "nudenet", "stranger"]))


@pytest.mark.parametrize(
    ("pair", "outcome", "nsfw"),
    [
        (("hashes", "canary"), Outcome.FLAGGED, False),
        (("hashes", "sha256-list"), Outcome.FLAGGED, False),
        (("hashes", "pdq-list"), Outcome.FLAGGED, False),
        (("clip", "csam"), Outcome.FLAGGED, False),
        (("clip", "underage_subject"), Outcome.BORDERLINE, False),
        (("clip", "nsfw"), Outcome.CLEAR, True),
        *((("nudenet", label), Outcome.CLEAR, True) for label in NUDITY),
        (("nudenet", "FACE_FEMALE"), Outcome.CLEAR, False),
        (("nudenet", "MALE_BREAST_EXPOSED"), Outcome.CLEAR, False),
    ],
)
def test_each_label_has_its_effect(pair, outcome, nsfw):
    """One hit alone brings exactly what the table says."""
    verdict = build_policy(nudenet_flags=False).judge([finding(*pair)], ran=frozenset({"hashes", "clip", "nudenet"}))
    assert (verdict.outcome, verdict.nsfw) == (outcome, nsfw)


@pytest.mark.parametrize("label", NUDITY)
def test_nudenet_flags_when_told(label):
    """With the setting, exposed nudity flags and is still nsfw; other classes never flag."""
    policy = build_policy(nudenet_flags=True)
    verdict = policy.judge([finding("nudenet", label)], ran=frozenset({"nudenet"}))
    assert (verdict.outcome, verdict.nsfw) == (Outcome.FLAGGED, True)
    assert policy.judge([finding("nudenet", "BELLY_EXPOSED")], ran=frozenset({"nudenet"})).outcome is Outcome.CLEAR


@pytest.mark.parametrize(
    ("ran", "nsfw"),
    [
        (set(), None),
        ({"hashes"}, None),
        ({"stranger"}, None),
        ({"clip"}, False),
        ({"nudenet"}, False),
        ({"hashes", "clip"}, False),
    ],
)
def test_nsfw_is_unknown_until_somebody_could_tell(ran, nsfw):
    """No finding means "not nsfw" only when a detector that can tell has run."""
    assert build_policy(nudenet_flags=False).judge([], ran=frozenset(ran)).nsfw is nsfw


@given(findings, st.randoms(use_true_random=False), policies, detectors)
def test_the_order_of_findings_never_matters(found, chance, policy, ran):
    """Any order gives the very same verdict, findings included."""
    shuffled = list(found)
    chance.shuffle(shuffled)
    assert policy.judge(shuffled, ran=ran) == policy.judge(found, ran=ran)


@given(findings, non_hits(), policies, detectors)
def test_information_never_changes_a_verdict(found, extra, policy, ran):
    """A finding below its threshold, or without one, changes neither outcome nor nsfw."""
    before, after = policy.judge(found, ran=ran), policy.judge([*found, extra], ran=ran)
    assert (after.outcome, after.nsfw) == (before.outcome, before.nsfw)


@given(findings, hits(), policies, detectors)
def test_a_further_hit_never_makes_a_verdict_milder(found, extra, policy, ran):
    """Outcome and nsfw only ever rise."""
    before, after = policy.judge(found, ran=ran), policy.judge([*found, extra], ran=ran)
    assert SEVERITY.index(after.outcome) >= SEVERITY.index(before.outcome)
    assert after.nsfw or not before.nsfw


@given(st.lists(hits(tuple(STRANGE)), max_size=12), policies, detectors)
def test_strangers_never_flag(found, policy, ran):
    """Labels and detectors without a rule are recorded and do nothing else."""
    verdict = policy.judge(found, ran=ran)
    assert (verdict.outcome, bool(verdict.nsfw)) == (Outcome.CLEAR, False)
    assert len(verdict.findings) == len(found)


@given(st.lists(hits(tuple(pair for pair in KNOWN if pair[0] == "nudenet")), max_size=12))
def test_nudenet_is_advisory_unless_told(found):
    """Without the setting, no finding of nudenet changes the outcome."""
    verdict = build_policy(nudenet_flags=False).judge(found, ran=frozenset({"nudenet"}))
    assert verdict.outcome is Outcome.CLEAR


@given(findings, policies, detectors)
def test_all_findings_are_kept(found, policy, ran):
    """The verdict holds every finding, and the version of the rules it was made by."""
    verdict = policy.judge(found, ran=ran)
    assert sorted(map(repr, verdict.findings)) == sorted(map(repr, found))
    assert verdict.rules_version == policy.rules_version


def test_the_worst_frame_decides():
    """One flagged frame among clear ones flags the object."""
    found = [finding("clip", "csam", score=0.0), finding("clip", "csam", frame=7), finding("clip", "underage_subject")]
    assert build_policy(nudenet_flags=False).judge(found, ran=frozenset({"clip"})).outcome is Outcome.FLAGGED


def test_the_rules_version_follows_the_rules():
    """Equal tables have equal versions in whatever order they are written; another effect is another version."""
    flag, record = Rule(frozenset({Effect.FLAG})), Rule(frozenset({Effect.RECORD}))
    forth, back = {("a", "x"): flag, ("b", "y"): record}, {("b", "y"): record, ("a", "x"): flag}
    assert Policy(forth).rules_version == Policy(back).rules_version
    assert Policy(forth).rules_version != Policy({**forth, ("a", "x"): record}).rules_version
    assert build_policy(nudenet_flags=True).rules_version != build_policy(nudenet_flags=False).rules_version


def test_the_rules_version_is_pinned():
    """A change of the product's rules is seen here, so that it is never made by accident: it makes --recheck work."""
    assert build_policy(nudenet_flags=False).rules_version == "1-dda15d57a0de"
    assert build_policy(nudenet_flags=True).rules_version == "1-0202ebb6f755"


def test_rules_cannot_be_changed_behind_their_version():
    """The table is a frozen copy."""
    flag = Rule(frozenset({Effect.FLAG}))
    rules = {("a", "x"): flag}
    policy = Policy(rules)
    rules[("b", "y")] = flag
    assert ("b", "y") not in policy.rules
    with pytest.raises(TypeError):
        policy.rules["b", "y"] = flag
    with pytest.raises(FrozenInstanceError):
        policy.rules_version = "other"


def test_details_of_findings_are_part_of_their_order():
    """Findings that differ in details alone have one order, too."""
    one = finding("clip", "csam")
    other = replace(one, details={"similarity": {"b": 1.0, "a": 2.0}})
    policy = build_policy(nudenet_flags=False)
    assert policy.judge([one, other], ran=frozenset()) == policy.judge([other, one], ran=frozenset())
