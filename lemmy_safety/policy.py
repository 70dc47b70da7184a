"""Findings to one verdict. Pure: no clock, no settings, no model, and no memory of other objects.

Only the table below decides what a label *means*; detectors only report what they saw. A finding counts
when it is a hit (its score reached its detector's threshold); all others are kept as information.

Each rule judges one domain, and a verdict has an outcome for each. Only those in ``Policy.acts_in`` may lead to an
action: lists, actions and refusals follow ``Verdict.outcome``, which is the worst of these.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from lemmy_safety.records import DOMAIN_NAME, MOST_DOMAINS, AnomalyKind, Domain, Outcome, Verdict, worst

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any

    from lemmy_safety.records import Finding

# Increase when judge() itself changes; a change of the table changes the version automatically.
_RULES_NUMBER: Final = 1


class Effect(StrEnum):
    """What a hit does to the verdict."""

    FLAG = "flag"
    """The object is flagged in the rule's domain; the configured action follows if the domain may lead to one."""
    BORDERLINE = "borderline"
    """Half of a flag is present. Recorded so that new rules can be replayed and people can check samples. No action
    follows, and lists of flagged objects omit it, because most borderline pictures are family photos.
    """
    NSFW = "nsfw"
    """Fills the nsfw column; changes no outcome."""
    RECORD = "record"
    """Kept in the findings, nothing else; also what happens to labels that have no rule."""


#: The domains that may lead to an action.
ACTS_IN: Final[frozenset[str]] = frozenset({Domain.CSAM.value})


@dataclass(frozen=True, slots=True)
class Rule:
    """What a hit does, and in which domain: any name that matches ``DOMAIN_NAME``."""

    effects: frozenset[Effect]
    domain: str = Domain.CSAM


@dataclass(frozen=True, slots=True)
class Policy:
    """A table of rules, (detector, label) -> what a hit does. Labels without a rule are only recorded."""

    rules: Mapping[tuple[str, str], Rule]
    acts_in: frozenset[str] = ACTS_IN
    rules_version: str = field(init=False)
    """Short and stable; if it differs, the same findings may give another verdict."""
    domains: frozenset[str] = field(init=False)
    """The domains that are judged: ``csam``, and those of the rules."""

    def __post_init__(self) -> None:
        """:raises ValueError: a domain's name is invalid, or there are too many."""
        domains = frozenset({Domain.CSAM.value, *(rule.domain for rule in self.rules.values())})
        if len(domains) > MOST_DOMAINS or not all(map(DOMAIN_NAME.fullmatch, domains | self.acts_in)):
            raise ValueError(
                f"not names of at most {MOST_DOMAINS} domains: {', '.join(sorted(domains | self.acts_in))}"
            )
        object.__setattr__(self, "rules", MappingProxyType(dict(self.rules)))
        object.__setattr__(self, "domains", domains)
        object.__setattr__(self, "rules_version", f"{_RULES_NUMBER}-{self._digest()[:12]}")

    def _digest(self) -> str:
        """The table's digest. What has not changed since before domains is omitted, so that version is stable."""
        rows: list[list[Any]] = sorted([*key, *sorted(rule.effects)] for key, rule in self.rules.items())
        elsewhere = sorted([*key, rule.domain] for key, rule in self.rules.items() if rule.domain != Domain.CSAM)
        acts_in = [] if self.acts_in == {Domain.CSAM} else [sorted(self.acts_in)]
        told: Any = {"rules": rows, "domains": elsewhere, "acts_in": acts_in} if elsewhere or acts_in else rows
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def judge(self, findings: Sequence[Finding], *, ran: frozenset[str]) -> Verdict:
        """One verdict for one object.

        The outcome in a domain is the worst of any hit on any frame. ``nsfw`` is True if a hit says so, False if a
        detector that could have said so is in ``ran`` (the names of those that judged the object), else None. The
        verdict holds all findings in a fixed order, independent of their input order.
        """
        found = [self.rules.get((finding.detector, finding.label)) for finding in findings if finding.hit]
        rules = [rule for rule in found if rule is not None]
        outcomes = {
            domain: worst(_outcome(rule) for rule in rules if rule.domain == domain) for domain in sorted(self.domains)
        }
        says_nsfw = any(Effect.NSFW in rule.effects for rule in rules)
        return Verdict(
            outcome=worst(outcomes[domain] for domain in self.domains & self.acts_in),
            outcomes=outcomes,
            nsfw=True if says_nsfw else (False if ran & self._nsfw_detectors() else None),
            findings=tuple(sorted(findings, key=_fixed_order)),
            rules_version=self.rules_version,
        )

    def flags(self, finding: Finding) -> bool:
        """Whether this finding alone flags its object, in a domain that may lead to an action."""
        rule = self.rules.get((finding.detector, finding.label))
        return finding.hit and rule is not None and Effect.FLAG in rule.effects and rule.domain in self.acts_in

    @property
    def judges_names(self) -> bool:
        """Whether an object's name can change its outcome; everything else is in its bytes."""
        rule = self.rules.get((MEDIA, AnomalyKind.LYING_EXTENSION))
        return rule is not None and bool(rule.effects)

    def _nsfw_detectors(self) -> frozenset[str]:
        return frozenset(detector for (detector, _), rule in self.rules.items() if Effect.NSFW in rule.effects)


def _outcome(rule: Rule) -> Outcome:
    if Effect.FLAG in rule.effects:
        return Outcome.FLAGGED
    return Outcome.BORDERLINE if Effect.BORDERLINE in rule.effects else Outcome.CLEAR


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


# The classes of NudeNet 3 that alone mean nudity. Its covered classes, feet, bellies, armpits, faces and male chests
# are recorded without effect.
_NUDITY: Final = (
    "ANUS_EXPOSED",
    "BUTTOCKS_EXPOSED",
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
)


#: Findings of ``media`` about a file enter the policy under this name, as if from a detector.
MEDIA: Final = "media"


def build_policy(*, nudenet_flags: bool, anomaly_flags: Collection[str] = ()) -> Policy:
    """The product's rules, all of the domain ``csam``.

    - hashes: the canary and every entry of the SHA-256 and PDQ lists flag.
    - clip: ``csam`` (under-age and sexual together, as ``horde_safety`` decides) flags; ``underage_subject`` without
      it is borderline; ``nsfw`` fills the nsfw column.
    - nudenet: exposed nudity fills the nsfw column; with ``nudenet_flags`` it flags as well.
    - media: anomalies of the file itself, by ``AnomalyKind``, flag if an admin listed them in ``anomaly_flags``.
    """
    flag = Rule(frozenset({Effect.FLAG}))
    rules = {
        ("hashes", "canary"): flag,
        ("hashes", "sha256-list"): flag,
        ("hashes", "pdq-list"): flag,
        ("clip", "csam"): flag,
        ("clip", "underage_subject"): Rule(frozenset({Effect.BORDERLINE})),
        ("clip", "nsfw"): Rule(frozenset({Effect.NSFW})),
    }
    nudity = Rule(frozenset({Effect.NSFW, Effect.FLAG} if nudenet_flags else {Effect.NSFW}))
    rules.update({("nudenet", label): nudity for label in _NUDITY})
    rules.update({(MEDIA, kind): flag for kind in anomaly_flags})
    return Policy(rules)
