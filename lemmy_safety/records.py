"""The nouns every room speaks: frozen records and the enumerations stored in the ledger.

This room imports no other room and no heavy library, so that every door can name these records for free.
Words are those of ``docs/architecture.md``: an *object* lies in a storage, *frames* are decoded from it,
*findings* are what detectors say of them, a *verdict* is what the policy makes of the findings.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    import numpy.typing as npt

UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""When an object was modified, where a storage does not say it. Servers without a time send this one themselves."""


class ItemStatus(StrEnum):
    """What became of one object in a pass. Only ``CHECKED`` objects have a verdict; none of the others is one."""

    CHECKED = "checked"
    """Read, decoded and judged by every selected detector."""
    UNREADABLE = "unreadable"
    """The bytes are there, but no decoder makes a picture of them (0 bytes, damaged, a text file)."""
    UNSUPPORTED = "unsupported"
    """A medium that this installation does not decode (yet, or without an extra)."""
    TOO_LARGE = "too_large"
    """Over a limit (bytes or pixels) before anything was decoded."""
    GONE = "gone"
    """Vanished between listing and reading; pict-rs removes variants by itself."""
    DENIED = "denied"
    """The storage refused this one object; tried again in the next pass."""
    FETCH_FAILED = "fetch_failed"
    """The storage could not be read for a passing reason; tried again in the next pass."""
    DETECTOR_FAILED = "detector_failed"
    """A detector could not judge it; tried again in the next pass."""

    @property
    def settled(self) -> bool:
        """Whether a later pass may skip an unchanged object with this status."""
        return self in _SETTLED


_SETTLED = frozenset(
    {ItemStatus.CHECKED, ItemStatus.UNREADABLE, ItemStatus.UNSUPPORTED, ItemStatus.TOO_LARGE, ItemStatus.GONE}
)

#: Final without a verdict, for the decoder that tried.
UNDECODED = frozenset({ItemStatus.UNREADABLE, ItemStatus.UNSUPPORTED, ItemStatus.TOO_LARGE})


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


class ActionState(StrEnum):
    """How far the action wanted for a flagged object has come."""

    NONE = "none"
    """Nothing wanted: not flagged, or flagged in a dry run or under ACTION=report."""
    INTENDED = "intended"
    """Decided and on disk, not yet known to be carried out; finished at the next start."""
    DONE = "done"
    """Carried out (an object that was already gone counts: nothing is left to do)."""
    REFUSED = "refused"
    """Not carried out because the object is no longer the one that was judged; it will be judged anew."""
    FAILED = "failed"
    """The storage refused for good (no permission); listed in ``flagged`` until it works."""
    UNKNOWN = "unknown"
    """Imported from the legacy database, which did not say whether it acted."""
    DROPPED = "dropped"
    """Intended once and no longer wanted: the object was judged again, or a person cleared it."""


class Review(StrEnum):
    """What a human decided about a flagged object."""

    NONE = "none"
    CLEARED = "cleared"
    CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One object as a storage lists it.

    ``key`` is relative to the storage's root with ``/`` between its parts, on every system. ``size`` is in bytes,
    ``modified_at`` is aware UTC, or ``UNKNOWN_TIME``; ``etag`` is the server's entity tag without quotes (S3 only).
    """

    key: str
    size: int
    modified_at: datetime
    etag: str | None = None

    def modified_since(self, since: datetime) -> bool:
        """Whether it may have been modified at or after ``since``; an object of unknown time may."""
        return self.modified_at >= since or self.modified_at <= UNKNOWN_TIME

    def same_content_as(self, other: StoredObject) -> bool:
        """Whether both descriptions can be of the same bytes.

        Times are compared at whole seconds where one side has no finer one: S3 servers give milliseconds when listing
        and seconds on HEAD, SFTP knows seconds only. Tags are compared only where both sides have one.
        """
        if self.size != other.size:
            return False
        if self.etag is not None and other.etag is not None:
            return self.etag == other.etag
        mine, theirs = self.modified_at, other.modified_at
        if mine.microsecond and theirs.microsecond:
            return mine == theirs
        return mine.replace(microsecond=0) == theirs.replace(microsecond=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pdq:
    """A PDQ perceptual hash (ThreatExchange): 256 bits as 64 hex digits, and its quality 0..100."""

    hex: str
    quality: int


class AnomalyKind(StrEnum):
    """What can be odd about a file beside the pictures that it shows. None of these is a verdict."""

    TRUNCATED = "truncated"
    """It ends too early; what there is of it was judged."""
    DAMAGED = "damaged"
    """Parts of it cannot be decoded; what can be shown of it was judged."""
    FRAMES_LEFT_OUT = "frames_left_out"
    """It shows more different pictures than were looked at."""
    TRAILING_DATA = "trailing_data"
    """Bytes after the end of the picture that no viewer shows."""
    EMBEDDED_PICTURE = "embedded_picture"
    """A second picture inside, or behind the first one; it was judged as well."""
    EMBEDDED_FILE = "embedded_file"
    """A file of another kind inside or behind the picture: an archive, a program, a web page, a document."""
    OVERSIZED_METADATA = "oversized_metadata"
    """Metadata larger than metadata is."""
    OTHER_THUMBNAIL = "other_thumbnail"
    """The embedded preview shows another picture than the file does; it was judged as well."""
    LYING_EXTENSION = "lying_extension"
    """The key's extension names another kind of file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """One oddity. ``detail`` is one line for a person; ``offset`` and ``size`` are in bytes of the stored file."""

    kind: AnomalyKind
    detail: str
    offset: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture as a viewer sees it: orientation applied, transparency composited.

    ``pixels`` has shape (height, width, 3), dtype uint8, RGB, C-contiguous. ``index`` counts the file's frames from 0;
    ``at_s`` is the time in seconds within an animation or video, None for a still. ``view`` says what part or rendering
    of that frame this is, such as ``left end``, ``on a dark page`` or ``picture at byte 48213``; empty for the frame itself.
    ``plain`` frames have nothing on them that a classifier could see.
    """

    pixels: npt.NDArray[np.uint8]
    index: int = 0
    at_s: float | None = None
    view: str = ""
    plain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """What was learned of a medium from its bytes, never from its name.

    ``width`` and ``height`` are the picture's own pixels after orientation (frames may be scaled down),
    ``frame_count`` is how many the file holds, not how many were decoded. ``duration_s`` is the playing time in seconds
    of one round of an animation or video, None for a still or where it is not known.
    """

    media_type: str
    width: int
    height: int
    frame_count: int = 1
    duration_s: float | None = None
    anomalies: tuple[Anomaly, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why no picture could be made of some bytes.

    ``decoder_broke``: the decoder crashed, hung or ran out of memory on them, so what they hold is not known.
    """

    status: ItemStatus
    reason: str
    decoder_broke: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What detectors are given of some bytes: their digest, the frames, and one PDQ hash a frame.

    ``sha256`` is 64 lower-case hex digits of the stored bytes. Without frames, ``refusal`` says why there are none;
    a hash list may know the bytes all the same.
    """

    sha256: str
    info: MediaInfo | None = None
    frames: tuple[Frame, ...] = ()
    pdqs: tuple[Pdq, ...] = ()
    refusal: Refusal | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of its pixels, counted against the budget of decoded frames."""
        return sum(frame.pixels.nbytes for frame in self.frames)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What is known about some bytes, wherever they come from: a storage, an upload, or a worker far away.

    An attempt has a verdict exactly when its ``status`` is CHECKED. ``detectors`` are the names of those that judged.
    ``decoder_broke`` says of unreadable bytes that the decoder crashed, hung or ran out of memory: what they hold is not
    known. ``sha256`` is None where the bytes were never read.
    """

    status: ItemStatus
    reason: str = ""
    sha256: str | None = None
    pdq: Pdq | None = None
    info: MediaInfo | None = None
    verdict: Verdict | None = None
    detectors: frozenset[str] = frozenset()
    decoder_broke: bool = False

    @property
    def outcome(self) -> Outcome | None:
        return None if self.verdict is None else self.verdict.outcome

    @property
    def findings(self) -> tuple[Finding, ...]:
        return () if self.verdict is None else self.verdict.findings

    @property
    def flagged(self) -> bool:
        return self.outcome is Outcome.FLAGGED

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON types (and numbers that need not be finite), for scripts and for other machines."""
        plain = asdict(replace(self, verdict=None))
        plain["verdict"] = None if self.verdict is None else self.verdict.as_dict()
        plain["detectors"] = sorted(self.detectors)
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """What a pass learned of one object; what the ledger records.

    ``reused_from`` is the key whose verdict is used because the bytes are the same.
    """

    obj: StoredObject
    assessment: Assessment
    reused_from: str | None = None


@dataclass(frozen=True, slots=True)
class ActionPlan:
    """The action that is wanted on flagged objects, and on those that no decoder makes a picture of; None: only report.

    The empty plan, ``ActionPlan()``, acts on nothing. A dry run has this one.
    """

    flagged: str | None = None
    unreadable: str | None = None

    def __bool__(self) -> bool:
        return self.flagged is not None or self.unreadable is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassSoFar:
    """What a pass has judged: ``judged`` objects, and by detector how many of them it flagged."""

    run_id: int
    judged: int = 0
    flagged_by: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStatistics:
    """Of one fast encoder that screens before the reference: how many frames it was asked about and cleared; the bound
    on its errors (similarities), the largest error seen, how many times the bound grew and how many errors were beyond it.
    """

    name: str
    screened: int
    cleared: int
    error_bound: float
    largest_error: float
    widenings: int
    exceeded: int
    in_use: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenStatistics:
    """Of all fast encoders together, in frames: ``cleared`` + ``confirmed`` = ``screened``; ``watched`` are of the cleared."""

    screened: int
    cleared: int
    confirmed: int
    watched: int
    stages: tuple[StageStatistics, ...]

    def since(self, earlier: ScreenStatistics | None) -> ScreenStatistics:
        """What came after ``earlier``, which is of the same encoders; bounds and largest errors stay those of now."""
        if earlier is None:
            return self
        return ScreenStatistics(
            screened=self.screened - earlier.screened,
            cleared=self.cleared - earlier.cleared,
            confirmed=self.confirmed - earlier.confirmed,
            watched=self.watched - earlier.watched,
            stages=tuple(
                replace(
                    now,
                    screened=now.screened - before.screened,
                    cleared=now.cleared - before.cleared,
                    widenings=now.widenings - before.widenings,
                    exceeded=now.exceeded - before.exceeded,
                )
                for now, before in zip(self.stages, earlier.stages, strict=True)
            ),
        )
