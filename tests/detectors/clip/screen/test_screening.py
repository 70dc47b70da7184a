"""Screen, then confirm: whatever a fast encoder does, what is said of a picture is what the reference says."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.clip.checkpoints import random_clip, register_tiny, save_safetensors
from support.clip.horde_vectors import TableDanbooru
from support.clip.pictures import sample_pictures
from support.clip.planted_words import planted_words

from lemmy_safety.detectors.clip.encoders.base import PictureEncoder
from lemmy_safety.detectors.clip.encoders.half import HalfEncoder
from lemmy_safety.detectors.clip.encoders.reference import load_image_encoder
from lemmy_safety.detectors.clip.heads.base import Proof, Proven
from lemmy_safety.detectors.clip.heads.horde.head import HordeHead
from lemmy_safety.detectors.clip.heads.horde.rules import HordeRules
from lemmy_safety.detectors.clip.heads.together import Heads
from lemmy_safety.detectors.clip.screen.error_bound import SAFETY, ErrorBound, measure
from lemmy_safety.detectors.clip.screen.screening import Screening
from lemmy_safety.detectors.clip.screen.stage import Stage

PICTURES = list(sample_pictures(160, seed=41))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny model, its half-precision copy, and words planted so that pictures lie on both sides of every limit."""
    folder = tmp_path_factory.mktemp("screening")
    model = register_tiny(folder, "tiny-screening")
    weights = save_safetensors(random_clip(model, seed=1), folder / "weights.safetensors")
    reference = load_image_encoder(model, weights, device="cpu")
    features = reference.encode_images(PICTURES)
    rules = HordeRules(use_new_safety=True)
    rules.use_text_features(planted_words(rules, features, confirmed=0.2, nude=0.4))
    heads = horde(rules)
    fast = HalfEncoder(reference.visual, reference.preparation, precision="bf16", device="cpu")
    yield SimpleNamespace(
        reference=reference,
        rules=rules,
        heads=heads,
        fast=fast,
        bound=measure(fast, reference, heads.directions),
        proof=heads.learn_proof(),
        exact=[rules.judge(row).hits for row in features],
        features=features,
    )
    reference.close()


def horde(rules):
    """The head of horde_safety with rules whose words are planted."""
    head = HordeHead()
    head._rules = rules
    return Heads([head])


def never(checked):
    return False


def always(checked):
    return True


def screening(world, *stages, watch=never, **changes):
    parts = {"heads": world.heads, "proof": world.proof, "reference": world.reference, **changes}
    return Screening(stages=stages, watch=watch, **parts)


def stage(world, encoder=None, **changes):
    return Stage(encoder or world.fast, dataclasses.replace(world.bound, **changes))


class AlteredEncoder(PictureEncoder):
    """A fast encoder that is wrong in the way that ``alter`` says; it notes how many pictures it saw."""

    def __init__(self, encoder, alter):
        super().__init__(encoder.preparation, library="altered", precision="bf16", device="cpu", batch_size=8)
        self._encoder = encoder
        self._alter = alter
        self.seen = 0

    def features(self, squares):
        self.seen += len(squares)
        return self._alter(self._encoder.features(squares))


def worse(world, by):
    """The fast encoder with every similarity to a young subject lowered: the kind of error that hides what matters."""
    young = list(world.rules.checker.underage_danger_concepts)[:1]
    direction = world.heads.directions[world.rules.words().index(young[0])]
    return AlteredEncoder(world.fast, lambda features: features - by * direction)


GRAVE = ("csam", "underage_subject")


def wrong(answers, exact):
    """Answers whose outcome differs from the reference's, or whose nsfw does where they are sure of it."""
    return [
        place
        for place, (answer, hits) in enumerate(zip(answers, exact, strict=True))
        if any((label in answer.hits) != (label in hits) for label in GRAVE)
        or ("nsfw" not in answer.unsure and ("nsfw" in answer.hits) != ("nsfw" in hits))
    ]


def test_answers_are_the_references_and_most_pictures_need_no_reference(world):
    """Over pictures of every kind no outcome differs, and the reference is asked about a part of them only."""
    subject = screening(world, stage(world))

    answers = [answer for start in range(0, 160, 32) for answer in subject.judge(PICTURES[start : start + 32])]

    assert wrong(answers, world.exact) == []
    counts = subject.statistics()
    assert counts.screened == counts.cleared + counts.confirmed == 160
    assert counts.cleared == counts.stages[0].cleared > 80
    assert counts.confirmed > 20
    assert {label for hits in world.exact for label in hits} == {"csam", "underage_subject", "nsfw"}
    assert any(answer.from_screen and answer.hits for answer in answers)
    assert any(answer.unsure for answer in answers)


def test_an_encoder_that_is_worse_than_its_bound_would_get_wrong_answers_out(world):
    """Without a watch, an error beyond the bound does change verdicts: the tests of the watch below can fail."""
    answers = screening(world, stage(world, worse(world, 0.05))).judge(PICTURES)

    assert wrong(answers, world.exact) != []


def test_the_watch_widens_the_bound_before_anything_of_the_batch_is_said(world):
    """One watched picture of a batch suffices: the whole batch is judged again with the wider bound."""
    looked_at = iter([True])
    subject_stage = stage(world, worse(world, 0.05))
    before = subject_stage.bound.value
    subject = screening(world, subject_stage, watch=lambda _: next(looked_at, False))

    answers = subject.judge(PICTURES)

    assert wrong(answers, world.exact) == []
    (counts,) = subject.statistics().stages
    assert counts.widenings >= 1
    assert counts.exceeded >= 1
    assert counts.error_bound >= SAFETY * 0.04 > before
    assert counts.error_bound == SAFETY * counts.largest_error


def test_confirmed_pictures_are_watched_for_nothing(world):
    """What is encoded by both anyway tells of the error as well, without a watch."""
    lower = worse(world, 0.05)
    higher = worse(world, -0.05)

    def both_ways(features):
        changed = [(lower if row % 2 else higher)._alter(feature) for row, feature in enumerate(features)]
        return torch.stack(changed)

    subject = screening(world, stage(world, AlteredEncoder(world.fast, both_ways)))

    answers = subject.judge(PICTURES)

    assert wrong(answers, world.exact) == []
    assert subject.statistics().watched == 0
    assert subject.statistics().stages[0].widenings >= 1


def test_a_wider_bound_is_kept(world):
    """A bound that grew is handed out to be written down at once, and again at the end with what was checked."""
    kept = []
    subject_stage = Stage(
        worse(world, 0.05), dataclasses.replace(world.bound), keep=lambda bound: kept.append(dataclasses.replace(bound))
    )
    subject = screening(world, subject_stage, watch=always)
    subject.judge(PICTURES[:16])
    grown = len(kept)
    subject.close()

    assert grown >= 1
    assert kept[-1].largest == kept[grown - 1].largest >= 0.04
    assert kept[-1].checked > 0


def test_numbers_that_are_none_are_left_to_the_reference(world):
    """Features of NaN or infinity clear nothing and widen nothing."""

    def spoil(features):
        features = features.clone()
        features[::2] = float("nan")
        features[1::4] = float("inf")
        return features

    subject = screening(world, stage(world, AlteredEncoder(world.fast, spoil)), watch=always)

    answers = subject.judge(PICTURES[:64])

    assert wrong(answers, world.exact[:64]) == []
    assert subject.statistics().confirmed >= 48
    assert subject.statistics().stages[0].widenings == 0


def test_an_encoder_that_fails_is_left_out_and_nothing_is_lost(world, caplog):
    """A driver error in the fast encoder costs speed; the batch is judged by the reference."""

    def fail(features):
        raise RuntimeError("device lost")

    encoder = AlteredEncoder(world.fast, fail)
    subject = screening(world, stage(world, encoder))

    first, second = subject.judge(PICTURES[:16]), subject.judge(PICTURES[16:32])

    assert wrong([*first, *second], world.exact[:32]) == []
    assert encoder.seen == 8
    assert not subject.statistics().stages[0].in_use
    assert subject.statistics().confirmed == 32
    assert "device lost" in caplog.text


class LyingProof(Proof):
    """Calls every picture clear, as a proof would that misunderstood the rules; it may see nudity everywhere."""

    def __init__(self, *, nudity):
        self._nudity = nudity

    def between(self, low, high):  # noqa: ARG002 - the contract's signature
        yes = np.ones(len(low), dtype=bool)
        return Proven(yes, {"nsfw": yes if self._nudity else ~yes}, {"nsfw": ~yes})


@pytest.mark.parametrize("nudity", [True, False])
def test_a_proof_that_its_head_contradicts_is_given_up(world, nudity, caplog):
    """When the rules say of a cleared picture what was proven impossible, the proof is wrong: all goes to the
    reference, that batch included."""
    subject = screening(world, stage(world), watch=always, proof=LyingProof(nudity=nudity))

    answers = subject.judge(PICTURES)

    assert wrong(answers, world.exact) == []
    assert all(not answer.from_screen for answer in answers)
    assert not subject.statistics().stages[0].in_use
    assert subject.statistics().cleared == 0
    assert "contradicts" in caplog.text


def test_a_second_encoder_is_asked_only_about_what_the_first_left_open(world):
    """Fast and coarse first, finer second, the reference last; each sees fewer pictures."""
    coarse = AlteredEncoder(world.fast, lambda features: features)
    fine = AlteredEncoder(world.fast, lambda features: features)
    first, second = stage(world, coarse, largest=0.009), stage(world, fine)
    subject = screening(world, first, second)

    answers = subject.judge(PICTURES)

    assert wrong(answers, world.exact) == []
    counts = subject.statistics()
    assert coarse.seen == 160
    assert fine.seen == 160 - counts.stages[0].cleared < 160
    assert counts.stages[1].cleared > 0
    assert counts.confirmed == fine.seen - counts.stages[1].cleared


def test_an_encoder_that_saves_no_time_is_left_out(world, caplog):
    """After enough pictures, an encoder that clears too few of them for what it costs is no longer asked."""
    useless = stage(world, largest=0.3, cost=0.5)
    useful = stage(world, cost=0.5)
    subject = screening(world, useless, useful)

    for _ in range(2):
        subject.judge(PICTURES)

    assert [counts.in_use for counts in subject.statistics().stages] == [False, True]
    assert "saves no time" in caplog.text
    assert wrong(subject.judge(PICTURES), world.exact) == []


def test_the_batch_is_that_of_the_encoder_that_sees_everything(world):
    """The pipeline collects as many pictures as the first encoder takes; the reference's number when there is none."""
    first = stage(world, AlteredEncoder(world.fast, lambda features: features))
    first.encoder.batch_size = 24
    subject = screening(world, first)
    assert subject.batch_size == 24
    first.leave_out("test")
    assert subject.batch_size == world.reference.batch_size


def test_chance_watches_every_early_picture_and_few_later_ones(world):
    """The first pictures that these weights meet are all checked; after thousands, one in a hundred or so."""
    early = stage(world)
    subject = Screening(heads=world.heads, proof=world.proof, stages=[early], reference=world.reference)
    subject.judge(PICTURES)
    assert 8 <= subject.statistics().watched < subject.statistics().cleared / 2

    late = stage(world, checked=5_000)
    subject = Screening(heads=world.heads, proof=world.proof, stages=[late], reference=world.reference)
    subject.judge(PICTURES)
    assert subject.statistics().watched < subject.statistics().cleared / 4


def test_deepdanbooru_is_shown_the_picture_of_drawings_that_were_cleared(world):
    """Its answer only ever changes nsfw of what the screen cleared; outcomes stay the reference's."""
    danbooru = TableDanbooru()
    danbooru.scores[2] = 1.0
    rules = HordeRules(use_new_safety=True, danbooru_model=danbooru)
    rules.use_text_features(planted_words(rules, world.features, confirmed=0.2, nude=0.4))
    images = dict(enumerate(map(_image, PICTURES)))
    exact = [rules.judge(row, images[place]).hits for place, row in enumerate(world.features)]
    heads = horde(rules)
    subject = screening(world, stage(world), heads=heads, proof=heads.learn_proof())

    answers = subject.judge(PICTURES, images.get)

    assert wrong(answers, exact) == []
    assert subject.statistics().cleared > 40


def _image(pixels):
    from PIL import Image  # noqa: PLC0415

    return Image.fromarray(pixels)


def test_no_pictures_are_no_work(world):
    """An empty batch has no answers and counts nothing."""
    subject = screening(world, stage(world))
    assert subject.judge([]) == []
    assert subject.statistics().screened == 0


def test_a_bound_only_grows_by_larger_errors():
    """Smaller errors and those that are not numbers change nothing; the bound is some times the largest one."""
    bound = ErrorBound(largest=0.002, checked=0, cost=0.1)

    assert not any(bound.observe(error) for error in (0.0, 0.002, float("nan"), float("inf")))
    assert bound.value == 0.002 * SAFETY
    assert bound.observe(0.003)
    assert bound.value == 0.003 * SAFETY
    tiny = ErrorBound(largest=0.0, checked=0, cost=0.1)
    assert tiny.value > 0
    assert not tiny.observe(1e-7)


def test_features_of_half_precision_are_unit_vectors_of_full_precision(world):
    """Whatever an encoder computes in, its features come as fp32 of length 1, near the reference's."""
    features = world.fast.encode_images(PICTURES[:9])

    assert features.dtype == torch.float32
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(9))
    torch.testing.assert_close(features, world.features[:9], rtol=0, atol=0.02)
    assert not torch.equal(features, world.features[:9])
    assert world.reference.visual.conv1.weight.dtype == torch.float32
