"""The clip detector end to end with a tiny model: settings in, findings out, through the real loading and the rules."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from horde_safety.nsfw_checker_class import NSFWChecker
from support.clip.checkpoints import random_clip, register_tiny, save_safetensors
from support.clip.detectors import clip_detector, features_of, in_new_process, rules_of
from support.clip.pictures import sample_of, sample_pictures

from lemmy_safety.detectors.clip.heads.base import ProofUnavailable
from lemmy_safety.detectors.clip.heads.horde.labels import LABELS
from lemmy_safety.errors import DetectorError, DeviceError, MissingExtra, WeightsInvalid, WeightsMissing
from lemmy_safety.settings import Settings

# horde_safety deprecates its older rules at every call; the settings decide which ones are used.
pytestmark = pytest.mark.filterwarnings("ignore:check_for_csam is deprecated:DeprecationWarning")

CLEAR, NUDE, YOUNG, BOTH = list(sample_pictures(4, seed=21))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("detector")


@pytest.fixture(scope="module")
def model(folder):
    return register_tiny(folder, "tiny-detector")


@pytest.fixture(scope="module")
def weights(folder, model):
    return save_safetensors(random_clip(model, seed=1), folder / "weights.safetensors")


def detector(model, weights, folder, **changes):
    return clip_detector(model, weights, folder / "cache", **changes)


def plant(opened):
    """Give the open detector text features with which the four pictures fall into four different branches.

    Two words of the rules, one that means a young subject and one that means nudity, are made similar to the pictures
    that must have them; all others to none. The pictures' features are those that the real encoder computed.
    """
    features = features_of(opened, [CLEAR, NUDE, YOUNG, BOTH]).double()
    inverse = torch.linalg.pinv(features)
    checker = NSFWChecker(rules_of(opened)._features, None)
    young = next(iter(checker.underage_danger_concepts))
    nude = next(iter(checker.nsfw_isolated_concepts))
    adult = next(iter(checker.human_predicates_isolated))

    def similar(*to):
        return (inverse @ torch.tensor([0.3 if row in to else 0.0 for row in range(4)], dtype=torch.float64)).float()

    wanted = {young: similar(2, 3), nude: similar(1, 3), adult: similar(1)}
    silent = torch.zeros(features.shape[1])
    rules_of(opened).use_text_features(
        {words: torch.stack([wanted.get(word, silent) for word in words]) for words in rules_of(opened).word_lists}
    )


@pytest.fixture(scope="module")
def planted(model, weights, folder):
    with detector(model, weights, folder) as opened:
        plant(opened)
        yield opened


def labels(findings):
    return [finding.label for finding in findings]


def test_each_kind_of_picture_gets_its_findings(planted):
    """Clear pictures leave nothing; nudity, a young subject and both together get their labels, as hits."""
    batch = [sample_of(picture) for picture in (CLEAR, NUDE, YOUNG, BOTH)]

    found = planted.detect(batch)

    assert [labels(findings) for findings in found] == [[], ["nsfw"], ["underage_subject"], list(LABELS)]
    for finding in (finding for findings in found for finding in findings):
        assert finding.hit
        assert (finding.score, finding.threshold) == (1.0, 1.0)
        assert finding.detector == "clip"
        assert finding.version == planted.version
        assert json.loads(json.dumps(finding.details)) == finding.details


def test_details_say_which_words_matched_and_how_similar_they_were(planted):
    """What flagged a picture can be read from its finding."""
    ((csam, underage, nsfw),) = planted.detect([sample_of(BOTH)])

    assert list(csam.details["csam_predicates_matched"].values()) == [0.3]
    assert list(csam.details["nsfw_concepts_identified"].values()) == [0.3]
    assert csam.details["is_anime"] is False
    assert underage.details["csam_predicates_matched"] == csam.details["csam_predicates_matched"]
    assert nsfw.details["nsfw_concepts_identified"] == csam.details["nsfw_concepts_identified"]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([CLEAR, CLEAR, BOTH, CLEAR], {"csam": 10, "underage_subject": 10, "nsfw": 10}),
        ([NUDE, CLEAR, BOTH], {"csam": 10, "underage_subject": 10, "nsfw": 10}),
        ([CLEAR, NUDE, YOUNG], {"underage_subject": 10, "nsfw": 5}),
        ([NUDE, NUDE, CLEAR], {"nsfw": 0}),
        ([CLEAR] * 9, {}),
    ],
)
def test_the_worst_frame_decides_and_is_named(planted, frames, expected):
    """Any frame can flag a file; a young subject in one frame and nudity in another are told apart from both in one."""
    (findings,) = planted.detect([sample_of(*frames)])

    assert {finding.label: finding.frame for finding in findings} == expected


def test_frames_of_many_samples_are_not_mixed_up(planted):
    """Batches that cut through samples still give every sample its own findings, in order."""
    samples = [sample_of(*([CLEAR] * number), NUDE if number % 2 else BOTH) for number in range(7)]

    found = planted.detect(samples)

    assert [labels(findings) for findings in found] == [["nsfw"] if n % 2 else list(LABELS) for n in range(7)]
    assert [findings[0].frame for findings in found] == [5 * number for number in range(7)]


def test_an_empty_batch_has_no_findings(planted):
    """Nothing in, nothing out."""
    assert planted.detect([]) == []


def test_older_rules_report_csam_and_nsfw(model, weights, folder):
    """With USE_NEW_SAFETY=false the older rules judge: three young words and a lewd one make a hit."""
    with detector(model, weights, folder, use_new_safety=False) as opened:
        inverse = torch.linalg.pinv(features_of(opened, [CLEAR, NUDE]).double())
        everything = (inverse @ torch.tensor([0.0, 0.3], dtype=torch.float64)).float()
        (words,) = rules_of(opened).word_lists
        rules_of(opened).use_text_features({words: everything.repeat(len(words), 1)})
        clear, flagged = opened.detect([sample_of(CLEAR), sample_of(NUDE)])

    assert clear == []
    assert labels(flagged) == ["csam", "nsfw"]
    assert {"word", "similarity", "threshold"} <= flagged[0].details["found_uc"][0].keys()
    assert {"word", "similarity", "threshold"} <= flagged[1].details["found_lewd"][0].keys()


def test_the_version_is_known_before_open_and_names_model_weights_rules(model, weights, folder):
    """The ledger can compare versions without loading anything; no path of the machine is in it."""
    closed = detector("ViT-L-14", weights, folder)
    older = detector("ViT-H-14", None, folder, use_new_safety=False, danbooru=True)

    assert closed.version.startswith("ViT-L-14/openai horde_safety-0.")
    assert closed.version.endswith(" new-rules")
    assert older.version.startswith("ViT-H-14/laion2b_s32b_b79k ")
    assert older.version.endswith(" older-rules+danbooru")
    assert str(folder) not in detector(model, weights, folder).version


def test_every_setting_of_the_detector_exists():
    """The choices that the settings offer are models and devices that the detector knows."""
    from lemmy_safety.detectors.clip.device import DEVICES  # noqa: PLC0415
    from lemmy_safety.detectors.clip.weights.find import PRETRAINED  # noqa: PLC0415
    from lemmy_safety.settings import OPTIONS  # noqa: PLC0415

    assert set(OPTIONS["clip_model"].choices) == PRETRAINED.keys()
    assert set(OPTIONS["device"].choices) == {"auto", *DEVICES}
    assert Settings().clip_model in PRETRAINED


def test_the_second_start_does_not_need_the_text_model(model, weights, folder, monkeypatch):
    """With cached text features the text tower is never built."""
    with detector(model, weights, folder) as first:
        expected = rules_of(first)._features.text

    def refuse(*args, **kwargs):
        pytest.fail("the text tower was built")

    monkeypatch.setattr("lemmy_safety.detectors.clip.encoders.reference.load_text_encoder", refuse)
    with detector(model, weights, folder) as second:
        assert all(torch.equal(rules_of(second)._features.text[words], expected[words]) for words in expected)


def test_a_cache_of_other_weights_is_not_used(model, weights, folder, tmp_path):
    """New weights under the same model name get their own text features."""
    other = save_safetensors(random_clip(model, seed=2), tmp_path / "other.safetensors")
    with detector(model, weights, folder) as first, detector(model, other, folder) as second:
        words = rules_of(first).word_lists[0]
        assert not torch.allclose(
            rules_of(first)._features.text[words], rules_of(second)._features.text[words], atol=1e-3
        )


def test_opening_and_closing_twice_is_fine_and_closed_detectors_refuse_to_judge(model, weights, folder):
    """The detector's life: opened once, closed for good, never judging without a model."""
    subject = detector(model, weights, folder)
    with pytest.raises(DetectorError, match="not open"):
        subject.detect([sample_of(CLEAR)])
    subject.open()
    encoder = subject._encoder
    subject.open()
    assert subject._encoder is encoder
    assert subject.report().device == "cpu"
    assert subject.batch_size == 8
    subject.close()
    subject.close()
    assert subject.report().device is None
    with pytest.raises(DetectorError, match="not open"):
        subject.detect([sample_of(CLEAR)])


def test_a_shrunken_batch_is_told_to_the_pipeline(model, weights, folder):
    """After the device ran out of memory, the batch size that the pipeline collects for is the smaller one."""
    with detector(model, weights, folder, batch_size=4) as opened:

        def refuse(module, inputs):
            if len(inputs[0]) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")

        opened._encoder.visual.register_forward_pre_hook(refuse)
        opened.detect([sample_of(CLEAR, NUDE, YOUNG, BOTH)])
        assert opened.batch_size == 2


def test_faults_of_the_settings_are_named_before_anything_is_judged(model, weights, folder, tmp_path):
    """No weights, wrong weights, no such device: each its own error, and the detector stays closed."""
    for changes, error in (
        ({"weights": tmp_path / "absent.pt"}, WeightsMissing),
        ({"model": "ViT-L-14"}, WeightsInvalid),
        ({"device": "xpu"}, DeviceError),
    ):
        arguments = {"model": model, "weights": weights, "folder": folder, **changes}
        subject = detector(**arguments)
        with pytest.raises(error):
            subject.open()
        assert subject.report().device is None


def test_each_fault_of_the_settings_is_found_beside_the_others(model, weights, folder, tmp_path):
    """The device, the weights, the weights for drawings; none without a fault."""
    absent = tmp_path / "absent.pt"
    subject = detector(model, absent, folder, device="xpu", danbooru=True, danbooru_weights=absent)
    assert [type(fault) for fault in subject.faults()] == [DeviceError, WeightsMissing, WeightsMissing]
    assert list(detector(model, weights, folder).faults()) == []


def test_opening_says_nothing_and_patches_nothing(tmp_path, model, weights):
    """horde_safety's chatter stays silent, the root logger untouched, and no class of the libraries is replaced."""
    config = tmp_path / "tiny-quiet.json"
    config.write_bytes((weights.parent / f"{model}.json").read_bytes())
    done = in_new_process(
        f"""
import logging, os
from pathlib import Path
import open_clip
open_clip.add_model_config({str(config)!r})
before = open_clip.CLIP.encode_text, dict(os.environ)
from lemmy_safety.detectors.clip.detector import ClipDetector
from lemmy_safety.detectors.clip.heads.horde.head import HordeHead
from lemmy_safety.detectors.clip.model import ClipModel
model = ClipModel(name="tiny-quiet", weights=Path({str(weights)!r}), device="cpu", cache_dir=Path({str(tmp_path)!r}))
for new in (True, False):
    head = HordeHead(use_new_safety=new)
    with ClipDetector(model, [head]):
        head.judge(next(iter(head.rules._features.text.values()))[0])
import clip_interrogator
assert before == (open_clip.CLIP.encode_text, dict(os.environ))
assert clip_interrogator.Interrogator.similarities.__module__.startswith("clip_interrogator")
assert logging.getLogger().handlers == []
""",
        HF_HOME=str(tmp_path / "hf"),
    )
    assert (done.stdout, done.stderr) == ("", "")


@pytest.fixture
def screened(model, weights, folder, planted):
    """The same planted words behind a screen of half precision."""
    with detector(model, weights, folder, screen="torch-fp16") as opened:
        rules_of(opened).use_text_features(rules_of(planted)._features.text)
        opened._screening._directions = rules_of(opened).text_matrix()
        # Chance picks cleared pictures for the reference to judge as well, and those are then not the screen's word.
        opened._screening._watch = lambda _: False
        yield opened


def outcome(findings):
    return {finding.label for finding in findings if finding.hit} & {"csam", "underage_subject"}


def test_with_a_screen_the_findings_are_those_without_one(planted, screened):
    """Outcomes are the same for every sample, and nsfw wherever it is not marked as unsure."""
    pictures = [CLEAR, NUDE, YOUNG, BOTH, *sample_pictures(60, seed=8)]
    batch = [sample_of(picture) for picture in pictures] + [sample_of(*pictures[start::9]) for start in range(9)]

    exact, fast = planted.detect(batch), screened.detect(batch)

    assert [outcome(findings) for findings in fast] == [outcome(findings) for findings in exact]
    for ours, theirs in zip(fast, exact, strict=True):
        if not any(finding.details.get("sure") is False for finding in ours):
            assert {f.label for f in ours if f.hit} == {f.label for f in theirs if f.hit}
    counts = screened.report().screen
    assert counts.screened == sum(len(sample.frames) for sample in batch)
    assert 0 < counts.cleared < counts.screened
    assert planted.report().screen is None


def test_an_nsfw_that_the_screen_says_is_marked(screened):
    """The details say where it comes from; similarities are there as always."""
    ((nsfw,),) = screened.detect([sample_of(NUDE)])

    assert nsfw.hit
    assert nsfw.details["from"] == "screen"
    assert nsfw.details["sure"] is True
    assert nsfw.details["nsfw_concepts_identified"]
    ((csam, underage, confirmed),) = screened.detect([sample_of(BOTH)])
    assert not any("from" in finding.details for finding in (csam, underage, confirmed))


def test_an_nsfw_that_is_not_certain_is_marked_although_it_is_no_hit(screened):
    """Where the screen cannot tell, and says no, a finding without a hit says so."""
    stage = screened._screening._stages[0]
    at_the_limit = features_of(screened, [NUDE])[0]
    limits = rules_of(screened).checker.nsfw_isolated_concepts
    word = next(iter(limits))
    place = rules_of(screened).words().index(word)
    text = rules_of(screened).text_matrix()
    text[place] *= (limits[word] - stage.bound.value / 2) / (text[place] @ at_the_limit)
    screened._screening._directions = text
    rules_of(screened).use_text_features(
        {
            words: torch.stack([text[rules_of(screened).words().index(w)] for w in words])
            for words in rules_of(screened).word_lists
        }
    )

    ((nsfw,),) = screened.detect([sample_of(NUDE)])

    assert (nsfw.label, nsfw.score, nsfw.hit) == ("nsfw", 0.0, False)
    assert nsfw.details == {"from": "screen", "sure": False}


def test_trying_its_speed_teaches_the_screen_nothing(planted, screened):
    """Each encoder's rate, the screen's first; generated pictures are neither counted nor watched."""
    checked = screened._screening._stages[0].bound.checked

    rates = screened.try_speed()

    assert list(rates) == ["torch-fp16", "torch-fp32"]
    assert all(rate > 0 for rate in rates.values())
    assert screened.report().screen.screened == 0
    assert screened._screening._stages[0].bound.checked == checked
    assert list(planted.try_speed()) == ["torch-fp32"]


def test_findings_carry_the_time_and_the_view_of_their_frame(planted):
    """A finding in the middle of a video says when; one in a crop says where."""
    sample = sample_of(CLEAR, NUDE)
    frames = (sample.frames[0], dataclasses.replace(sample.frames[1], at_s=2.5, view="left end"))

    ((nsfw,),) = planted.detect([dataclasses.replace(sample, frames=frames)])

    assert (nsfw.frame, nsfw.at_s, nsfw.view) == (5, 2.5, "left end")


def test_a_lazy_detector_loads_at_the_first_object_and_not_before(model, weights, folder):
    """Opening looks at everything but the numbers; the first batch loads, and answers as ever."""
    with detector(model, weights, folder, lazy=True) as lazy, detector(model, weights, folder) as eager:
        assert lazy.report().device == "cpu"
        assert not lazy.is_loaded
        assert lazy.version == eager.version
        batch = [sample_of(picture) for picture in (CLEAR, NUDE)]
        assert lazy.detect(batch) == eager.detect(batch)
        assert lazy.is_loaded
        assert eager.is_loaded
    assert not lazy.is_loaded


def test_a_lazy_detector_tells_faults_when_it_is_opened(model, weights, folder, tmp_path, monkeypatch):
    """Weights that are missing, damaged or of another model, and absent devices, are no surprise for later."""
    monkeypatch.setattr("lemmy_safety.detectors.clip.screen.choice.has_openvino", lambda: False)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(weights.read_bytes()[:2_000])
    for changes, error in (
        ({"weights": tmp_path / "absent.pt"}, WeightsMissing),
        ({"weights": damaged}, WeightsInvalid),
        ({"model": "ViT-L-14"}, WeightsInvalid),
        ({"device": "xpu"}, DeviceError),
        ({"danbooru": True, "danbooru_weights": tmp_path / "absent.pt"}, WeightsMissing),
        ({"screen": "openvino-int8"}, MissingExtra),
    ):
        subject = detector(**{"model": model, "weights": weights, "folder": folder, "lazy": True, **changes})
        with pytest.raises(error):
            subject.open()
        assert subject.report().device is None


def test_rules_that_the_screen_does_not_understand_are_judged_exactly(model, weights, folder, monkeypatch, caplog):
    """Another horde_safety than the screen knows costs speed, is said, and costs no verdict."""

    def refuse(rules):
        raise ProofUnavailable("other rules")

    monkeypatch.setattr("lemmy_safety.detectors.clip.heads.horde.proof.learning.learn_proof", refuse)
    with detector(model, weights, folder, screen="torch-fp16") as opened:
        assert opened.report().screen is None
        assert len(opened.detect([sample_of(CLEAR)])) == 1
    assert "reference precision" in caplog.text
    assert "other rules" in caplog.text


def test_pictures_of_any_shape_are_judged(planted):
    """One pixel, one row, and a large picture go through the same path."""
    draw = np.random.default_rng(3)
    shapes = [(1, 1), (1, 900), (900, 1), (1200, 1600)]
    batch = [sample_of(draw.integers(0, 256, (*shape, 3), dtype=np.uint8)) for shape in shapes]

    assert len(planted.detect(batch)) == 4
