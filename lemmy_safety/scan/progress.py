"""What a pass counts while it runs and reports when it ends."""

from __future__ import annotations

import operator
import re
import threading
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from lemmy_safety.pictrs.deletions import what_may_return, what_remains, why_it_came_back
from lemmy_safety.records import ActionState, ItemStatus, Outcome, PassSoFar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import time

    from lemmy_safety.actions import ActionReport
    from lemmy_safety.records import Assessment, Finding, ItemResult, ScreenStatistics

#: Statuses whose reasons are counted one by one in the summary; the others are failures that are retried.
_UNREADABLE = (ItemStatus.UNREADABLE, ItemStatus.UNSUPPORTED, ItemStatus.TOO_LARGE, ItemStatus.GONE)


_NUMBER = re.compile(r"\d+")

#: Most distinct reasons counted per status. Further ones are only recorded with their objects.
_MOST_REASONS = 200


class Reason(NamedTuple):
    """Why objects have no verdict: the text of one of them, and how many have the same reason."""

    text: str
    number: int


_COUNTED: Mapping[ActionState, str] = {
    ActionState.DONE: "acted",
    ActionState.REFUSED: "refused",
    ActionState.FAILED: "action_failed",
    ActionState.INTENDED: "action_postponed",
}


#: By the value of ``actions.Wait``.
_WAITS_FOR: Mapping[str, str] = {"breaker": "held", "person": "asks"}


_OF_PICTRS = ("asks", "removing", "purged", "aliases", "as_files", "came_back")


@dataclass(frozen=True, slots=True, kw_only=True)
class PassCounts:
    """A snapshot of a running pass. All are numbers of objects, except those of bytes and of seconds.

    ``seen`` were listed, and have ``bytes_seen`` together; ``bytes_read`` were read, ``bytes_done`` is the size of what is
    ``done``; ``skipped`` needed nothing (known and unchanged), ``checked`` have a verdict of this pass,
    of which ``reused`` have that of the same bytes under another key. ``variants`` are other sizes of pictures that are
    judged clear, and were not read. ``acted`` were deleted (or found gone).
    ``unreadable`` counts by reason class, ``failed`` by status; the latter are retried in the next pass. ``reasons``
    has the most common reason of each status in these two, except for objects that were gone. ``waiting`` were still
    being written when the pass ended. Of the other objects with an action, ``refused`` had changed since they were
    judged, ``action_failed`` were refused by the storage (permissions, object lock), and ``action_postponed`` could not
    be reached; all are retried. ``held`` wait for a person: the circuit breaker is tripped. ``asks`` wait for a person to
    decide about each. ``removing``: pict-rs accepted the request and was not done. Of those acted on, ``purged`` were
    removed through pict-rs, with ``aliases`` names together; ``as_files`` were only deleted, although pict-rs was asked;
    ``came_back`` had been removed before, as copies of pictures on the hosts ``origins``. ``flagged_by`` counts
    flagged objects by detector. ``paused_s`` of the ``seconds`` were spent in pauses; ``paused_until`` is the local time
    at which the one that lasts now ends.
    """

    seen: int = 0
    skipped: int = 0
    variants: int = 0
    checked: int = 0
    reused: int = 0
    flagged: int = 0
    borderline: int = 0
    acted: int = 0
    refused: int = 0
    action_failed: int = 0
    action_postponed: int = 0
    held: int = 0
    asks: int = 0
    removing: int = 0
    purged: int = 0
    aliases: int = 0
    as_files: int = 0
    came_back: int = 0
    origins: tuple[str, ...] = ()
    waiting: int = 0
    unreadable: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, Reason] = field(default_factory=dict)
    flagged_by: Mapping[str, int] = field(default_factory=dict)
    bytes_seen: int = 0
    bytes_read: int = 0
    bytes_done: int = 0
    seconds: float = 0.0
    paused_s: float = 0.0
    paused_until: time | None = None

    @property
    def done(self) -> int:
        """Objects that this pass has finished, with or without a verdict; without those that it skipped, and variants."""
        return self.checked + sum(self.unreadable.values()) + sum(self.failed.values())

    @property
    def under_way(self) -> int:
        """Objects that were listed and have to be read, and are not finished."""
        return max(0, self.seen - self.skipped - self.variants - self.waiting - self.done)

    @property
    def images_per_s(self) -> float:
        """Objects judged or found unreadable per second of the whole pass, without its pauses."""
        done = self.checked + sum(self.unreadable.values())
        worked_s = self.seconds - self.paused_s
        return done / worked_s if worked_s > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PassSummary(PassCounts):
    """The end of a pass. ``complete``: nothing listed was left out; ``stopped``: a signal ended it.

    ``screen`` is what the fast screen did in this pass; None without one, or if no frame reached it. ``notes`` are
    sentences about the behaviour of the storage's server that an admin should know. ``stuck`` counts open actions that
    were repeatedly refused as changed, although the bytes are the same. Only keys that start with ``prefix`` were listed.
    ``tells_pictrs``: pict-rs is told what is removed.
    """

    run_id: int
    kind: str
    dry_run: bool
    detectors: tuple[str, ...]
    complete: bool
    stopped: bool
    screen: ScreenStatistics | None = None
    notes: tuple[str, ...] = ()
    stuck: int = 0
    prefix: str = ""
    tells_pictrs: bool = False

    @property
    def not_carried_out(self) -> int:
        """Actions that a person has to know about: the storage refused them, or they could not be done."""
        return self.action_failed + self.action_postponed + self.stuck

    @property
    def about_pictrs(self) -> tuple[str, ...]:
        """Sentences that an admin must know about what pict-rs does after this pass."""
        remains = what_remains(self.acted) if self.acted and not self.tells_pictrs else ""
        may_return = what_may_return(self.as_files) if self.as_files else ""
        came_back = why_it_came_back(self.came_back, self.origins) if self.came_back else ""
        return tuple(filter(None, (remains, may_return, came_back)))

    def with_actions(self, counts: PassCounts) -> PassSummary:
        """The summary with the outcome of actions that this pass held back, and that were carried out after it."""
        numbers = {name: getattr(self, name) + getattr(counts, name) for name in (*_COUNTED.values(), *_OF_PICTRS)}
        taken = sum(getattr(counts, name) for name in (*_COUNTED.values(), "asks", "removing"))
        return replace(self, **numbers, origins=counts.origins, held=max(0, self.held - taken))

    def as_dict(self) -> dict[str, object]:
        """The summary as plain JSON types; stored with the run and printed by ``--json``."""
        return {
            "run": self.run_id,
            "kind": self.kind,
            "dry_run": self.dry_run,
            "detectors": list(self.detectors),
            "complete": self.complete,
            "stopped": self.stopped,
            "seen": self.seen,
            "skipped": self.skipped,
            "variants": self.variants,
            "checked": self.checked,
            "reused": self.reused,
            "flagged": self.flagged,
            "borderline": self.borderline,
            "acted": self.acted,
            "refused": self.refused,
            "action_failed": self.action_failed,
            "action_postponed": self.action_postponed,
            "stuck": self.stuck,
            "held": self.held,
            "asks": self.asks,
            "removing": self.removing,
            "purged": self.purged,
            "aliases": self.aliases,
            "as_files": self.as_files,
            "came_back": self.came_back,
            "origins": list(self.origins),
            "flagged_by": dict(self.flagged_by),
            "waiting": self.waiting,
            "unreadable": dict(self.unreadable),
            "failed": dict(self.failed),
            "reasons": {status: reason._asdict() for status, reason in self.reasons.items()},
            "prefix": self.prefix,
            "bytes_seen": self.bytes_seen,
            "bytes_read": self.bytes_read,
            "seconds": round(self.seconds, 3),
            "paused_s": round(self.paused_s, 3),
            "images_per_s": round(self.images_per_s, 3),
            "screen": asdict(self.screen) if self.screen else None,
            "notes": list(self.notes),
        }


class Bottleneck(StrEnum):
    """The stage that the rest of a pass waits for."""

    LISTING = "listing"
    FETCHING = "fetching"
    RATE = "LEMMY_SAFETY_MAX_MBIT"
    """Fetching, which may not be faster."""
    DECODING = "decoding"
    JUDGING = "judging"
    RECORDING = "recording"


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """How much a pass lists, and how much of that it has to read: ``to_read`` is None if unknown.

    ``is_exact``: counted for this pass; otherwise the numbers are those of an earlier one.
    """

    objects: int
    size: int
    to_read: int | None
    size_to_read: int | None
    is_exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is still to come. ``total`` and ``seconds_left`` are None while unknown.

    ``bytes_per_s`` is the recent rate of reading, ``bottleneck`` the stage that has lately limited the pass.
    """

    total: Total | None = None
    seconds_left: float | None = None
    bytes_per_s: float | None = None
    bottleneck: Bottleneck | None = None


class ProgressListener(Protocol):
    """Watches a pass. Called several times a second from one thread; must return quickly."""

    def update(self, counts: PassCounts, outlook: Outlook) -> None: ...


class PassCounter:
    """The running counts; safe from any thread. ``flags`` says whether a finding alone flags its object."""

    def __init__(self, flags: Callable[[Finding], bool] = operator.attrgetter("hit")) -> None:
        self._flags = flags
        self._flagged_by: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._numbers: Counter[str] = Counter()
        self._unreadable: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._reasons: dict[str, dict[str, Reason]] = {}
        self._origins: set[str] = set()
        self._paused_s = 0.0
        self._paused_until: time | None = None

    def add(self, name: str, number: int = 1) -> None:
        """``name`` is one of the integer fields of ``PassCounts``."""
        with self._lock:
            self._numbers[name] += number

    def pause(self, until: time | None) -> None:
        """A pause lasts until this local time; None: it is over."""
        with self._lock:
            self._paused_until = until

    def add_pause(self, seconds: float) -> None:
        with self._lock:
            self._paused_s += seconds

    def add_result(self, result: ItemResult) -> None:
        """Count one recorded object."""
        verdict, status = result.assessment.verdict, result.assessment.status
        with self._lock:
            if status is ItemStatus.VARIANT:
                self._numbers["variants"] += 1
                return
            self._numbers["bytes_done"] += result.obj.size
            if verdict is not None:
                self._numbers["checked"] += 1
                self._numbers["reused"] += result.reused_from is not None
                self._numbers["flagged"] += verdict.outcome is Outcome.FLAGGED
                self._numbers["borderline"] += verdict.outcome is Outcome.BORDERLINE
                if verdict.outcome is Outcome.FLAGGED:
                    self._flagged_by.update({one.detector for one in verdict.findings if self._flags(one)})
                return
            counted = self._unreadable if status in _UNREADABLE else self._failed
            counted[status.value] += 1
            if status is not ItemStatus.GONE:
                self._count_reason(result.obj.key, result.assessment)

    def _count_reason(self, key: str, assessment: Assessment) -> None:
        """Keys and numbers, which differ from object to object, do not make a separate reason."""
        kind = _NUMBER.sub("0", assessment.reason.replace(key, "KEY"))
        known = self._reasons.setdefault(assessment.status.value, {})
        if kind in known:
            known[kind] = known[kind]._replace(number=known[kind].number + 1)
        elif len(known) < _MOST_REASONS:
            known[kind] = Reason(assessment.reason, 1)

    def add_action(self, report: ActionReport) -> None:
        """Count how an action ended, or whom it waits for; not one that only waits, as nothing went wrong there."""
        result = report.result
        if result.elsewhere:
            return
        name = _COUNTED.get(result.state) if result.wait is None else _WAITS_FOR.get(result.wait.value)
        with self._lock:
            if name is not None:
                self._numbers[name] += 1
            if result.state is ActionState.DONE:
                self._numbers["purged"] += result.aliases > 0
                self._numbers["aliases"] += result.aliases
                self._numbers["as_files"] += result.as_file
                self._numbers["came_back"] += result.came_back
                self._origins.update(result.origins if result.came_back else ())

    def so_far(self, run_id: int) -> PassSoFar:
        """What the circuit breaker has to know about the pass."""
        with self._lock:
            return PassSoFar(run_id=run_id, judged=self._numbers["checked"], flagged_by=dict(self._flagged_by))

    def snapshot(self, seconds: float) -> PassCounts:
        with self._lock:
            return PassCounts(
                **self._numbers,
                unreadable=dict(self._unreadable),
                failed=dict(self._failed),
                reasons={
                    status: max(known.values(), key=lambda reason: reason.number)
                    for status, known in sorted(self._reasons.items())
                },
                flagged_by=dict(self._flagged_by),
                origins=tuple(sorted(self._origins)),
                seconds=seconds,
                paused_s=self._paused_s,
                paused_until=self._paused_until,
            )
