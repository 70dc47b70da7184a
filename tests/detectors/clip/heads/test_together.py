"""Several heads over the same features: the screen clears a picture only if none of them could flag it."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clip.checkpoints import random_clip, register_tiny, save_safetensors
from support.clip.detectors import features_of
from support.clip.pictures import sample_of, sample_pictures
from support.clip.planted_words import planted_words
from support.examples import examples

from lemmy_safety.detectors.clip.detector import ClipDetector
from lemmy_safety.detectors.clip.heads.base import Head, Proof, ProofUnavailable, Proven
from lemmy_safety.detectors.clip.heads.horde.head import HordeHead
from lemmy_safety.detectors.clip.heads.horde.proof.learning import planted_similarities
from lemmy_safety.detectors.clip.heads.together import Heads
from lemmy_safety.detectors.clip.model import ClipModel
from lemmy_safety.errors import DetectorError
from lemmy_safety.policy import build_policy

PLANTED = "planted"

#: What fp32 may differ by between two ways to the same similarity.
ROUNDING = 1e-5


class ProbeHead(Head):
    """A linear probe: it flags a picture whose features point far enough into one direction, which means nothing."""

    name = "probe"
    domain = "toy"
    labels = (PLANTED,)
    version = "probe-1"

    def __init__(self, direction, limit):
        self.direction = direction
        self.limit = limit

    def open(self, texts, device):
        pass

    @property
    def directions(self):
        return self.direction[np.newaxis].float()

    @property
    def digest(self):
        return hashlib.sha256(self.direction.numpy().tobytes()).hexdigest()

    def judge(self, features, image=None):  # noqa: ARG002 - the contract's signature
        similarity = float(features.flatten().double() @ self.direction.double())
        return {self.labels[0]: {"similarity": similarity}} if similarity > self.limit else {}

    def learn_proof(self):
        return ProbeProof(self.limit)


class ProbeProof(Proof):
    def __init__(self, limit):
        self._limit = limit

    def between(self, low, high):  # noqa: ARG002 - the contract's signature
        return Proven(high[:, 0] + ROUNDING <= self._limit, {}, {})


class UnprovenHead(ProbeHead):
    """The same probe by another name, of which no one has proven anything."""

    name = "unproven"
    labels = ("unproven",)
    learn_proof = Head.learn_proof


class PlantedHeads:
    """Horde and a probe in a space that has an axis for each word and one more: similarities can be whatever a test wants.

    A picture's similarity to a word is its place on that word's axis; the probe's direction is half in the words' axes and
    half in the last one.
    """

    limit = 0.3

    def __init__(self):
        self.horde = HordeHead()
        # Learning which words there are needs no features yet.
        self.horde.open(lambda lists: {words: torch.zeros(len(words), 1) for words in lists}, "cpu")
        words = self.horde.rules.words()
        self.count = len(words)
        axes = dict(zip(words, torch.eye(self.count, self.count + 1), strict=True))
        self.horde.rules.use_text_features(
            {words: torch.stack([axes[word] for word in words]) for words in self.horde.rules.word_lists}
        )
        mixed = np.random.default_rng(5).normal(size=self.count)
        self.direction = np.append(mixed / np.linalg.norm(mixed), 1.0) * np.sqrt(0.5)
        self.probe = ProbeHead(torch.from_numpy(self.direction), self.limit)
        self.heads = Heads([self.horde, self.probe])
        self.horde_proof = self.horde.learn_proof()
        self.proof = self.heads.learn_proof()
        self._directions = self.heads.directions.double().numpy().T

    def features(self, similarities, probed):
        """Features (N, D) with these similarities to the words (N, W) and to the probe's direction (N,)."""
        last = (probed - similarities @ self.direction[:-1]) / self.direction[-1]
        return np.column_stack([similarities, last])

    def similarities(self, features):
        return features @ self._directions

    def pictures(self, count, offsets, draw):
        """Pictures around the limits of horde's rules, whose similarity to the probe is off its limit by ``offsets``."""
        words = np.stack(list(planted_similarities(self.horde_proof, count, draw)))
        return self.features(words, self.limit + offsets).astype(np.float32).astype(np.float64)

    def shown(self, features, error, draw):
        """The same pictures by an encoder whose similarities are off by ``error``: too low, or each at random."""
        signs = np.where(draw.random((len(features), 1)) < 0.5, -1.0, draw.choice([-1.0, 1.0], (len(features), 1)))
        each = signs * np.where(signs < 0, 1.0, draw.choice([-1.0, 1.0], features.shape)) * error
        return features + self.features(each[:, :-1], each[:, -1])

    def flagged(self, features):
        """Whether any head flags each picture, by what the heads say of it themselves."""
        rows = torch.from_numpy(features).float()
        return np.array([bool(self.heads.judge(row).keys() - self.heads.mild) for row in rows])


@pytest.fixture(scope="module")
def planted():
    return PlantedHeads()


@settings(max_examples=examples(100))
@given(
    seed=st.integers(0, 2**32 - 1),
    error=st.sampled_from([0.0, 0.0005, 0.004, 0.02]),
    offsets=st.lists(st.floats(-0.05, 0.02), min_size=6, max_size=6),
)
def test_no_picture_is_cleared_that_any_head_would_flag(planted, seed, error, offsets):
    """Whatever the pictures and the errors within the bound, what is proven of all heads together is true of each."""
    draw = np.random.default_rng(seed)
    pictures = planted.pictures(len(offsets), np.array(offsets), draw)
    shown = planted.similarities(planted.shown(pictures, error, draw))
    assert (np.abs(shown - planted.similarities(pictures)) <= error + 1e-9).all()

    proven = planted.proof.about(shown, error + 1e-9)

    assert not (proven.cannot_flag & planted.flagged(pictures)).any()


@pytest.mark.parametrize(("told", "is_right"), [(1.0, True), (0.5, False)])
def test_a_bound_that_is_too_small_lets_flagged_pictures_through(planted, told, is_right):
    """The property above can fail: with half the true bound, pictures are cleared that one of the heads flags."""
    draw = np.random.default_rng(1)
    pictures = planted.pictures(400, draw.uniform(-0.05, 0.02, 400), draw)
    shown = planted.similarities(planted.shown(pictures, 0.02, draw))

    proven = planted.proof.about(shown, told * 0.02 + 1e-9)

    wrong = (proven.cannot_flag & planted.flagged(pictures)).sum()
    assert bool(wrong == 0) is is_right
    assert proven.cannot_flag.sum() > 20


def test_each_head_alone_keeps_a_picture_open(planted):
    """A picture is clear where both are far from their limits, and open where either is within the bound of its own."""
    quiet = np.zeros(planted.count)
    young = quiet.copy()
    alone = planted.horde_proof.limits[0]
    young[alone.places[0]] = alone.values[0] - 0.001
    pictures = planted.features(
        np.stack([quiet, quiet, young, young]), planted.limit - np.array([0.1, 0.001, 0.1, 0.001])
    )

    proven = planted.proof.about(planted.similarities(pictures), 0.002)

    assert proven.cannot_flag.tolist() == [True, False, False, False]
    assert not planted.flagged(pictures).any()


def test_mild_labels_stay_those_of_the_head_that_has_them(planted):
    """What the screen may say by itself comes through unchanged beside a second head."""
    draw = np.random.default_rng(2)
    shown = planted.similarities(planted.pictures(200, np.full(200, -0.2), draw))

    together, alone = planted.proof.about(shown, 0.002), planted.horde_proof.about(shown[:, :-1], 0.002)

    assert together.possible.keys() == together.certain.keys() == planted.heads.mild == {"nsfw"}
    assert (together.possible["nsfw"] == alone.possible["nsfw"]).all()
    assert (together.certain["nsfw"] == alone.certain["nsfw"]).all()
    assert 0 < alone.certain["nsfw"].sum() < alone.possible["nsfw"].sum() < 200


def test_one_head_without_a_proof_means_no_proof(planted):
    """What one head might say is not known, so nothing is proven of all of them."""
    unproven = UnprovenHead(planted.probe.direction, 0.3)

    with pytest.raises(ProofUnavailable, match="unproven"):
        Heads([planted.horde, planted.probe, unproven]).learn_proof()


def test_heads_are_told_apart_by_their_labels(planted):
    """A label that two heads say would hide one of them; without a head nothing could be said at all."""
    for heads in ([planted.probe, ProbeHead(planted.probe.direction, 0.1)], []):
        with pytest.raises(ValueError, match="labels of their own"):
            Heads(heads)


def test_a_head_that_says_what_it_has_not_declared_is_refused(planted):
    """A label that no one looks for would be a finding that is lost."""
    talkative = ProbeHead(planted.probe.direction, -2.0)
    talkative.judge = lambda *_: {"another": {}}

    with pytest.raises(DetectorError, match=r"'probe'.*another"):
        Heads([planted.horde, talkative]).judge(torch.zeros(planted.count + 1))


def test_directions_that_are_no_unit_vectors_are_refused(planted):
    """One bound on errors holds for directions of the same length."""
    with pytest.raises(ValueError, match="unit vectors"):
        _ = Heads([planted.horde, ProbeHead(2 * planted.probe.direction, 0.3)]).directions


def test_the_policy_judges_a_heads_labels_in_its_domain():
    """Each label of the head that is built has a rule, of the domain that the head names."""
    rules = build_policy(nudenet_flags=False).rules

    assert {rules[ClipDetector.name, label].domain for label in HordeHead.labels} == {HordeHead.domain}


PICTURES = list(sample_pictures(60, seed=8))


@pytest.fixture(scope="module")
def with_two_heads(tmp_path_factory):
    """Makes a detector of a tiny model with horde and another head, screened or not: words are planted so that few
    pictures resemble what horde looks for, and the probe's direction and limit so that it flags one in ten."""
    folder = tmp_path_factory.mktemp("heads")
    name = register_tiny(folder, "tiny-heads")
    weights = save_safetensors(random_clip(name, seed=1), folder / "weights.safetensors")
    model = ClipModel(name=name, weights=weights, device="cpu", cache_dir=folder / "cache")
    with ClipDetector(model, [HordeHead()], screen="off") as plain:
        features = features_of(plain, PICTURES)
    _, _, axes = torch.linalg.svd(features - features.mean(dim=0), full_matrices=False)
    limit = float((features @ axes[0]).quantile(0.9))

    class PlantedHorde(HordeHead):
        def open(self, texts, device):
            super().open(texts, device)
            self.rules.use_text_features(planted_words(self.rules, features, confirmed=0.1, nude=0.2))

    def build(kind=ProbeHead, **settings):
        return ClipDetector(model, [PlantedHorde(), kind(axes[0], limit)], **settings)

    return build


def told(findings):
    return [(finding.label, finding.hit, finding.frame) for finding in findings if finding.label != "nsfw"]


def test_with_a_screen_both_heads_say_what_they_say_without_one(with_two_heads):
    """Findings of both heads come from one pass, the first head's first; few pictures need the reference."""
    batch = [sample_of(picture) for picture in PICTURES]
    with with_two_heads(screen="off") as exact, with_two_heads(screen="torch-bf16") as fast:
        # What is cleared is the proof's word alone.
        fast._screening._watch = lambda _: False
        expected, found = exact.detect(batch), fast.detect(batch)
        counts = fast.report().screen

    assert [told(findings) for findings in found] == [told(findings) for findings in expected]
    assert fast.version.endswith("new-rules probe-1")
    said = [tuple(label for label, _, _ in told(findings)) for findings in expected]
    assert sum(PLANTED in labels for labels in said) == 6
    assert (PLANTED,) in said
    assert any("underage_subject" in labels and PLANTED not in labels for labels in said)
    assert 10 < counts.cleared < 60


def test_a_head_without_a_proof_means_that_the_screen_clears_nothing(with_two_heads, caplog):
    """Then every picture is judged by the reference, which is said; findings are those of both heads."""
    with with_two_heads(UnprovenHead, screen="torch-bf16") as opened:
        found = opened.detect([sample_of(picture) for picture in PICTURES])
        assert opened.report().screen is None

    assert sum(finding.label == "unproven" for findings in found for finding in findings) == 6
    assert "the head 'unproven' has none" in caplog.text
