"""DeepDanbooru, the optional second opinion on drawings, runs on the device through horde_safety's own loading code."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from horde_safety.deep_danbooru_model import DeepDanbooruModel
from horde_safety.nsfw_checker_class import NSFWChecker
from PIL import Image
from support.clip.checkpoints import random_clip, register_tiny, save_safetensors
from support.clip.detectors import clip_detector, features_of, rules_of
from support.clip.horde_vectors import TableInterrogator
from support.clip.pictures import sample_of, sample_pictures

from lemmy_safety.detectors.clip.heads.horde.danbooru import load_danbooru
from lemmy_safety.errors import WeightsInvalid, WeightsMissing

TAGS = ["rating:safe", "rating:questionable", "rating:explicit", "realistic", "bikini", "tree"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file like horde_safety's own, of full size, with seeded random weights and the names of a few tags."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        state = DeepDanbooruModel().state_dict()
    path = tmp_path_factory.mktemp("danbooru") / "model-resnet_custom_v3.pt"
    torch.save({**{name: tensor.half() for name, tensor in state.items()}, "tags": TAGS}, path)
    yield path
    path.unlink()  # 300 MB that pytest would keep for three runs


def test_drawings_are_judged_with_deepdanbooru_as_the_package_does(weights, tmp_path):
    """For pictures that look like drawings the whole answer equals NSFWChecker's with the same second model."""
    name = register_tiny(tmp_path, "tiny-danbooru")
    clip = save_safetensors(random_clip(name, seed=1), tmp_path / "clip.safetensors")
    pictures = [picture[:160, :160] for picture in sample_pictures(3, seed=9)]
    with clip_detector(name, clip, tmp_path / "cache", danbooru=True, danbooru_weights=weights) as detector:
        assert detector.version.endswith("+danbooru")
        interrogator = TableInterrogator()
        checker = NSFWChecker(interrogator, load_danbooru(weights, device="cpu"))
        interrogator.table = dict.fromkeys(rules_of(detector).words(), 0.0) | dict.fromkeys(
            checker.anime_cartoon_predicates, 0.3
        )
        row = {
            words: torch.tensor([interrogator.table[word] for word in words]) for words in rules_of(detector).word_lists
        }
        # Every picture's feature answers the same similarities: what differs between them is what DeepDanbooru sees.
        inverse = torch.linalg.pinv(features_of(detector, pictures).double()) @ torch.ones(3).double()
        rules_of(detector).use_text_features(
            {words: torch.outer(values.double(), inverse).float() for words, values in row.items()}
        )

        labels = set()
        for picture in pictures:
            expected = checker.check_for_nsfw(Image.fromarray(picture))
            features = features_of(detector, [picture])
            ours = rules_of(detector).judge(features, Image.fromarray(picture))
            assert "rating:safe" in ours.reference.nsfw_concepts_identified
            assert ours.reference == expected
            labels |= ours.hits.keys()
        found = detector.detect([sample_of(*pictures)])

    assert {finding.label for finding in found[0]} == labels


def test_wrong_files_are_refused(weights, tmp_path):
    """Half a file, a text file, another model's weights, weights without tag names: each is named."""
    half = tmp_path / "half.pt"
    half.write_bytes(weights.read_bytes()[:50_000_000])
    page = tmp_path / "page.pt"
    page.write_text("<html>Not found</html>")
    other = tmp_path / "other.pt"
    torch.save({"tags": TAGS, "weight": torch.zeros(3)}, other)

    for path in (half, page, other):
        with pytest.raises(WeightsInvalid, match="does not hold the weights of DeepDanbooru") as caught:
            load_danbooru(path, device="cpu")
        assert str(path) in caught.value.message
    tagless = tmp_path / "tagless.pt"
    torch.save(torch.load(weights) | {"tags": []}, tagless)
    with pytest.raises(WeightsInvalid, match="names no tags"):
        load_danbooru(tagless, device="cpu")
    tagless.unlink()


def test_a_missing_file_names_the_ways_out(tmp_path):
    """A configured file that is absent is never replaced by a download."""
    with pytest.raises(WeightsMissing, match=r"absent\.pt does not exist") as caught:
        load_danbooru(tmp_path / "absent.pt", device="cpu")
    assert "DANBOORU_WEIGHTS" in caught.value.hint


def test_without_a_network_the_error_comes_at_once(tmp_path):
    """Nothing configured, nothing in the cache, no way to the network: one error, and no half file."""
    code = """
from lemmy_safety.detectors.clip.heads.horde.danbooru import load_danbooru
from lemmy_safety.errors import WeightsMissing
try:
    load_danbooru(None, device="cpu")
except WeightsMissing as error:
    print(error)
"""
    # A proxy that refuses connections cuts the process off, on machines with a network too.
    environ = {"HF_HOME": str(tmp_path), "HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=os.environ | environ | {"NO_PROXY": "", "no_proxy": ""},
    )

    assert "cannot be fetched" in done.stdout
    assert "DANBOORU=false" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_scores_of_a_random_model_are_probabilities(weights):
    """The loaded model answers a score for every tag."""
    model = load_danbooru(weights, device="cpu")

    scores = model.evaluate_tensor(torch.zeros(1, 128, 128, 3))

    assert len(scores) >= len(TAGS)
    assert np.all((scores >= 0) & (scores <= 1))
