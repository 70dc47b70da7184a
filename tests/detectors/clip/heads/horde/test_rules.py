"""The reference rules, fed with our features, answer what horde_safety answers by itself."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.clip.horde_vectors import PICTURE, PlantedRules, TableDanbooru, compare

import lemmy_safety.detectors
from lemmy_safety.detectors.clip.heads.horde.labels import LABELS
from lemmy_safety.detectors.clip.heads.horde.rules import HordeRules
from lemmy_safety.errors import DetectorError

# horde_safety deprecates its older rules at every call; the settings decide which ones are used.
pytestmark = pytest.mark.filterwarnings("ignore:check_for_csam is deprecated:DeprecationWarning")


def test_new_rules_agree_with_the_package_on_10000_vectors_around_the_thresholds():
    """10,000 planted vectors: no field of any answer differs, and every way through the rules was taken."""
    disagreements, kinds = compare(10_000, use_new_safety=True, seed=7)

    assert disagreements == 0
    assert set(kinds) == {
        *(
            f"{verdict}, {way}, {medium}"
            for verdict in ("CSAM", "underage")
            for way in ("at once", "second pass")
            for medium in ("photo", "drawing")
        ),
        *(f"{verdict}, {medium}" for verdict in ("nsfw", "none") for medium in ("photo", "drawing")),
    }


def test_older_rules_agree_with_the_package_on_10000_vectors_around_the_thresholds():
    """10,000 planted vectors for check_for_csam: no difference, all verdicts, critical words and control words met."""
    disagreements, kinds = compare(10_000, use_new_safety=False, seed=7)

    assert disagreements == 0
    assert {kind.split(",")[0] for kind in kinds} == {"CSAM", "lewd", "clean"}
    assert any("critical" in kind for kind in kinds)
    assert any("control word" in kind for kind in kinds)
    assert any(kind.startswith("clean, young") for kind in kinds)


@pytest.mark.parametrize("use_new_safety", [True, False])
def test_rules_agree_with_the_package_when_deepdanbooru_has_a_say(use_new_safety):
    """With a second opinion on drawings, which changes some of the answers, every field still equals the package's."""
    danbooru = TableDanbooru()
    planted = PlantedRules(use_new_safety=use_new_safety, danbooru=danbooru)
    draw = np.random.default_rng(11)
    disagreements, changed = 0, 0

    for vector in planted.vectors(1_000, seed=12):
        danbooru.scores = draw.uniform(0, 1, len(danbooru.tags)).astype(np.float32)
        theirs = planted.theirs(vector)
        disagreements += not planted.agree(planted.ours(vector), theirs)
        changed += "rating:" in (theirs.model_dump_json() if use_new_safety else json.dumps(theirs[2]))

    assert disagreements == 0
    assert changed > 50
    assert danbooru.asked > 2 * 50


def test_every_hit_carries_what_the_package_matched():
    """A flagged picture's details are the package's own words and similarities, and can be stored as JSON."""
    planted = PlantedRules(use_new_safety=True)
    for vector in planted.vectors(2_000, seed=1):
        result = planted.ours(vector)
        if "csam" in result.hits:
            break

    assert set(result.hits) == set(LABELS)
    details = json.loads(json.dumps(result.hits["csam"]))
    assert details["csam_predicates_matched"] == result.reference.csam_predicates_matched != {}
    assert details["nsfw_concepts_identified"] == result.reference.nsfw_concepts_identified != {}
    assert details["is_anime"] is result.reference.is_anime


def test_hits_of_the_older_rules_carry_words_similarities_and_thresholds():
    """The older rules' details name each word that was found, how similar it was and from where it counts."""
    planted = PlantedRules(use_new_safety=False)
    for vector in planted.vectors(2_000, seed=1):
        result = planted.ours(vector)
        if "csam" in result.hits:
            break

    details = json.loads(json.dumps(result.hits["csam"]))
    assert len(details["found_uc"]) >= 3
    assert all(row["similarity"] > row["threshold"] for row in (*details["found_uc"], *details["found_lewd"]))
    assert all(value is not None for row in details["found_uc"] for value in row.values())
    assert set(result.hits) == {"csam", "nsfw"}


def test_a_dissimilar_picture_has_no_hits():
    """Features that resemble no word are clear, and leave nothing to record."""
    for use_new_safety in (True, False):
        planted = PlantedRules(use_new_safety=use_new_safety)
        assert dict(planted.rules.judge(torch.zeros(len(planted.words))).hits) == {}


def test_features_may_come_as_a_vector_or_as_one_row():
    """The shape in which a single feature arrives does not matter."""
    planted = PlantedRules(use_new_safety=True)
    vector = torch.from_numpy(next(planted.vectors(1, seed=3)))

    assert planted.rules.judge(vector).reference == planted.rules.judge(vector.unsqueeze(0)).reference


def test_no_answer_from_the_package_is_an_error_and_never_a_verdict(monkeypatch):
    """check_for_nsfw may answer None when DeepDanbooru fails; that picture is not clear."""
    danbooru = TableDanbooru()
    planted = PlantedRules(use_new_safety=True, danbooru=danbooru)
    monkeypatch.setattr(planted.rules._checker, "check_for_nsfw_anime_only", lambda **_: None)
    vector = np.full(len(planted.words), 0.3, dtype=np.float32)

    with pytest.raises(DetectorError, match="could not judge"):
        planted.ours(vector)


def test_deepdanbooru_without_the_picture_is_an_error():
    """DeepDanbooru looks at pixels; judging by features alone would silently leave it out."""
    planted = PlantedRules(use_new_safety=True, danbooru=TableDanbooru())

    with pytest.raises(DetectorError, match="the picture itself"):
        planted.rules.judge(torch.zeros(len(planted.words)))


def test_rules_refuse_to_judge_without_the_features_of_all_their_words():
    """Missing or short text features are refused when they are set, and rules without any never answer."""
    rules = HordeRules(use_new_safety=True)
    first = rules.word_lists[0]

    with pytest.raises(DetectorError, match="missing"):
        rules.use_text_features({first: torch.zeros(len(first), 4)})
    with pytest.raises(DetectorError, match="missing"):
        rules.use_text_features({words: torch.zeros(len(words) - 1, 4) for words in rules.word_lists})
    with pytest.raises(DetectorError, match="were not computed"):
        rules.judge(torch.zeros(4), PICTURE)


def test_each_rule_set_asks_for_its_own_words():
    """The lists come from the package: two for the new rules, one for the older ones, with different digests."""
    new, older = HordeRules(use_new_safety=True), HordeRules(use_new_safety=False)

    assert [len(words) for words in new.word_lists] == [
        len(new.checker.all_predicates),
        len(new.checker.all_nsfw_concepts),
    ]
    assert len(older.word_lists) == 1
    assert new.digest != older.digest
    assert new.digest == HordeRules(use_new_safety=True).digest
    assert len(set(new.words())) == len(new.words())


def test_no_word_of_the_rules_stands_in_our_code():
    """The word lists live in horde_safety alone: none of their entries is a string in the detectors' source."""
    source = "\n".join(path.read_text("utf-8") for path in Path(lemmy_safety.detectors.__path__[0]).glob("*.py"))
    words = {*HordeRules(use_new_safety=True).words(), *HordeRules(use_new_safety=False).words()}
    # Labels are ours and happen to be spelled like words of the list.
    copied = {word for word in words - {"nsfw"} if f'"{word}"' in source or f"'{word}'" in source}

    assert copied == set()


def test_the_picture_is_only_looked_at_by_deepdanbooru():
    """Without DeepDanbooru the answer depends on the features alone."""
    planted = PlantedRules(use_new_safety=True)
    vector = torch.from_numpy(next(planted.vectors(1, seed=5)))
    other = Image.new("RGB", (64, 64), "white")

    assert not planted.rules.needs_image
    assert planted.rules.judge(vector).reference == planted.rules.judge(vector, other).reference
