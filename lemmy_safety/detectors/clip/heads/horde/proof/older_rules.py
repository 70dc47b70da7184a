"""The proof for horde_safety's older rules (``check_for_csam``), called without a prompt as in the legacy tool.

What they do: similarities of some words are shifted, always or if a control word is similar enough; words over their
limits are counted; three young words and a lewd one make a hit, and a critical word counts twice more. The words,
limits
and shifts are public tables of the package and are read from there. The proof does the same with intervals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lemmy_safety.detectors.clip.heads.base import ProofUnavailable, Proven
from lemmy_safety.detectors.clip.heads.horde.labels import NSFW
from lemmy_safety.detectors.clip.heads.horde.proof.base import Limits, RulesProof

if TYPE_CHECKING:
    import numpy.typing as npt

    from lemmy_safety.detectors.clip.heads.horde.rules import HordeRules

#: What fp32 and the order of additions may differ by; these rules do not round.
_ROUNDING = 1e-6

#: Young words that make a hit together with a lewd one, and for how many of them a critical one is enough alone.
_YOUNG_WORDS = 3
_CRITICAL_COUNTS = 2


class OlderRulesProof(RulesProof):
    """See the module. ``learn`` makes one from the package's tables."""

    def __init__(self, words: tuple[str, ...], tables: Any) -> None:
        self.words = words
        place = {word: number for number, word in enumerate(words)}

        def limits(table: dict[str, float]) -> Limits:
            return Limits.of([(place[word], limit) for word, limit in table.items()])

        self._young = limits(tables.UNDERAGE_CONTEXT)
        self._critical = limits(tables.UNDERAGE_CRITICAL)
        self._lewd = limits(tables.LEWD_CONTEXT)
        self._always = [(place[word], shift) for word, shift in tables.NSFW_MODEL_ADJUSTMENTS]
        self._controls = [
            (
                place[control["control"][0]],
                float(control["control"][1]),
                [(place[word], shift, _exempting(tables, place, word)) for word, shift in control["adjustments"]],
            )
            for control in tables.CONTROL_WORD_ADJUSTMENTS
        ]
        shifts = dict(self._always)
        self.limits = (
            self._young,
            self._critical,
            self._lewd,
            Limits.of([(word, limit) for word, limit, _ in self._controls]),
            # The limits from which words count after shifting.
            *(
                Limits(group.places, group.values - np.array([shifts.get(int(word), 0.0) for word in group.places]))
                for group in (self._young, self._critical, self._lewd)
            ),
        )

    @classmethod
    def learn(cls, rules: HordeRules) -> OlderRulesProof:
        """Read the package's tables.

        :raises ProofUnavailable: DeepDanbooru takes part, and its answer changes the verdict.
        """
        if rules.needs_image:
            raise ProofUnavailable("DeepDanbooru has a say in the older rules' verdicts")
        from horde_safety import csam_checker  # noqa: PLC0415 - imported by rules.py, which sets it up

        return cls(rules.words(), csam_checker)

    def between(self, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> Proven:
        low, high = low - _ROUNDING, high + _ROUNDING
        for word, shift in self._always:
            low[:, word] += shift
            high[:, word] += shift
        for control, limit, shifts in self._controls:
            may, must = high[:, control] > limit, low[:, control] > limit
            for word, shift, exempting in shifts:
                may_here, must_here = may, must
                if exempting is not None:
                    other, over = exempting
                    may_here, must_here = may & ~(low[:, other] > over), must & ~(high[:, other] > over)
                low[:, word] += shift * (must_here if shift > 0 else may_here)
                high[:, word] += shift * (may_here if shift > 0 else must_here)
        young = self._young.reached(high) + _CRITICAL_COUNTS * self._critical.reached(high)
        lewd = self._lewd.reached(high) > 0
        return Proven(~((young >= _YOUNG_WORDS) & lewd), {NSFW: lewd}, {NSFW: self._lewd.reached(low) > 0})


def _exempting(tables: Any, place: dict[str, int], word: str) -> tuple[int, float] | None:
    """The word that, beyond a limit, keeps ``word`` from being shifted; None if there is none."""
    if word not in tables.PAIRS:
        return None
    return place[tables.PAIRS[word]], float(tables.UNDERAGE_CONTEXT[word])
