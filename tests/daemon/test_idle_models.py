"""Models that have nothing to judge leave memory and come back: real detectors, CLIP with a tiny random checkpoint."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from pathlib import Path

import pytest
from support.admin import eventually
from support.clip.checkpoints import random_clip, register_tiny, save_safetensors
from support.clip.detectors import clip_detector
from support.clip.pictures import sample_of, sample_pictures
from support.scan.passes import put, scanner_over
from support.scan.scanned_store import SWEEP, picture

from lemmy_safety.daemon import Daemon, DaemonOptions
from lemmy_safety.detectors.clip.detector import ClipDetector
from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.detectors.nudenet import NudenetDetector
from lemmy_safety.errors import WeightsInvalid

PICTURES = list(sample_pictures(3, seed=31))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return register_tiny(tmp_path_factory.mktemp("architecture"), "tiny-idle")


@pytest.fixture
def weights(model, tmp_path):
    return save_safetensors(random_clip(model, seed=1), tmp_path / "weights.safetensors")


@pytest.fixture
def clip(model, weights, tmp_path):
    return clip_detector(model, weights, tmp_path / "cache", screen="torch-bf16", lazy=True)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "files"
    put(root, "x/first.png", picture(1))
    return root


@pytest.fixture
def store_with_clip(root, tmp_path, clip):
    with scanner_over(root, tmp_path / "lemmy_safety.db", detectors=[clip]) as scanner:
        yield scanner


def other_weights(path):
    save_safetensors(random_clip("tiny-idle", seed=2), path)


def judged(database):
    """The rules version of each object with a verdict, by key."""
    db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return dict(db.execute("SELECT key, rules_version FROM images WHERE status = 'checked'").fetchall())
    except sqlite3.OperationalError:
        return {}  # the schema is being made
    finally:
        db.close()


def holds_a_model(detector):
    return detector.is_loaded if isinstance(detector, ClipDetector) else detector._detector is not None


@pytest.mark.parametrize("name", ["clip", "nudenet"])
def test_a_model_that_was_let_go_says_the_same_as_before(name, request):
    """Findings and version are equal; the first model is really gone, and closing afterwards is fine."""
    detector = request.getfixturevalue("clip") if name == "clip" else NudenetDetector(min_score=0.2)
    samples = [sample_of(pixels) for pixels in PICTURES]
    with detector:
        detector.load()
        first = weakref.ref(detector._encoder.visual if name == "clip" else detector._detector)
        before, version = detector.detect(samples), detector.version
        assert detector.release()
        assert first() is None
        assert not holds_a_model(detector)
        assert not detector.release()
        assert detector.version == version
        assert detector.detect(samples) == before
        assert holds_a_model(detector)
        detector.release()


def test_what_has_no_model_lets_nothing_go():
    """A list of hashes stays: it is small, and a verdict's version is made of it."""
    with HashesDetector() as detector:
        assert not detector.release()


def test_only_a_pass_with_something_to_judge_loads_a_model_again(root, tmp_path, clip):
    """A pass that meets what it knows loads nothing; the next picture does, and is judged by the same rules version."""
    database = tmp_path / "lemmy_safety.db"
    nudenet = NudenetDetector()
    with scanner_over(root, database, detectors=[nudenet, clip]) as scanner:
        scanner.run(SWEEP)
        assert holds_a_model(clip)
        assert not scanner.engine.release_idle_models(3600)
        assert scanner.engine.release_idle_models(0)
        assert scanner.run(SWEEP).checked == 0
        assert not holds_a_model(clip)
        assert not holds_a_model(nudenet)
        put(root, "x/second.png", picture(2))
        assert scanner.run(SWEEP).checked == 1
        assert holds_a_model(clip)
        assert holds_a_model(nudenet)
    assert len(judged(database)) == 2
    assert len(set(judged(database).values())) == 1


def test_a_detector_that_was_never_asked_is_idle_from_its_opening_on():
    """NudeNet is loaded by the start: without any picture it goes as well."""
    with NudenetDetector() as nudenet:
        assert nudenet.used_at > 0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, "cannot be read"),
        (other_weights, "was replaced while"),
    ],
)
def test_weights_that_are_gone_or_others_later_end_the_pass_with_one_error(store_with_clip, root, weights, spoil, said):
    """No picture is counted as failed for it, and what was to be judged is judged by the next pass that can."""
    original = weights.read_bytes()
    store_with_clip.run(SWEEP)
    assert store_with_clip.engine.release_idle_models(0)
    spoil(weights)
    put(root, "x/second.png", picture(2))
    with pytest.raises(WeightsInvalid) as caught:
        store_with_clip.run(SWEEP)
    assert str(weights) in caught.value.message
    assert said in caught.value.message
    weights.write_bytes(original)
    summary = store_with_clip.run(SWEEP)
    assert (summary.checked, summary.failed) == (1, {})


def test_the_daemon_lets_a_model_go_in_its_rests_and_has_it_back_for_the_next_upload(root, tmp_path, clip, caplog):
    """A daemon with the real scanner: idle, freed; an upload, judged; idle, freed again."""
    caplog.set_level("INFO")
    database = tmp_path / "lemmy_safety.db"
    stop = threading.Event()
    options = DaemonOptions(minutes=525_600, interval_s=0.2, full_listing_hours=0.01, model_ttl_s=0.6)
    with scanner_over(root, database, detectors=[clip], stop=stop) as scanner:
        daemon = threading.Thread(target=Daemon(scanner, options, stop=stop).run, daemon=True)
        daemon.start()
        try:
            eventually(lambda: "x/first.png" in judged(database), "the first picture is judged")
            eventually(lambda: caplog.text.count("freed the models of clip") == 1, "the model is let go")
            assert not clip.is_loaded
            put(root, "x/second.png", picture(2))
            eventually(lambda: "x/second.png" in judged(database), "the second picture is judged")
            eventually(lambda: caplog.text.count("freed the models of clip") == 2, "the model is let go again")
        finally:
            stop.set()
            daemon.join(20)
        assert not daemon.is_alive()
    assert len(set(judged(database).values())) == 1
