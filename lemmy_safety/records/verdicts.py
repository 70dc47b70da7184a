"""Findings of detectors, the verdict that the policy makes of them, and what a verdict is still good by."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Outcome(StrEnum):
    """The policy's answer for one object. ``FLAGGED`` means *possible*, never *proven*."""

    CLEAR = "clear"
    BORDERLINE = "borderline"
    FLAGGED = "flagged"


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The worst of them; CLEAR where there is none."""
    return max(outcomes, key=tuple(Outcome).index, default=Outcome.CLEAR)


class Domain(StrEnum):
    """What is looked for. Other versions may know more of them, so records hold their names as text."""

    CSAM = "csam"


#: What the name of a domain looks like, in this version and others.
DOMAIN_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")


#: Domains of one verdict, at most.
MOST_DOMAINS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing a detector says of a sample.

    A finding with a threshold is a *hit* when ``score >= threshold``; one without is information only.
    ``label`` is from the detector's own closed set; ``details`` must be JSON-serialisable. ``frame``, ``at_s`` and
    ``view`` are those of the frame that it is about.
    """

    detector: str
    version: str
    label: str
    score: float
    threshold: float | None = None
    frame: int = 0
    at_s: float | None = None
    view: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hit(self) -> bool:
        return self.threshold is not None and self.score >= self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The policy's judgement of one object. ``nsfw`` is None when no detector that can tell has run.

    ``outcomes`` has one outcome for each domain that the rules judge, by the domain's name, and cannot be changed.
    ``outcome`` is the worst of those domains that may lead to an action, CLEAR where there is none: the one that lists,
    actions and refusals follow. Without ``outcomes`` it is the outcome of ``csam``.
    """

    outcome: Outcome
    nsfw: bool | None
    findings: tuple[Finding, ...]
    rules_version: str
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """:raises ValueError: no domain has this outcome, or they are too many, or not names of domains."""
        outcomes = dict(self.outcomes) or {Domain.CSAM.value: self.outcome}
        if self.outcome is not Outcome.CLEAR and self.outcome not in outcomes.values():
            raise ValueError("an outcome that no domain has")
        if len(outcomes) > MOST_DOMAINS or not all(map(DOMAIN_NAME.fullmatch, outcomes)):
            raise ValueError("not the names of domains")
        object.__setattr__(self, "outcomes", MappingProxyType(outcomes))

    @property
    def is_csam_alone(self) -> bool:
        """Whether ``outcome`` says all that ``outcomes`` does."""
        return self.outcomes == {Domain.CSAM: self.outcome}

    def as_dict(self) -> dict[str, Any]:
        """As ``Assessment.as_dict``."""
        return {
            "outcome": self.outcome,
            "outcomes": dict(self.outcomes),
            "nsfw": self.nsfw,
            "findings": [asdict(finding) for finding in self.findings],
            "rules_version": self.rules_version,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruleset:
    """What is judged by now, and so which earlier verdicts are still good.

    ``rules_version`` changes with the policy, with the version of any of the ``detectors``, and with the ``decoder``.
    ``decoder`` is its version, which changes with its limits too. ``names_matter``: what an object is called can change its
    outcome, so a verdict on the same bytes may not hold under another name.
    """

    detectors: frozenset[str]
    decoder: str
    rules_version: str
    names_matter: bool = False

    def allows(self, detectors: frozenset[str], rules_version: str) -> bool:
        """Whether a verdict by these detectors and rules is still good: by no fewer detectors, and by the same rules."""
        return self.detectors <= detectors and self.rules_version == rules_version
