"""The circuit breaker in front of every action: a rule or a model gone wrong must not empty a store.

Most of what is flagged is innocent, about 230 for each true match, and a faulty hash list or threshold flags thousands. So
actions are counted, in the ledger, over all processes that use it. Past a limit the breaker trips: nothing more is
carried out, everything stays recorded as intended, and only a person can reset it (``lemmy-safety resume``). The idea,
and the 200 a day, come from the moderation engine of Bluesky (indigo, ``automod/engine``), which calls it a quota.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lemmy_safety.ledger import BreakerState, Ledger, Turn
    from lemmy_safety.records import PassSoFar

log = logging.getLogger(__name__)

#: A share of fewer objects than this is not meaningful yet: 2 % of them are 20.
LEAST_JUDGED = 1_000

#: A detector is compared with its share of this many objects judged in earlier passes.
_COMPARED_WITH = 10_000

#: A detector may flag this many times its usual share, once it has flagged ``_ENOUGH_FLAGS`` in the pass.
_TIMES_USUAL = 10
_ENOUGH_FLAGS = 20


class Limit(StrEnum):
    """Why the breaker tripped."""

    FIRST = "first_actions"
    DAY = "per_day"
    SHARE = "share_of_pass"
    DETECTOR = "detector"
    PERSON = "person"
    """A person said no when asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionLimits:
    """How many different pictures may be acted on without a person.

    ``first`` in total, until a person has decided once on this ledger; ``per_day`` from midnight to midnight UTC;
    ``share`` within a pass, in percent of the objects judged so far, but at least of ``LEAST_JUDGED``.
    """

    first: int = 20
    per_day: int = 200
    share: float = 2.0


class CircuitBreaker:
    """Asked before each action."""

    def __init__(self, ledger: Ledger, limits: ActionLimits) -> None:
        self._ledger = ledger
        self._limits = limits
        self._usual: tuple[int, Mapping[str, int]] | None = None
        self._usual_for: int | None = None
        self._said = False

    def admits(self, action_id: int, so_far: PassSoFar | None) -> bool:
        """Whether this action is wanted and may be carried out now; if so, its start is on disk.

        ``so_far`` is None outside a pass. Actions approved by a person always pass and never count. The same bytes
        count once a day, and an action that was already started does not count again.
        """
        if self.holds(action_id):
            return False
        usual = None if so_far is None else self._usual_shares(so_far.run_id)
        with self._ledger.breaker.turn(action_id) as turn:
            if not turn.is_wanted:
                return False
            if not turn.is_approved:
                if turn.state.is_tripped:
                    return False
                exceeded = self._exceeded(turn, so_far, usual)
                if exceeded is not None:
                    limit, reason = exceeded
                    turn.trip(limit, reason, None if so_far is None else so_far.run_id)
                    log.error(
                        "the circuit breaker tripped: %s. Nothing more is deleted until 'lemmy-safety resume'", reason
                    )
                    self._said = True
                    return False
            turn.start(None if so_far is None else so_far.run_id)
        return True

    def admits_repair(self, purge_id: int, *, approved: bool) -> bool:
        """Whether ``repair`` may remove this picture now; if so, its start is on disk.

        It counts like an action, because people's names for the picture go with it. But it never trips the breaker:
        the file is gone already, and what flags pictures is not involved. ``approved``: a person approved exactly this.
        """
        with self._ledger.breaker.repair_turn(purge_id) as turn:
            if not (approved or turn.was_started or self._left(turn.state, turn.started(midnight(turn.now))) > 0):
                return False
            turn.start(approved=approved)
        return True

    def holds(self, action_id: int) -> bool:
        """Whether the breaker is tripped and no person approved exactly this action."""
        held = self._ledger.breaker.holds(action_id)
        if held:
            self._warn_that_it_is_tripped()
        return held

    def room(self) -> int:
        """How many different pictures could be acted on now without a person, outside a pass."""
        breaker = self._ledger.breaker
        return self._left(breaker.state(), breaker.started(midnight(self._ledger.database.now())))

    def _left(self, state: BreakerState, started: tuple[int, int]) -> int:
        if state.is_tripped:
            return 0
        today, in_all = started
        left = self._limits.per_day - today
        if state.decided_at is None:
            left = min(left, self._limits.first - in_all)
        return max(0, left)

    def _exceeded(
        self, turn: Turn, so_far: PassSoFar | None, usual: tuple[int, Mapping[str, int]] | None
    ) -> tuple[Limit, str] | None:
        today = midnight(turn.now)
        if turn.was_started or turn.is_counted_since(today):
            return None
        limits = self._limits
        if turn.state.decided_at is None and turn.started_in_all() >= limits.first:
            return Limit.FIRST, (
                f"{_plural(limits.first, 'action')} were carried out with this database, "
                "and no person has reviewed the flags yet"
            )
        if turn.started_since(today) >= limits.per_day:
            return Limit.DAY, f"{_plural(limits.per_day, 'action')} were carried out today (UTC)"
        if so_far is not None and usual is not None:
            allowed = allowed_in_pass(so_far.judged, limits.share)
            if turn.started_in_pass(so_far.run_id) >= allowed:
                return Limit.SHARE, (
                    f"this pass acted on {_plural(allowed, 'object')}, "
                    f"{limits.share:g} % of {max(LEAST_JUDGED, so_far.judged):,}"
                )
            if (unusual := unusual_detector(so_far, *usual)) is not None:
                return Limit.DETECTOR, unusual
        return None

    def _usual_shares(self, run_id: int) -> tuple[int, Mapping[str, int]]:
        if self._usual is None or self._usual_for != run_id:
            self._usual, self._usual_for = self._ledger.breaker.recent_shares(_COMPARED_WITH), run_id
            self._said = False
        return self._usual

    def _warn_that_it_is_tripped(self) -> None:
        if not self._said:
            self._said = True
            state = self._ledger.breaker.state()
            log.warning("the circuit breaker is tripped: %s. See 'lemmy-safety resume'", state.reason)


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def midnight(moment: datetime) -> datetime:
    """When the day of an aware UTC time began."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def allowed_in_pass(judged: int, share: float) -> int:
    """How many objects a pass may act on after judging ``judged``; ``share`` in percent. At least one."""
    return max(1, int(max(LEAST_JUDGED, judged) * share / 100))


def unusual_detector(so_far: PassSoFar, judged: int, flagged: Mapping[str, int]) -> str | None:
    """Describes a detector that flags more than ten times its share of earlier objects; None if there is none.

    ``judged`` and ``flagged`` are of earlier passes. Fewer than ``LEAST_JUDGED`` are too few to compare with. A
    detector that flagged nothing there counts as if it had flagged one.
    """
    if judged < LEAST_JUDGED or not so_far.judged:
        return None
    for detector, number in sorted(so_far.flagged_by.items()):
        before = max(1, flagged.get(detector, 0))
        if number >= _ENOUGH_FLAGS and number * judged > _TIMES_USUAL * before * so_far.judged:
            return (
                f"{detector} flagged {number:,} of {so_far.judged:,} objects in this pass, "
                f"and {flagged.get(detector, 0):,} of {judged:,} before"
            )
    return None
