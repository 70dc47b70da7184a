"""The nudenet detector, with the package's real model on harmless pictures."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.media.fingerprinted_samples import bundled_photos, generated_pictures, sample_of

from lemmy_safety.detectors.nudenet import NudenetDetector
from lemmy_safety.errors import DetectorError, MissingExtra, WeightsInvalid


@pytest.fixture(scope="module")
def detector():
    """The detector with its model loaded."""
    if importlib.util.find_spec("nudenet") is None:
        reason = "the extra 'nudenet' is not installed: the nudenet detector is NOT tested"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with NudenetDetector(batch_size=4) as opened:
        yield opened


def test_a_face_is_found_and_nothing_exposed(detector):
    """The portrait of an astronaut has a woman's face as its highest class, and no exposed class is a hit."""
    [findings] = detector.detect([sample_of(bundled_photos()["astronaut"])])
    face = findings[0]
    assert (face.detector, face.label, face.threshold) == ("nudenet", "FACE_FEMALE", 0.6)
    assert face.hit
    assert not [finding for finding in findings if finding.hit and finding.label.endswith("_EXPOSED")]


def test_a_finding_carries_the_time_and_the_view_of_its_frame(detector):
    """What is found in a video says when, in a crop where; plain frames are nothing for this detector."""
    sample = sample_of(bundled_photos()["astronaut"])
    frames = (dataclasses.replace(sample.frames[0], at_s=1.5, view="left end"),)
    [findings] = detector.detect([dataclasses.replace(sample, frames=frames)])
    assert {(finding.at_s, finding.view) for finding in findings} == {(1.5, "left end")}
    assert not detector.reads_plain


def test_the_box_lies_on_the_face(detector):
    """The box is in fractions of the picture: left, top, width, height; JSON can hold it."""
    [findings] = detector.detect([sample_of(bundled_photos()["astronaut"])])
    left, top, wide, high = findings[0].details["box"]
    assert 0.3 < left + wide / 2 < 0.6
    assert 0.1 < top + high / 2 < 0.4
    assert 0.05 < wide < 0.5
    assert json.loads(json.dumps(dict(findings[0].details))) == findings[0].details


def test_findings_are_those_of_the_package_on_the_file(detector):
    """Our frames give the scores and boxes that the package gives for the same picture as an encoded file."""
    compared = 0
    for name, photo in bundled_photos().items():
        buffer = io.BytesIO()
        Image.fromarray(photo).save(buffer, "PNG")
        high, wide = photo.shape[:2]
        expected = {}
        for box in detector._detector.detect(buffer.getvalue()):
            if box["score"] > expected.get(box["class"], (0,))[0]:
                sides = [round(a / b, 4) for a, b in zip(box["box"], (wide, high, wide, high), strict=True)]
                expected[box["class"]] = (box["score"], sides)
        [findings] = detector.detect([sample_of(photo)])
        assert {finding.label for finding in findings} == set(expected), name
        for finding in findings:
            score, sides = expected[finding.label]
            assert finding.score == round(score, 6)
            assert finding.details["box"] == sides
            compared += 1
    assert compared >= 3


def test_the_package_left_to_itself_finds_the_same(detector):
    """That its threads do not spin, and that it is not shown places without a box, changes no box and no score."""
    package = sys.modules["nudenet"].NudeDetector()
    pictures = [np.ascontiguousarray(photo[:, :, ::-1]) for photo in bundled_photos().values()]
    pictures += [photo[:, ::-1] for photo in pictures]
    for size in (1, 3, len(pictures)):
        ours = detector._detector.detect_batch(pictures, batch_size=size)
        theirs = package.detect_batch(pictures, batch_size=size)
        assert ours == theirs
    assert any(len(boxes) > 1 for boxes in theirs)
    assert any(not boxes for boxes in theirs)


def test_its_threads_do_not_spin(detector):
    """Beside processes that decode they would take the processors from them."""
    options = detector._detector.onnx_session._session.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_batches_do_not_mix_samples_or_frames(detector):
    """Samples of different sizes in one batch get their own findings, and a finding names its best frame."""
    photos = bundled_photos()
    face, moon, flat = sample_of(photos["astronaut"]), sample_of(photos["moon"]), sample_of(photos["brick"])
    animated = sample_of(photos["brick"], photos["moon"], photos["astronaut"], photos["astronaut"])
    together = detector.detect([flat, face, animated, moon, face, flat])
    alone = [detector.detect([sample])[0] for sample in (flat, face, animated, moon, face, flat)]
    assert len(together) == 6
    for ours, theirs in zip(together, alone, strict=True):
        assert [finding.label for finding in ours] == [finding.label for finding in theirs]
        assert [finding.score for finding in ours] == pytest.approx([finding.score for finding in theirs], abs=1e-4)
    best = {finding.label: finding.frame for finding in together[2]}
    assert best["FACE_FEMALE"] == 2
    assert best["BELLY_EXPOSED"] == 1
    assert detector.detect([]) == []


def test_scores_under_the_threshold_are_recorded_and_no_hits(detector):
    """A class seen with a low score is a finding with the threshold, and not a hit; at most one a class."""
    [findings] = detector.detect([sample_of(bundled_photos()["moon"])])
    assert [finding.label for finding in findings] == ["BELLY_EXPOSED"]
    assert 0.25 < findings[0].score < 0.6
    assert not findings[0].hit


def test_the_threshold_decides_what_is_a_hit(detector):
    """Another min_score gives the same scores and other hits."""
    sample = sample_of(bundled_photos()["moon"])
    with NudenetDetector(0.3) as low:
        [findings] = low.detect([sample])
    assert [finding.score for finding in findings] == [finding.score for finding in detector.detect([sample])[0]]
    assert findings[0].hit


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2, 7), (1, 40_000), (9000, 3)])
def test_tiny_and_extreme_frames_do_not_fail(detector, shape):
    """Frames of one pixel and strips far longer than wide are judged, in little memory."""
    assert detector.detect([sample_of(np.full((*shape, 3), 128, np.uint8))]) == [[]]


def test_frames_over_the_limit_are_scaled_and_still_judged(detector):
    """A picture longer than 4096 pixels keeps its finding, and its box in fractions."""
    photo = Image.fromarray(bundled_photos()["astronaut"])
    [small] = detector.detect([sample_of(np.asarray(photo))])
    [large] = detector.detect([sample_of(np.asarray(photo.resize((5120, 5120))))])
    assert large[0].label == "FACE_FEMALE"
    assert large[0].details["box"] == pytest.approx(small[0].details["box"], abs=0.05)


def test_generated_pictures_do_not_fail(detector):
    """Any picture is judged: scores are between the package's floor and 1."""
    findings = [one for found in detector.detect([sample_of(p) for p in generated_pictures(20)]) for one in found]
    assert all(0.25 < finding.score <= 1 for finding in findings)


def test_a_failure_inside_the_package_is_a_detector_error(detector):
    """Pixels of a type that the package cannot take end in our error, with the package's reason."""
    sample = sample_of(bundled_photos()["brick"])
    broken = dataclasses.replace(
        sample, frames=(dataclasses.replace(sample.frames[0], pixels=sample.frames[0].pixels.astype(np.float64)),)
    )
    with pytest.raises(DetectorError, match=r"nudenet failed on a batch of 1 frames: .+"):
        detector.detect([broken])


def test_its_speed_can_be_tried(detector):
    """The model by its name, and a rate; how large it is says something of the machine only."""
    ((model, rate),) = detector.try_speed().items()
    assert model in detector.version
    assert rate > 0


def test_version_is_known_before_open(detector):
    """The version names package and model, before and after opening."""
    version = f"nudenet-{importlib.metadata.version('nudenet')} 320n"
    assert NudenetDetector().version == version
    assert detector.version == version


def test_opening_and_closing_twice_is_fine(detector):
    """open() twice keeps the model, close() twice does nothing, and it can be opened again."""
    own = NudenetDetector()
    own.open()
    first = own._detector
    own.open()
    assert own._detector is first
    own.close()
    own.close()
    assert own._detector is None
    assert own.detect([sample_of(bundled_photos()["brick"])]) == [[]]
    own.close()


@pytest.mark.parametrize("absent", ["nudenet", "onnxruntime"])
def test_without_the_package_the_extra_is_named(absent, monkeypatch):
    """If the package, or one it needs, cannot be imported, the error says how to install it."""
    for name in [name for name in sys.modules if name.split(".")[0] == "nudenet"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingExtra, match=r"lemmy-safety\[nudenet\]"):
        NudenetDetector().open()


def test_without_the_package_there_is_no_version(monkeypatch):
    """The version of a package that is not installed is the same error."""

    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(MissingExtra, match="nudenet"):
        _ = NudenetDetector().version


def test_a_damaged_model_is_named(detector, monkeypatch, tmp_path):
    """A truncated model file is an error that names the model and how to get it again."""
    package = Path(sys.modules["nudenet"].__file__).parent
    shutil.copytree(package, tmp_path / "nudenet", ignore=shutil.ignore_patterns("__pycache__"))
    model = tmp_path / "nudenet" / "320n.onnx"
    model.write_bytes(model.read_bytes()[:100_000])
    for name in [name for name in sys.modules if name.split(".")[0] == "nudenet"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WeightsInvalid, match="320n of nudenet cannot be loaded") as caught:
        NudenetDetector().open()
    assert "pip install --force-reinstall" in caught.value.hint
    # Drop the damaged copy, so that monkeypatch puts the real package back in its place.
    for name in [name for name in sys.modules if name.split(".")[0] == "nudenet"]:
        monkeypatch.delitem(sys.modules, name)
