"""The proof for horde_safety's present rules (``NSFWChecker.check_for_nsfw``).

How they determine the verdict: similarities are rounded to four digits; a picture is a drawing or a
photo; a subject is under-age if one word reaches a high limit or two words reach lower ones, which differ between
drawings and photos. Two words with the same meaning count once; the proof ignores this, because it only lowers the
count.
The limits are found by running the rules, word by word, so that only the package contains them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lemmy_safety.detectors.clip.heads.base import ProofUnavailable, Proven
from lemmy_safety.detectors.clip.heads.horde.labels import NSFW
from lemmy_safety.detectors.clip.heads.horde.proof.base import Limits, RulesProof

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    import numpy.typing as npt

    from lemmy_safety.detectors.clip.heads.horde.rules import HordeRules

#: The rules round similarities to four digits; limits are searched in these steps.
_STEPS = 10_000

#: How much rounding may raise a similarity, and how much the same word may differ between two lists (fp32).
_ROUNDING = 0.5 / _STEPS + 1e-6

#: Similarity of a word that should count as much as possible.
_TOP = _STEPS

#: Words to try in pairs with others; more than one, because some pairs count as one word.
_PARTNERS = 3


class NewRulesProof(RulesProof):
    """See the module. ``learn`` makes one from the rules."""

    def __init__(  # noqa: PLR0913 - the parts of the rules that it bounds
        self,
        words: tuple[str, ...],
        *,
        alone: Limits,
        pairs_in_photos: Limits,
        pairs_in_drawings: Limits,
        drawing: Limits,
        subject: Limits,
        nudity_in_photos: Limits,
        nudity_in_drawings: Limits,
        has_danbooru: bool,
    ) -> None:
        self.words = words
        self.limits = (
            alone,
            pairs_in_photos,
            pairs_in_drawings,
            drawing,
            subject,
            nudity_in_photos,
            nudity_in_drawings,
        )
        self._alone = alone
        self._pairs_in_photos = pairs_in_photos
        self._pairs_in_drawings = pairs_in_drawings
        self._drawing = drawing
        self._subject = subject
        self._nudity_in_photos = nudity_in_photos
        self._nudity_in_drawings = nudity_in_drawings
        self._has_danbooru = has_danbooru

    @classmethod
    def learn(cls, rules: HordeRules) -> NewRulesProof:
        """Find the rules' limits, with about 3,000 calls of a quarter of a millisecond.

        :raises ProofUnavailable: such limits do not explain their answers.
        """
        words = rules.words()
        place = {word: number for number, word in enumerate(words)}
        checker = rules.checker

        def limits(of: Mapping[str, float]) -> Limits:
            return Limits.of([(place[word], limit) for word, limit in of.items()])

        drawing = dict(checker.anime_cartoon_predicates)
        concepts = dict(checker.all_nsfw_concepts)
        for_drawings = {word: limit for word, limit in checker.nsfw_post_anime_concepts.items() if word in concepts}
        photo = _Probe(rules, words, drawing, {}).limits()
        drawn = _Probe(rules, words, drawing, {next(iter(drawing)): _TOP // 2}).limits()
        return cls(
            words,
            alone=Limits.of(
                [(place[word], _below(steps)) for word, steps in _lowest(photo.alone, drawn.alone).items()]
            ),
            pairs_in_photos=Limits.of([(place[word], _below(steps)) for word, steps in photo.paired.items()]),
            pairs_in_drawings=Limits.of([(place[word], _below(steps)) for word, steps in drawn.paired.items()]),
            drawing=limits(drawing),
            subject=limits(checker.all_predicates),
            nudity_in_photos=limits(concepts),
            nudity_in_drawings=limits(for_drawings),
            has_danbooru=rules.needs_image,
        )

    def between(self, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> Proven:
        low, high = low - _ROUNDING, high + _ROUNDING
        # A drawing may be reclassified as a photo (by words, or by DeepDanbooru), so it is never certain to be one.
        may_be_drawing = self._drawing.reached(high) > 0
        underage = self._alone.reached(high) > 0
        underage |= self._pairs_in_photos.reached(high) > 1
        underage |= may_be_drawing & (self._pairs_in_drawings.reached(high) > 1)
        in_photo, in_drawing = self._nudity_in_photos, self._nudity_in_drawings
        possible = (in_photo.reached(high) > 0) | (may_be_drawing & (in_drawing.reached(high) > 0))
        certain = (in_photo.reached(low) > 0) & (~may_be_drawing | (in_drawing.reached(low) > 0))
        possible &= self._subject.reached(high) > 0
        certain &= self._subject.reached(low) > 0
        if self._has_danbooru:
            possible |= may_be_drawing
        return Proven(~underage, {NSFW: possible}, {NSFW: certain})


@dataclass(frozen=True)
class _Found:
    """The lowest steps at which words make a subject under-age: alone, and together with another one."""

    alone: dict[str, int]
    paired: dict[str, int]


class _Probe:
    """Runs the rules on pictures in which all but a few words have similarity zero, with ``always`` as given."""

    def __init__(
        self, rules: HordeRules, words: tuple[str, ...], drawing: Mapping[str, float], always: Mapping[str, int]
    ) -> None:
        self._rules = rules
        self._words = words
        self._nothing = dict.fromkeys(words, 0.0)
        self._always = always
        # A word that means drawing changes which limits apply; its effect is tested in its own state.
        self._asked = [word for word in words if word not in drawing]
        if bool(always) != self._answer({}).is_anime or self._is_underage({}):
            raise ProofUnavailable("horde_safety tells drawings from photos in another way")

    def limits(self) -> _Found:
        alone: dict[str, int] = {}
        for word in self._asked:
            if self._is_underage({word: _TOP}):
                alone[word] = self._lowest_step(word, {}, _TOP, alone.values())
        below = {word: alone[word] - 1 if word in alone else _TOP for word in self._asked}
        partners = self._partners([word for word in self._asked if word in alone], below)
        if not partners:
            raise ProofUnavailable("no two words of horde_safety count together")
        paired: dict[str, int] = {}
        silent = [word for word in self._asked if word not in alone]
        if not any(self._is_underage({**dict.fromkeys(silent, _TOP), word: below[word]}) for word in partners):
            silent_too = set(silent)
        else:
            silent_too = set()
        for word in self._asked:
            if word in silent_too:
                continue
            for partner in partners:
                with_it = {partner: below[partner]}
                if partner != word and self._is_underage({**with_it, word: below[word]}):
                    paired[word] = self._lowest_step(word, with_it, below[word], paired.values())
                    break
        corner = {**dict.fromkeys(silent_too, _TOP), **{word: steps - 1 for word, steps in (alone | paired).items()}}
        if self._is_underage(corner):
            raise ProofUnavailable("horde_safety finds under-age subjects below all of its limits")
        return _Found(alone, paired)

    def _partners(self, candidates: list[str], below: Mapping[str, int]) -> list[str]:
        """Words that count together with others, found as the first that do so with one another."""
        for word in candidates:
            others = [other for other in candidates if other != word]
            fitting = [
                other for other in others[: 2 * _PARTNERS] if self._is_underage({w: below[w] for w in (word, other)})
            ]
            if fitting:
                return [word, *fitting][:_PARTNERS]
        return []

    def _lowest_step(self, word: str, others: Mapping[str, int], top: int, known: Iterable[int]) -> int:
        """The lowest step at which ``word`` makes the subject under-age, given that ``top`` does."""
        for guess in dict.fromkeys(known):
            # Many words share a limit: two calls instead of fourteen.
            if guess <= top and self._is_underage({**others, word: guess}):
                top = guess
                if not self._is_underage({**others, word: guess - 1}):
                    return guess
        low = 0
        while top - low > 1:
            middle = (low + top) // 2
            if self._is_underage({**others, word: middle}):
                top = middle
            else:
                low = middle
        return top

    def _is_underage(self, steps: Mapping[str, int]) -> bool:
        return bool(self._answer(steps).is_underage_subject)

    def _answer(self, steps: Mapping[str, int]) -> Any:
        given = {word: step / _STEPS for word, step in {**self._always, **steps}.items()}
        return self._rules.judge_similarities({**self._nothing, **given}).reference


def _lowest(*found: Mapping[str, int]) -> dict[str, int]:
    words = dict.fromkeys(word for each in found for word in each)
    return {word: min(each[word] for each in found if word in each) for word in words}


def _below(steps: int) -> float:
    """The similarity above which a word counts that does so from this step on; ``Limits`` compares with ``>``."""
    return (steps - 1e-3) / _STEPS
