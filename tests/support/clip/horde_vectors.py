"""Similarity vectors drawn around the thresholds of horde_safety's rules, and a stand-in interrogator to judge them.

Run ``python -m support.clip.horde_vectors 100000`` (with ``tests`` on the path) to compare our way through the rules with
the package's own on any number of vectors and to see how many verdicts of each kind there were. Words and thresholds
are taken from the package; nothing here says what they are.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from horde_safety import csam_checker
from horde_safety.nsfw_checker_class import NSFWAnimeScores, NSFWChecker
from PIL import Image

from lemmy_safety.detectors.clip.heads.horde.rules import HordeResult, HordeRules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PICTURE = Image.new("RGB", (2, 2))


class TableInterrogator:
    """Answers similarities from a table, one word at a time: another way to the same numbers than ours."""

    def __init__(self) -> None:
        self.table: dict[str, float] = {}

    def image_to_features(self, image: Image.Image) -> None:
        pass

    def similarities(self, image_features: None, text_array: Sequence[str]) -> list[float]:  # noqa: ARG002
        return [self.table[word] for word in text_array]


class TableDanbooru:
    """Stands in for DeepDanbooru: says of every picture what it was told to say, and counts how often it was asked."""

    def __init__(self) -> None:
        self.tags = [
            NSFWAnimeScores.safe_score_key,
            NSFWAnimeScores.questionable_score_key,
            NSFWAnimeScores.explicit_score_key,
            "realistic",
            "outdoors",
        ]
        self.scores = np.zeros(len(self.tags), dtype=np.float32)
        self.asked = 0

    def evaluate_tensor(self, tensor_to_evaluate: torch.Tensor) -> np.ndarray:  # noqa: ARG002
        self.asked += 1
        return self.scores


@dataclass(frozen=True)
class Group:
    """Words that a branch of the rules looks at together, by their places in the vector, with their thresholds."""

    places: np.ndarray
    thresholds: np.ndarray


class PlantedRules:
    """Our rules and the package's own, judging the same similarity vectors.

    The vector itself is the picture's feature, and each word's text feature is the unit vector of its place: the
    product is then the vector's entry, exactly.
    """

    def __init__(self, *, use_new_safety: bool, danbooru: TableDanbooru | None = None) -> None:
        self.use_new_safety = use_new_safety
        self._danbooru = danbooru
        self.rules = HordeRules(use_new_safety=use_new_safety, danbooru_model=danbooru)
        self.words = self.rules.words()
        place = {word: number for number, word in enumerate(self.words)}
        unit = torch.eye(len(self.words))
        self.rules.use_text_features({words: unit[[place[word] for word in words]] for words in self.rules.word_lists})
        self._interrogator = TableInterrogator()
        self._checker = NSFWChecker(self._interrogator, danbooru)
        self.groups = [
            Group(np.array([place[word] for word in group]), np.array(list(group.values()), dtype=np.float64))
            for group in (self._new_groups() if use_new_safety else self._older_groups())
        ]

    def _new_groups(self) -> list[dict[str, float]]:
        checker = self._checker
        predicates = checker.all_predicates
        prefixed = {
            word: limit
            for word, limit in predicates.items()
            if word not in checker.all_human_predicates
            and any(word.endswith(tail) for tail in checker.underage_predicates)
        }
        photos = {word: 0.24 for word in predicates if "photo" in word}
        return [
            predicates,
            checker.anime_cartoon_predicates,
            # Anime close to its thresholds is taken back when something looks like a photo.
            dict.fromkeys(checker.anime_cartoon_predicates, 0.208),
            photos,
            checker.all_human_predicates,
            checker.underage_predicates,
            prefixed,
            checker.underage_danger_concepts,
            checker.nsfw_predicates,
            checker.all_nsfw_concepts,
            {
                word: limit
                for word, limit in checker.nsfw_post_anime_concepts.items()
                if word in checker.all_nsfw_concepts
            },
        ]

    def _older_groups(self) -> list[dict[str, float]]:
        controls = dict(row["control"] for row in csam_checker.CONTROL_WORD_ADJUSTMENTS)
        nudged = {word: csam_checker.LEWD_CONTEXT[word] - by for word, by in csam_checker.NSFW_MODEL_ADJUSTMENTS}
        drawings = {word: 0.2 for word in self._checker.anime_cartoon_predicates if word in self.words}
        return [
            {**drawings, **csam_checker.UNDERAGE_CONTEXT, **csam_checker.LEWD_CONTEXT, **controls},
            csam_checker.UNDERAGE_CONTEXT,
            csam_checker.UNDERAGE_CRITICAL,
            csam_checker.LEWD_CONTEXT,
            nudged,
            controls,
            *([drawings] if self._danbooru else []),
        ]

    def vectors(self, count: int, *, seed: int) -> Iterator[np.ndarray]:
        """``count`` vectors, float32: a quiet background, over which some groups come near or over their limits."""
        draw = np.random.default_rng(seed)
        base = np.zeros(len(self.words))
        base[self.groups[0].places] = self.groups[0].thresholds
        if self.use_new_safety:
            concepts = self.groups[-2]
            base[concepts.places] = concepts.thresholds
        for _ in range(count):
            vector = base - draw.uniform(0.004, 0.09) + draw.normal(0, draw.choice([0.001, 0.004, 0.012]), len(base))
            for group in self.groups[1:]:
                if draw.random() < 0.7:
                    continue
                few = draw.permutation(len(group.places))[: draw.integers(1, 5)]
                # Rules round to four digits: half a step around a limit is where a sloppy sum would show.
                near = draw.uniform(-0.00012, 0.00012, len(few)), draw.uniform(-0.005, 0.05, len(few))
                vector[group.places[few]] = group.thresholds[few] + near[draw.integers(2)]
            yield vector.astype(np.float32)

    def ours(self, vector: np.ndarray) -> HordeResult:
        return self.rules.judge(torch.from_numpy(vector), PICTURE)

    def theirs(self, vector: np.ndarray) -> Any:
        """What the package answers when it is called directly, as the ancestor tool does."""
        self._interrogator.table = {word: float(value) for word, value in zip(self.words, vector, strict=True)}
        if self.use_new_safety:
            return self._checker.check_for_nsfw(PICTURE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            checker = self._checker if self._danbooru else None
            return csam_checker.check_for_csam(
                self._interrogator, PICTURE, "", {"nsfw": True, "tags": []}, nsfw_checker=checker
            )

    def agree(self, ours: HordeResult, theirs: Any) -> bool:
        """Whether all fields are equal, to the last bit, and our labels say what the package's fields say."""
        if self.use_new_safety:
            flags = {"csam": theirs.is_csam, "underage_subject": theirs.is_underage_subject, "nsfw": theirs.is_nsfw}
        else:
            flags = {"csam": theirs[0], "nsfw": bool(theirs[2]["found_lewd"])}
        return ours.reference == theirs and set(ours.hits) == {label for label, applies in flags.items() if applies}

    def kind(self, theirs: Any) -> str:
        """Which way through the rules led to this answer."""
        if not self.use_new_safety:
            is_csam, _, found = theirs
            critical = any(row.get("critical") for row in found["found_uc"])
            subject = "young" if len(found["found_uc"]) >= 3 else "some young words" if found["found_uc"] else "adult"
            verdict = "CSAM" if is_csam else "lewd" if found["found_lewd"] else "clean"
            adjusted = any(row["adjustments"] for row in (*found["found_uc"], *found["found_lewd"]))
            return f"{verdict}, {subject}{', critical' if critical else ''}{', control word' if adjusted else ''}"
        verdict = (
            "CSAM"
            if theirs.is_csam
            else "underage"
            if theirs.is_underage_subject
            else "nsfw"
            if theirs.is_nsfw
            else "none"
        )
        limits = self._checker._combined_underage_danger_concepts
        at_once = any(theirs.all_predicate_scores[word] > limit for word, limit in limits.items())
        way = "" if not theirs.is_underage_subject else ", at once" if at_once else ", second pass"
        return f"{verdict}{way}, {'drawing' if theirs.is_anime else 'photo'}"


def compare(count: int, *, use_new_safety: bool, seed: int) -> tuple[int, Counter[str]]:
    """How many of ``count`` vectors are judged differently, and how many answers there were of each kind."""
    planted = PlantedRules(use_new_safety=use_new_safety)
    kinds: Counter[str] = Counter()
    disagreements = 0
    for vector in planted.vectors(count, seed=seed):
        theirs = planted.theirs(vector)
        disagreements += not planted.agree(planted.ours(vector), theirs)
        kinds[planted.kind(theirs)] += 1
    return disagreements, kinds


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    for use_new_safety in (True, False):
        disagreements, kinds = compare(count, use_new_safety=use_new_safety, seed=1)
        sys.stdout.write(f"new rules: {use_new_safety}; {count} vectors, seed 1; disagreements: {disagreements}\n")
        for kind, number in sorted(kinds.items()):
            sys.stdout.write(f"  {number:8d}  {kind}\n")


if __name__ == "__main__":
    main()
