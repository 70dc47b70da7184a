"""Findings to one verdict. Pure: no clock, no settings, no model, and no memory of other objects.

What a label *means* is decided in the table below and nowhere else; detectors only say what they saw. A finding counts
when it is a hit (its score reached its detector's threshold); all others are kept as information.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from lemmy_safety.records import AnomalyKind, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from lemmy_safety.records import Finding

# Raise when judge() itself works differently; a change of the table shows in the version by itself.
_RULES_NUMBER: Final = 1


class Effect(StrEnum):
    """What a hit does to the verdict."""

    FLAG = "flag"
    """The object is flagged: possible illegal material, and the configured action follows."""
    BORDERLINE = "borderline"
    """One half of a flag is there. Recorded so that new rules can be replayed and people can look at samples; nothing
    acts on it and lists of flagged objects leave it out, because most of what is borderline is family photos."""
    NSFW = "nsfw"
    """Fills the nsfw column; changes no outcome."""
    RECORD = "record"
    """Kept in the findings, nothing else; also what happens to labels that have no rule."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A table of rules, (detector, label) -> effects of a hit. Labels without a rule are only recorded."""

    rules: Mapping[tuple[str, str], frozenset[Effect]]
    rules_version: str = field(init=False)
    """Short and stable; another text means that the same findings can give another verdict."""

    def __post_init__(self) -> None:
        table = {rule: frozenset(effects) for rule, effects in self.rules.items()}
        rows = sorted([*rule, *sorted(effects)] for rule, effects in table.items())
        digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
        object.__setattr__(self, "rules", MappingProxyType(table))
        object.__setattr__(self, "rules_version", f"{_RULES_NUMBER}-{digest[:12]}")

    def judge(self, findings: Sequence[Finding], *, ran: frozenset[str]) -> Verdict:
        """One verdict for one object.

        The outcome is the worst that any hit of any frame brings. ``nsfw`` is True when a hit says so, False when a
        detector that could have said so is in ``ran`` (the names of those that judged the object), else None.
        The verdict holds all findings in one fixed order, whatever order they came in.
        """
        effects: set[Effect] = set()
        for finding in findings:
            if finding.hit:
                effects |= self.rules.get((finding.detector, finding.label), frozenset())
        outcome = Outcome.CLEAR
        if Effect.FLAG in effects:
            outcome = Outcome.FLAGGED
        elif Effect.BORDERLINE in effects:
            outcome = Outcome.BORDERLINE
        nsfw = True if Effect.NSFW in effects else (False if ran & self._nsfw_detectors() else None)
        ordered = tuple(sorted(findings, key=_fixed_order))
        return Verdict(outcome=outcome, nsfw=nsfw, findings=ordered, rules_version=self.rules_version)

    def flags(self, finding: Finding) -> bool:
        """Whether this finding alone flags its object."""
        return finding.hit and Effect.FLAG in self.rules.get((finding.detector, finding.label), frozenset())

    @property
    def judges_names(self) -> bool:
        """Whether what an object is called can change its outcome; everything else is in its bytes."""
        return bool(self.rules.get((MEDIA, AnomalyKind.LYING_EXTENSION)))

    def _nsfw_detectors(self) -> frozenset[str]:
        return frozenset(detector for (detector, _), effects in self.rules.items() if Effect.NSFW in effects)


def _fixed_order(finding: Finding) -> tuple[str, str, int, float, str, str, str]:
    return (
        finding.detector,
        finding.label,
        finding.frame,
        -finding.score,
        finding.version,
        repr(finding.threshold),
        json.dumps(dict(finding.details), sort_keys=True),
    )


# The classes of NudeNet 3 that are nudity by themselves. Its covered classes, feet,
# bellies, armpits, faces and male chests are recorded without effect.
_NUDITY: Final = (
    "ANUS_EXPOSED",
    "BUTTOCKS_EXPOSED",
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
)


#: What the media room says of a file takes part in the policy under this name, as if a detector had said it.
MEDIA: Final = "media"


def build_policy(*, nudenet_flags: bool, anomaly_flags: Collection[str] = ()) -> Policy:
    """The product's rules.

    - hashes: the canary and every entry of the SHA-256 and PDQ lists flag.
    - clip: ``csam`` (under-age and sexual together, as ``horde_safety`` decides) flags; ``underage_subject`` without
      it is borderline; ``nsfw`` fills the nsfw column.
    - nudenet: exposed nudity fills the nsfw column; with ``nudenet_flags`` it flags as well.
    - media: anomalies of the file itself, by ``AnomalyKind``, flag where an admin named them in ``anomaly_flags``.
    """
    rules: dict[tuple[str, str], frozenset[Effect]] = {
        ("hashes", "canary"): frozenset({Effect.FLAG}),
        ("hashes", "sha256-list"): frozenset({Effect.FLAG}),
        ("hashes", "pdq-list"): frozenset({Effect.FLAG}),
        ("clip", "csam"): frozenset({Effect.FLAG}),
        ("clip", "underage_subject"): frozenset({Effect.BORDERLINE}),
        ("clip", "nsfw"): frozenset({Effect.NSFW}),
    }
    nudity = frozenset({Effect.NSFW, Effect.FLAG} if nudenet_flags else {Effect.NSFW})
    rules.update({("nudenet", label): nudity for label in _NUDITY})
    rules.update({(MEDIA, kind): frozenset({Effect.FLAG}) for kind in anomaly_flags})
    return Policy(rules)
