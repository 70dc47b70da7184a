"""Bytes through the very same decoding and judging as in a sweep, within a bound on decoded frames."""

from __future__ import annotations

import hashlib
import threading

import pytest
from support.media.pictures import encode, gradient, photo
from support.web.stand_ins import CountingDecoder, FailingDetector, GatedDetector

from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.errors import DetectorError
from lemmy_safety.policy import build_policy
from lemmy_safety.records import ItemStatus, Outcome, Sample
from lemmy_safety.scan.budget import ByteBudget
from lemmy_safety.scan.inspection import Inspector
from lemmy_safety.scan.stages.judge import Judge

POLICY = build_policy(nudenet_flags=False)


@pytest.fixture
def decoder():
    with CountingDecoder() as made:
        yield made


def inspector(decoder, *detectors, frame_bytes: int = 50_000_000) -> Inspector:
    made = Inspector(detectors=[HashesDetector(), *detectors], policy=POLICY, decoder=decoder, frame_bytes=frame_bytes)
    made.open()
    return made


def examined(made: Inspector, data: bytes) -> Sample:
    return made.examine(data, hashlib.sha256(data).hexdigest())


def test_rules_are_those_of_a_sweep(decoder):
    """With the same parts, verdicts of an inspector and of a pass are of the same version, so that they are shared."""
    detectors = [HashesDetector()]
    judge = Judge(detectors=detectors, policy=POLICY, frames=ByteBudget(1), decoder=decoder.version)
    assert inspector(decoder).ruleset == judge.ruleset


def test_listed_bytes_are_known_without_a_picture(decoder, tmp_path):
    """A file that no decoder reads is flagged all the same when a hash list knows its bytes, and keeps its place."""
    data = b"no picture, but listed"
    listed = tmp_path / "list.txt"
    listed.write_text(f"sha256 {hashlib.sha256(data).hexdigest()}\n", encoding="utf-8")
    made = Inspector(detectors=[HashesDetector(listed)], policy=POLICY, decoder=decoder, frame_bytes=50_000_000)
    made.open()
    batch = [examined(made, some) for some in (b"unknown text", data, canary_png(), encode(photo(), "png"))]
    results = made.judge(batch)
    assert [result.status for result in results] == [ItemStatus.UNREADABLE, *[ItemStatus.CHECKED] * 3]
    outcomes = [result.verdict.outcome for result in results[1:]]
    assert outcomes == [Outcome.FLAGGED, Outcome.FLAGGED, Outcome.CLEAR]


def test_decoded_frames_are_bounded(decoder):
    """Beyond the bound decoding waits until the judge has taken frames, or no one wants them any more."""
    made = inspector(decoder, frame_bytes=1)  # one medium at a time
    first = examined(made, encode(gradient(), "png"))
    done = []
    second = threading.Thread(target=lambda: done.append(examined(made, encode(gradient(seed=1), "png"))))
    second.start()
    while decoder.calls < 2:
        threading.Event().wait(0.001)
    assert not done
    made.judge([first])
    second.join(20)
    made.discard(done[0])
    assert examined(made, encode(gradient(seed=2), "png")).frames


def test_abort_ends_the_wait_for_room(decoder):
    """After an abort nothing waits; what was decoded has no verdict, and says so."""
    made = inspector(decoder, frame_bytes=1)
    assert examined(made, encode(gradient(), "png")).frames
    made.abort()
    left = examined(made, encode(gradient(seed=1), "png"))
    assert left.refusal.status is ItemStatus.DETECTOR_FAILED


def test_detector_that_fails_at_once_is_not_opened(decoder):
    """A detector that cannot even judge a known good picture is an error when it is opened, not at the first upload."""

    class Broken(FailingDetector):
        def detect(self, batch):  # noqa: ARG002 - whatever it is shown
            raise RuntimeError("no such device")

    made = Inspector(detectors=[Broken()], policy=POLICY, decoder=decoder, frame_bytes=1)
    with pytest.raises(DetectorError, match="failing fails on its first picture: no such device"):
        made.open()


class PicturesOnly(GatedDetector):
    """Sees nothing but pictures, as a model does, and notes what it is shown."""

    reads_plain = False

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Sample] = []

    def detect(self, batch):
        self.shown += batch
        return super().detect(batch)


def test_a_model_is_shown_no_bytes_of_which_no_picture_could_be_made(decoder):
    """Only detectors that know digests are asked about them; the reason and the digest stay as the decoder said them."""
    model = PicturesOnly()
    model.gate.set()
    made = inspector(decoder, model)
    model.shown.clear()
    refused, shown = examined(made, b"no picture"), examined(made, encode(photo(), "png"))
    unreadable, clear = made.judge([refused, shown])
    assert [sample.sha256 for sample in model.shown] == [shown.sha256]
    assert (unreadable.status, unreadable.reason) == (ItemStatus.UNREADABLE, refused.refusal.reason)
    assert (unreadable.sha256, unreadable.verdict) == (refused.sha256, None)
    assert clear.detectors == {"hashes", model.name}


def test_a_detector_that_fails_on_undecoded_bytes_has_not_judged_them(decoder):
    """It may have known them: they are tried again, and are not settled as unreadable."""
    made = inspector(decoder, FailingDetector())
    (assessment,) = made.judge([examined(made, b"no picture")])
    assert (assessment.status, assessment.verdict) == (ItemStatus.DETECTOR_FAILED, None)


def test_bytes_without_a_picture_say_nothing_of_a_broken_detector(decoder, tmp_path):
    """What a hash list knows is flagged while a model is broken, and does not make it count as working."""
    data = b"no picture, but listed"
    listed = tmp_path / "list.txt"
    listed.write_text(f"sha256 {hashlib.sha256(data).hexdigest()}\n", encoding="utf-8")

    class BrokenModel(FailingDetector):
        reads_plain = False

    made = Inspector(
        detectors=[HashesDetector(listed), BrokenModel()], policy=POLICY, decoder=decoder, frame_bytes=50_000_000
    )
    made.open()
    made.judge([examined(made, encode(photo(), "png"))])
    assert made.broken
    (known,) = made.judge([examined(made, data)])
    assert known.flagged
    assert made.broken


def test_whole_batch_survives_a_broken_detector(decoder):
    """In a batch larger than what a sweep would put up with, each medium still gets what other detectors say."""
    made = inspector(decoder, FailingDetector())
    batch = [examined(made, encode(gradient(seed=number), "png")) for number in range(15)]
    results = made.judge([*batch, examined(made, canary_png())])
    assert [result.status for result in results] == [*[ItemStatus.DETECTOR_FAILED] * 15, ItemStatus.CHECKED]
    assert results[-1].verdict.outcome is Outcome.FLAGGED
    assert results[-1].detectors == {"hashes"}
    assert made.broken


def test_empty_batch(decoder):
    """Nothing in, nothing out."""
    assert inspector(decoder, GatedDetector()).judge([]) == []
