"""The screen never clears what horde_safety flags, on similarities that are off by as much as it was told."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from horde_safety import csam_checker
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clip.horde_vectors import TableDanbooru
from support.clip.screened_vectors import compare_screened
from support.examples import examples

from lemmy_safety.detectors.clip.heads.base import ProofUnavailable
from lemmy_safety.detectors.clip.heads.horde.proof.learning import learn_proof, planted_similarities, verify
from lemmy_safety.detectors.clip.heads.horde.proof.new_rules import NewRulesProof
from lemmy_safety.detectors.clip.heads.horde.rules import HordeRules

# horde_safety deprecates its older rules at every call; the settings decide which ones are used.
pytestmark = pytest.mark.filterwarnings("ignore:check_for_csam is deprecated:DeprecationWarning")


@pytest.fixture(scope="module", params=[True, False], ids=["new", "older"])
def proof(request):
    return learn_proof(HordeRules(use_new_safety=request.param))


@pytest.mark.parametrize("use_new_safety", [True, False], ids=["new", "older"])
def test_screened_verdicts_equal_the_packages_on_vectors_around_its_limits(use_new_safety):
    """10,000 planted vectors with the worst errors that the bound allows: no outcome and no sure nsfw differs."""
    tally = compare_screened(10_000, use_new_safety=use_new_safety, seed=3)

    assert tally.disagreements == 0
    assert tally.vectors == 10_000
    assert tally.cleared > 2_000
    assert tally.sure > 5_000


@pytest.mark.parametrize("use_new_safety", [True, False], ids=["new", "older"])
def test_a_bound_that_is_too_small_is_noticed_by_this_comparison(use_new_safety):
    """With errors a little larger than the screen was told, verdicts do differ: the comparison above can fail."""
    tally = compare_screened(2_000, use_new_safety=use_new_safety, seed=3, told=0.8)

    assert tally.wrong_outcomes > 0
    assert tally.wrong_nsfw > 0


def test_deepdanbooru_can_change_no_outcome_that_the_screen_has_proven():
    """Whatever DeepDanbooru says of a drawing, a cleared picture stays clear and what is sure of nsfw stays so."""
    tally = compare_screened(2_000, use_new_safety=True, seed=4, danbooru=TableDanbooru())

    assert tally.disagreements == 0
    assert tally.cleared > 300


def test_older_rules_with_deepdanbooru_are_not_screened():
    """There DeepDanbooru can make a hit by itself, which no similarity foretells."""
    with pytest.raises(ProofUnavailable, match="DeepDanbooru"):
        learn_proof(HordeRules(use_new_safety=False, danbooru_model=TableDanbooru()))


def test_the_limits_found_by_asking_are_the_packages_own():
    """The similarity from which a word counts alone is, to the last rounded digit, the one in the package's table."""
    rules = HordeRules(use_new_safety=True)
    found = NewRulesProof.learn(rules)
    expected = rules.checker._combined_underage_danger_concepts

    alone = found.limits[0]
    limits = {found.words[place]: value for place, value in zip(alone.places, alone.values, strict=True)}

    assert limits.keys() == expected.keys()
    # The lowest rounded similarity over the limit, less a thousandth of a step.
    assert all(0 < limits[word] - expected[word] + 1e-7 < 1.01e-4 for word in expected)


@settings(max_examples=examples(60))
@given(seed=st.integers(0, 2**32 - 1), small=st.floats(0, 0.05), more=st.floats(0, 0.05))
def test_a_larger_bound_never_proves_more(proof, seed, small, more):
    """What is clear or sure with a bound is so with any smaller one."""
    similarities = np.stack(list(planted_similarities(proof, 20, np.random.default_rng(seed))))

    narrow, wide = proof.about(similarities, small), proof.about(similarities, small + more)

    assert not (wide.cannot_flag & ~narrow.cannot_flag).any()
    assert not (wide.certain["nsfw"] & ~narrow.certain["nsfw"]).any()
    assert not (narrow.possible["nsfw"] & ~wide.possible["nsfw"]).any()


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_similarity_that_is_not_a_number_is_never_cleared(proof, broken):
    """NaN is below every limit to a comparison; the proof leaves such a picture to the reference."""
    similarities = np.zeros((2, len(proof.words)))
    similarities[1, 3] = broken

    proven = proof.about(similarities, 0.001)

    assert proven.cannot_flag.tolist() == [True, False]
    assert proven.possible["nsfw"].tolist() == [False, True]
    assert proven.certain["nsfw"].tolist() == [False, False]


@pytest.mark.parametrize("bound", [np.nan, np.inf, -0.001])
def test_a_bound_that_bounds_nothing_is_refused(proof, bound):
    """An error bound is a number from zero up."""
    with pytest.raises(ValueError, match="bounds nothing"):
        proof.about(np.zeros((1, len(proof.words))), bound)


class ChangedRules:
    """The rules as another version of the package could make them: ``change`` says what they add to an answer."""

    def __init__(self, rules, change):
        self._rules = rules
        self._change = change

    def __getattr__(self, name):
        return getattr(self._rules, name)

    def judge_similarities(self, similarity_of):
        result = self._rules.judge_similarities(similarity_of)
        label = self._change(similarity_of, result)
        if label is None:
            return result
        answer = result.reference
        reference = answer.model_copy(update={"is_underage_subject": True}) if hasattr(answer, "is_anime") else answer
        return dataclasses.replace(result, hits={**result.hits, label: {}}, reference=reference)


def many_words_at_once(similarity_of, result):
    return (
        "underage_subject" if sum(value > 0.15 for value in similarity_of.values()) > len(similarity_of) / 4 else None
    )


def a_word_that_never_mattered(similarity_of, result):
    return "csam" if list(similarity_of.values())[-1] > 0.25 else None


def nudity_without_a_subject(similarity_of, result):
    return "nsfw" if max(similarity_of.values()) > 0.21 else None


@pytest.mark.parametrize(
    ("change", "use_new_safety"),
    [
        (many_words_at_once, True),
        (many_words_at_once, False),
        (a_word_that_never_mattered, False),
        (nudity_without_a_subject, True),
        (nudity_without_a_subject, False),
    ],
)
def test_rules_that_work_in_another_way_are_not_screened(change, use_new_safety):
    """A version of horde_safety with another kind of rule is noticed before anything is screened with it."""
    with pytest.raises(ProofUnavailable):
        learn_proof(ChangedRules(HordeRules(use_new_safety=use_new_safety), change))


def test_a_word_that_comes_to_matter_is_learned():
    """The present rules are asked about every word, so that another word that counts alone is simply known."""
    proof = learn_proof(ChangedRules(HordeRules(use_new_safety=True), a_word_that_never_mattered))
    similarities = np.zeros((2, len(proof.words)))
    similarities[:, -1] = [0.2497, 0.2503]

    assert proof.about(similarities, 0.0).cannot_flag.tolist() == [True, False]
    assert proof.about(similarities, 0.001).cannot_flag.tolist() == [False, False]


def test_rules_without_the_known_tables_are_not_screened(monkeypatch):
    """A table that is gone, or of another shape, is no traceback."""
    rules = HordeRules(use_new_safety=True)
    rules.checker = SimpleNamespace(all_predicates={})
    with pytest.raises(ProofUnavailable, match="anime_cartoon_predicates"):
        learn_proof(rules)
    older = HordeRules(use_new_safety=False)
    for name, value in (("UNDERAGE_CRITICAL", None), ("CONTROL_WORD_ADJUSTMENTS", [{"control": "word"}])):
        with monkeypatch.context() as patch:
            patch.setattr(csam_checker, name, value)
            with pytest.raises(ProofUnavailable):
                learn_proof(older)


def test_limits_that_moved_after_they_were_learned_are_noticed(monkeypatch):
    """A proof with too high limits for the older rules does not pass the check against the rules themselves."""
    older = HordeRules(use_new_safety=False)
    stale = learn_proof(older)
    monkeypatch.setattr(
        csam_checker, "LEWD_CONTEXT", {word: limit - 0.02 for word, limit in csam_checker.LEWD_CONTEXT.items()}
    )

    with pytest.raises(ProofUnavailable, match="contradicts"):
        verify(stale, older)


def test_rules_that_never_find_anyone_are_not_screened():
    """A proof whose limits mean nothing to the rules has proven nothing."""
    rules = HordeRules(use_new_safety=False)
    silent = SimpleNamespace(judge_similarities=lambda _: SimpleNamespace(hits={}))

    with pytest.raises(ProofUnavailable):
        verify(learn_proof(rules), silent)
