"""Parity with the reference: our detector against clip_interrogator and NSFWChecker on the same weights.

Seeded random weights; open_clip loads the reference's copy its own way, ours goes through the detector. On the smallest
ViT that open_clip lists, of the same parts as ViT-L-14 and with pictures of the same size; before a release also on
ViT-L-14 itself, which takes four minutes of a processor core.
"""

import logging
from collections import Counter
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from clip_interrogator import Config, Interrogator
from horde_safety import interrogate
from horde_safety.nsfw_checker_class import NSFWChecker
from PIL import Image
from support.clip.checkpoints import random_clip, register_tiny, save_safetensors
from support.clip.detectors import clip_detector, features_of, rules_of
from support.clip.pictures import sample_of, sample_pictures

pytestmark = [
    # ViT-L-14, at a picture in one to four seconds and core pair: 16 for the reference, 16 for us, and the words once.
    pytest.mark.timeout(1800),
    # clip_interrogator asks for CUDA's autocast on every machine, by its old name.
    pytest.mark.filterwarnings(r"ignore:.*torch\.cuda\.amp\.autocast.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*CUDA is not available.*:UserWarning"),
]

logger = logging.getLogger(__name__)

#: Two batches of eight. More pictures would only repeat what the rules are shown: for those, words are planted again.
PICTURES = 16

#: Different words for the same pictures; each gives every picture other similarities.
PLANTED = range(5, 15)

#: How many pictures go through our encoder one by one as well, where it must equal the reference to the last bit.
ONE_BY_ONE = 6

#: One step of the rounding that NSFWChecker gives its similarities.
STEP = 1e-4


class RememberedInterrogator(Interrogator):
    """The real interrogator, which encodes each picture once instead of twice and caches texts as horde_safety does.

    Its ``__init__`` is left out: it would embed tens of thousands of phrases for captions that no one asks for.
    """

    def __init__(self, clip, preprocess):
        self.config = Config(device="cpu", quiet=True)
        self.device = "cpu"
        self.dtype = torch.float32
        self.caption_offloaded = True
        self.clip_offloaded = False
        self.clip_model = clip
        self.clip_preprocess = preprocess
        self.tokenize = open_clip.tokenize
        self.remembered = {}

    def image_to_features(self, image):
        if id(image) not in self.remembered:
            self.remembered[id(image)] = super().image_to_features(image)
        return self.remembered[id(image)]

    def similarities(self, image_features, text_array):
        # The last bit of the product depends on how many threads divide it; ours always uses one.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return interrogate._similarities_hijack(self, image_features, text_array)
        finally:
            torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=["small", pytest.param("ViT-L-14", marks=pytest.mark.slow)])
def world(request, tmp_path_factory):
    """Pictures, our open detector with what it made of them, and the reference with what it made of them."""
    folder = tmp_path_factory.mktemp("parity")
    if request.param == "small":
        name = architecture = register_tiny(folder, "small-parity", **open_clip.get_model_config("ViT-S-16-alt"))
    else:
        name, architecture = request.param, f"{request.param}-quickgelu"
    checkpoint = save_safetensors(
        random_clip(architecture, seed=1), folder / "open_clip_model.safetensors", dtype=torch.float16
    )
    clip, _, preprocess = open_clip.create_model_and_transforms(architecture, pretrained=str(checkpoint))
    reference = RememberedInterrogator(clip.eval(), preprocess)
    pictures = list(sample_pictures(PICTURES, seed=31))
    images = [Image.fromarray(picture) for picture in pictures]
    with clip_detector(name, checkpoint, folder, batch_size=8) as detector:
        checkpoint.unlink()  # 855 MB of ViT-L-14; the detector keeps no hold on the file
        features = features_of(detector, pictures)
        yield SimpleNamespace(
            detector=detector,
            features=features,
            pictures=pictures,
            images=images,
            interrogator=reference,
            reference_features=torch.cat([reference.image_to_features(image) for image in images]),
        )
    interrogate._cached_text_array_features.clear()


def plant(world, *, seed):
    """Text features, for both sides, with which the real picture features scatter around the rules' thresholds.

    Each word's feature is a mix of the directions in which the pictures' features differ most.
    """
    checker = NSFWChecker(world.interrogator, None)
    thresholds = {**checker.all_nsfw_concepts, **checker.all_predicates}
    features = world.reference_features.double().numpy()
    centre = features.mean(axis=0)
    directions = np.linalg.svd(features - centre, full_matrices=False)[2][:12]
    spread = ((features - centre) @ directions.T).std(axis=0)
    draw = np.random.default_rng(seed)
    planted = {}
    for word, threshold in thresholds.items():
        mix = draw.normal(size=12) / np.sqrt(12) * 0.025 / spread @ directions
        level = threshold - draw.uniform(0.02, 0.05) - mix @ centre
        planted[word] = torch.from_numpy(mix + level * centre / (centre @ centre)).float()
    lists = {words: torch.stack([planted[word] for word in words]) for words in rules_of(world.detector).word_lists}
    rules_of(world.detector).use_text_features(lists)
    interrogate._cached_text_array_features.clear()
    interrogate._cached_text_array_features.update(lists)


def compare(world, features):
    """How many answers equal the reference's in all fields, in all but rounding, and the kinds of verdict met."""
    checker = NSFWChecker(world.interrogator, None)
    tally = Counter()
    kinds = Counter()
    for image, row in zip(world.images, features, strict=True):
        expected = checker.check_for_nsfw(image)
        ours = rules_of(world.detector).judge(row).reference
        tally["equal"] += ours == expected
        tally["equal but for one step of rounding"] += same_but_for_rounding(ours, expected)
        verdict = (expected.is_csam, expected.is_underage_subject, expected.is_nsfw, expected.is_anime)
        kinds[tuple(name for name, yes in zip(("csam", "underage", "nsfw", "anime"), verdict, strict=True) if yes)] += 1
    return tally, kinds


def same_but_for_rounding(ours, expected):
    """Whether verdicts and matched words are the same and every similarity is within one step of its rounding."""
    for name, value in expected.model_dump().items():
        mine = getattr(ours, name)
        if not isinstance(value, dict):
            if mine != value:
                return False
        elif mine.keys() != value.keys() or any(abs(mine[word] - value[word]) > 1.01 * STEP for word in value):
            return False
    return True


def test_our_encoder_equals_the_reference(world):
    """One by one our features are the reference's to the last bit; in batches of 8 they differ by fp32 rounding."""
    world.detector._encoder.batch_size = 1
    single = features_of(world.detector, world.pictures[:ONE_BY_ONE])
    world.detector._encoder.batch_size = 8

    assert torch.equal(single, world.reference_features[:ONE_BY_ONE])
    torch.testing.assert_close(world.features, world.reference_features, rtol=0, atol=2e-6)


def test_all_fields_equal_nsfw_checker_with_the_models_own_words(world):
    """Real text features of these weights: equal in every field one by one, within rounding in batches of 8.

    The reference encodes the shortest list itself, to the same features as ours, and is lent ours for the others: a
    processor without matrix units takes minutes for all.
    """
    ours = dict(rules_of(world.detector)._features.text)
    shortest = min(ours, key=len)
    world.interrogator.similarities(world.reference_features[:1], list(shortest))
    torch.testing.assert_close(interrogate._cached_text_array_features[shortest], ours.pop(shortest), rtol=0, atol=2e-6)
    interrogate._cached_text_array_features.update(ours)

    alone, _ = compare(world, world.reference_features)
    batched, kinds = compare(world, world.features)
    logger.info("one by one %s; in batches of 8 %s; verdicts %s", dict(alone), dict(batched), dict(kinds))

    assert alone["equal"] == PICTURES
    assert batched["equal but for one step of rounding"] == PICTURES


def test_all_fields_equal_nsfw_checker_with_planted_words(world):
    """Words planted so that real picture features meet the thresholds: still equal, and every verdict occurs."""
    alone, batched, kinds = Counter(), Counter(), Counter()
    for seed in PLANTED:
        plant(world, seed=seed)
        tally, met = compare(world, world.reference_features)
        alone += tally
        kinds += met
        batched += compare(world, world.features)[0]
    logger.info("one by one %s; in batches of 8 %s; verdicts %s", dict(alone), dict(batched), dict(kinds))

    assert alone["equal"] == len(PLANTED) * PICTURES
    assert batched["equal but for one step of rounding"] == len(PLANTED) * PICTURES
    assert {name for kind in kinds for name in kind} == {"csam", "underage", "nsfw", "anime"}
    assert kinds[()] > 0


def test_findings_say_what_nsfw_checker_says(world):
    """The detector's findings for whole samples carry the reference's verdict and the words that it matched."""
    plant(world, seed=5)
    checker = NSFWChecker(world.interrogator, None)
    expected = [checker.check_for_nsfw(image) for image in world.images[:8]]

    found = world.detector.detect([sample_of(picture) for picture in world.pictures[:8]])

    for findings, answer in zip(found, expected, strict=True):
        flags = {"csam": answer.is_csam, "underage_subject": answer.is_underage_subject, "nsfw": answer.is_nsfw}
        assert [finding.label for finding in findings] == [label for label, applies in flags.items() if applies]
        details = {name: value for finding in findings for name, value in finding.details.items()}
        if answer.is_csam:
            assert details["csam_predicates_matched"].keys() == answer.csam_predicates_matched.keys()
        if answer.is_nsfw:
            assert details["nsfw_concepts_identified"].keys() == answer.nsfw_concepts_identified.keys()
