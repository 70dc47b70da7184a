"""Text features are computed once per model, weights and words, and a cache that is lost or broken only costs time."""

import logging

import pytest
import torch
from safetensors import safe_open

from lemmy_safety.detectors.clip.encoders.text_features import TextFeatureCache, words_digest
from lemmy_safety.errors import DetectorError

LISTS = (("a", "b", "c"), ("b", "d"))


class CountingEncoder:
    """Unit vectors that depend on the words, and a count of how many lists were encoded."""

    def __init__(self):
        self.calls = 0

    def __call__(self, words):
        self.calls += 1
        vectors = torch.tensor([[ord(word), 1.0, 2.0] for word in words])
        return vectors / vectors.norm(dim=-1, keepdim=True)


def cache(folder, *, model="tiny", weights="w1"):
    return TextFeatureCache(folder, model=model, weights_digest=weights)


def test_features_are_computed_once_and_then_read(tmp_path):
    """The second start finds equal features for every list without the text model."""
    first, second = CountingEncoder(), CountingEncoder()

    computed = cache(tmp_path / "new" / "folder").get(LISTS, first)
    read = cache(tmp_path / "new" / "folder").get(LISTS, second)

    assert (first.calls, second.calls) == (2, 0)
    assert computed.keys() == read.keys() == set(LISTS)
    assert all(torch.equal(computed[words], read[words]) for words in LISTS)


@pytest.mark.parametrize(
    ("model", "weights", "lists"),
    [
        ("other", "w1", LISTS),
        ("tiny", "w2", LISTS),
        ("tiny", "w1", LISTS[:1]),
        ("tiny", "w1", LISTS[::-1]),
        ("tiny", "w1", (("a", "b"), ("c", "b", "d"))),
    ],
)
def test_another_model_other_weights_or_other_words_are_computed_anew(tmp_path, model, weights, lists):
    """Whatever features depend on is part of the file's identity: no mix-up, and nothing is overwritten."""
    cache(tmp_path).get(LISTS, CountingEncoder())
    encoder = CountingEncoder()

    cache(tmp_path, model=model, weights=weights).get(lists, encoder)

    assert encoder.calls == len(lists)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_cache_holds_no_words(tmp_path):
    """The file has vectors and digests; the words stay in horde_safety."""
    lists = (("unmistakable", "conspicuous"),)
    cache(tmp_path).get(lists, lambda words: torch.eye(2)[: len(words)])

    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    assert b"unmistakable" not in content
    assert b"conspicuous" not in content
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["words"] == words_digest(lists)


@pytest.mark.parametrize(
    "content",
    [b"", b"not a safetensors file", "half", "another identity", "not unit vectors"],
)
def test_a_damaged_cache_is_computed_anew_with_a_warning(tmp_path, caplog, content):
    """Garbage, half a file, a file with another's content or impossible numbers: replaced by good features."""
    good = cache(tmp_path).get(LISTS, CountingEncoder())
    path = cache(tmp_path).path_for(LISTS)
    if content == "half":
        path.write_bytes(path.read_bytes()[:-7])
    elif content == "another identity":
        cache(tmp_path, weights="w2").get(LISTS, CountingEncoder())
        path.write_bytes(cache(tmp_path, weights="w2").path_for(LISTS).read_bytes())
    elif content == "not unit vectors":
        path.write_bytes(path.read_bytes().replace(good[LISTS[0]][0, :1].numpy().tobytes(), b"\0\0\0\x7f"))
    else:
        path.write_bytes(content)
    encoder = CountingEncoder()

    again = cache(tmp_path).get(LISTS, encoder)

    assert encoder.calls == 2
    assert "damaged" in caplog.text
    assert all(torch.equal(good[words], again[words]) for words in LISTS)
    assert cache(tmp_path).get(LISTS, pytest.fail).keys() == set(LISTS)


def test_a_folder_that_cannot_be_written_costs_only_the_cache(tmp_path, caplog):
    """Features are still answered; the warning names the folder and the setting."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")

    features = cache(blocked / "cache").get(LISTS, CountingEncoder())

    assert features.keys() == set(LISTS)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(blocked) in record.getMessage()
    assert "CACHE_DIR" in record.getMessage()


def test_nothing_is_left_behind_when_the_rename_fails(tmp_path, monkeypatch, caplog):
    """A disk that fills up leaves no half file, and the features are still answered."""

    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    features = cache(tmp_path).get(LISTS, CountingEncoder())

    assert features.keys() == set(LISTS)
    assert "No space left" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_features_that_are_not_numbers_are_an_error_and_not_cached(tmp_path):
    """A text model that answers NaN would make every word dissimilar to everything: refused, and not remembered."""
    with pytest.raises(DetectorError, match="not unit vectors"):
        cache(tmp_path).get(LISTS, lambda words: torch.full((len(words), 3), torch.nan))

    assert list(tmp_path.iterdir()) == []
