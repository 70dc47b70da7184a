"""The hashes detector."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support.media.fingerprinted_samples import bundled_photos, encoded, generated_pictures, sample_of

from lemmy_safety.detectors.hashes.canary import canary_image
from lemmy_safety.detectors.hashes.detector import PDQ_THRESHOLD, HashesDetector, similarity
from lemmy_safety.errors import DetectorError
from lemmy_safety.records import Pdq

CANARY = np.asarray(canary_image())


@pytest.fixture
def list_file(tmp_path):
    """Writes a hash list and returns its path."""

    def write(*lines):
        path = tmp_path / "known.txt"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write


def found_in(detector, *samples):
    with detector:
        return detector.detect(samples)


def test_the_canary_is_flagged_without_a_list():
    """With no list at all the canary is a hit, by its very hash, at distance 0."""
    [[finding]] = found_in(HashesDetector(), sample_of(CANARY))
    assert (finding.detector, finding.version, finding.label) == ("hashes", "hashes-1", "canary")
    assert finding.hit
    assert finding.score == 1
    assert finding.details == {"distance": 0, "quality": 100}


def test_a_thumbnail_of_the_canary_is_flagged():
    """A 256 px WebP thumbnail is a hit whose details tell the distance."""
    [[finding]] = found_in(HashesDetector(), sample_of(encoded(canary_image().resize((256, 192)), "WEBP", quality=50)))
    assert finding.hit
    assert finding.label == "canary"
    assert finding.score == similarity(finding.details["distance"])


def test_the_canary_is_found_in_any_frame():
    """Every frame is looked at, and the finding names the frame."""
    photo = bundled_photos()["coffee"]
    [[finding]] = found_in(HashesDetector(), sample_of(photo, photo, CANARY, CANARY))
    assert (finding.label, finding.frame) == ("canary", 2)


def test_a_finding_carries_the_time_and_the_view_of_its_frame():
    """The canary in a video says when, in a crop where; and plain frames are shown to this detector as well."""
    sample = sample_of(bundled_photos()["coffee"], CANARY)
    frames = (sample.frames[0], dataclasses.replace(sample.frames[1], at_s=4.25, view="right end", plain=True))
    [[finding]] = found_in(HashesDetector(), dataclasses.replace(sample, frames=frames))
    assert (finding.frame, finding.at_s, finding.view) == (frames[1].index, 4.25, "right end")
    assert HashesDetector.reads_plain


def test_ordinary_pictures_have_no_finding():
    """No bundled photo and no generated picture is said anything of."""
    samples = [sample_of(picture) for picture in [*bundled_photos().values(), *generated_pictures(20)]]
    assert found_in(HashesDetector(), *samples) == [[] for _ in samples]


def test_a_hash_of_low_quality_is_not_matched(list_file):
    """A frame with a PDQ quality of 49 matches neither canary nor list by PDQ; with 50 it does."""
    sample = sample_of(CANARY)
    known = list_file(f"pdq {sample.pdqs[0].hex}")
    poor, fair = (
        dataclasses.replace(sample, pdqs=(Pdq(hex=sample.pdqs[0].hex, quality=quality),)) for quality in (49, 50)
    )
    nothing, both = found_in(HashesDetector(known), poor, fair)
    assert nothing == []
    assert [finding.label for finding in both] == ["canary", "pdq-list"]


def test_a_listed_file_is_found_by_its_sha256(list_file):
    """The very bytes are a hit, with the entry's line and note; a picture without PDQ quality is found too."""
    flat = sample_of(np.zeros((40, 40, 3), np.uint8), data=b"flat")
    known = list_file("# ours", f"sha256 {flat.sha256.upper()} report 12")
    [[finding], other] = found_in(HashesDetector(known), flat, sample_of(bundled_photos()["coffee"], data=b"coffee"))
    assert finding.label == "sha256-list"
    assert finding.hit
    assert finding.details == {"line": 2, "note": "report 12"}
    assert other == []


def test_a_listed_picture_is_found_after_reencoding(list_file):
    """A listed picture is a hit as a JPEG and as a thumbnail, with distance, quality, line and note."""
    photo = bundled_photos()["astronaut"]
    known = list_file(f"pdq {sample_of(photo).pdqs[0].hex} a note of words", f"pdq {'0' * 64}")
    small = encoded(Image.fromarray(photo).resize((256, 256)), "JPEG", quality=60)
    [[finding]] = found_in(HashesDetector(known), sample_of(bundled_photos()["coffee"], small))
    assert (finding.label, finding.frame, finding.hit) == ("pdq-list", 1, True)
    assert finding.details["note"] == "a note of words"
    assert finding.details["line"] == 1
    assert finding.details["quality"] >= 50
    assert finding.score == similarity(finding.details["distance"])
    assert json.loads(json.dumps(dict(finding.details))) == finding.details


def test_a_hit_means_at_most_31_bits():
    """The score is a hit at exactly 31 bits and not at 32."""
    assert similarity(0) == 1
    assert similarity(31) >= PDQ_THRESHOLD > similarity(32)
    assert similarity(256) == 0


def test_the_version_names_the_list_without_its_path(list_file):
    """The version is known before open(), changes with the entries, and holds no path."""
    sample = sample_of(CANARY)
    with HashesDetector(list_file(f"sha256 {sample.sha256}")) as detector:
        one = detector.version
        assert {finding.version for finding in detector.detect([sample])[0]} == {one}
    two = HashesDetector(list_file(f"sha256 {sample.sha256}", f"pdq {'a' * 64}")).version
    assert one.startswith("hashes-1 list:1:")
    assert two.startswith("hashes-1 list:2:")
    assert "known.txt" not in one


def test_a_bad_list_stops_open(list_file):
    """A list with a bad line is refused when it is opened, not in the middle of a run."""
    with pytest.raises(DetectorError, match="Line 1"):
        HashesDetector(list_file("not a hash")).open()


def test_opening_and_closing_twice_is_fine(list_file):
    """open() twice reads once; close() twice does nothing; an empty batch has no findings."""
    detector = HashesDetector(list_file(f"pdq {'a' * 64}"))
    detector.open()
    first = detector._list
    detector.open()
    assert detector._list is first
    assert detector.detect([]) == []
    detector.close()
    detector.close()
    assert detector._list is None


def test_naming_the_room_imports_nothing_heavy():
    """Importing the package of detectors and its contract loads no numpy, Pillow or torch."""
    code = (
        "import sys, lemmy_safety.detectors, lemmy_safety.detectors.base\n"
        "print(sorted({'numpy', 'PIL', 'torch', 'pdqhash', 'cv2', 'onnxruntime', 'nudenet'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
