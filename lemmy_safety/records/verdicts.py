"""Findings of detectors, the policy's verdict on them, and the rules under which a verdict stays valid."""

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
    """The worst of them; CLEAR if there are none."""
    return max(outcomes, key=tuple(Outcome).index, default=Outcome.CLEAR)


class Domain(StrEnum):
    """What we look for. Other versions may know more domains, so records hold their names as text."""

    CSAM = "csam"


#: The form of a domain's name, in this version and others.
DOMAIN_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")


#: Most domains of one verdict.
MOST_DOMAINS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing a detector reports about a sample.

    A finding with a threshold is a *hit* if ``score >= threshold``; one without is only information.
    ``label`` is from the detector's own closed set; ``details`` must be JSON-serialisable. ``frame``, ``at_s`` and
    ``view`` are those of its frame.
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
    """The policy's judgement of one object. ``nsfw`` is None if no detector that can judge it has run.

    ``outcomes`` has one outcome for each domain that the rules judge, by the domain's name, and is immutable.
    ``outcome`` is the worst of the domains that may lead to an action, CLEAR if there are none; lists, actions and
    refusals follow it. Without ``outcomes`` it is the outcome of ``csam``.
    """

    outcome: Outcome
    nsfw: bool | None
    findings: tuple[Finding, ...]
    rules_version: str
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """:raises ValueError: no domain has this outcome, or there are too many domains, or their names are invalid."""
        outcomes = dict(self.outcomes) or {Domain.CSAM.value: self.outcome}
        if self.outcome is not Outcome.CLEAR and self.outcome not in outcomes.values():
            raise ValueError("an outcome that no domain has")
        if len(outcomes) > MOST_DOMAINS or not all(map(DOMAIN_NAME.fullmatch, outcomes)):
            raise ValueError("not the names of domains")
        object.__setattr__(self, "outcomes", MappingProxyType(outcomes))

    @property
    def is_csam_alone(self) -> bool:
        """Whether ``outcome`` holds everything that ``outcomes`` does."""
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
    """The current rules, which decide which earlier verdicts are still valid.

    ``rules_version`` changes with the policy, with the version of any of the ``detectors``, and with the ``decoder``.
    ``decoder`` is its version, which changes with its limits too. ``names_matter``: an object's name can change its
    outcome, so a verdict on the same bytes may be invalid under another name.
    """

    detectors: frozenset[str]
    decoder: str
    rules_version: str
    names_matter: bool = False

    def allows(self, detectors: frozenset[str], rules_version: str) -> bool:
        """Whether a verdict by these detectors and rules is still valid: by at least ours, and by the same rules."""
        return self.detectors <= detectors and self.rules_version == rules_version
