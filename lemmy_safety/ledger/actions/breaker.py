"""The state of the circuit breaker (one row for all processes) and the counts that it decides by.

``actions/guard.py`` defines the limits and when the breaker trips. Here a decision and its consequences are one
transaction, under the writer's lock, so that several processes cannot exceed a limit together.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from lemmy_safety.ledger.actions.records import BreakerState
from lemmy_safety.ledger.actions.rows import is_approved, is_intended
from lemmy_safety.ledger.schema.columns import clean_text
from lemmy_safety.ledger.schema.tables import actions, breaker, purges, runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection

    from lemmy_safety.ledger.database.database import Database

_ROW = 1

#: Most passes read to find what is usual: a week of a daemon that judges nothing.
_MOST_PASSES = 20_000
_IS_IT = breaker.c.id == _ROW


class Turn:
    """One decision about one action; other processes cannot decide meanwhile."""

    def __init__(self, connection: Connection, action_id: int, now: datetime) -> None:
        self._connection = connection
        self._id = action_id
        self.now = now
        self.state = _state(connection)
        #: False if a person cleared the object, or it was judged again, since the action was queued.
        self.is_wanted = is_intended(connection, action_id)
        row = connection.execute(
            select(actions.c.subject, actions.c.started_at, actions.c.approved_at).where(actions.c.id == action_id)
        ).one()
        self._subject = row.subject
        #: A person approved exactly this action.
        self.is_approved: bool = row.approved_at is not None
        #: It was started before, perhaps by a process that was killed, and is already counted.
        self.was_started: bool = row.started_at is not None

    def started_since(self, moment: datetime) -> int:
        """How many other subjects were acted on at or after that time without a person's approval. Repairs count."""
        return self._count(actions.c.started_at >= moment) + _repairs(self._connection, moment)

    def started_in_all(self) -> int:
        """How many other subjects were ever acted on without a person's approval, since the breaker exists."""
        started = self._count(actions.c.started_at.is_not(None)) - self.state.started_before
        return started + _repairs(self._connection)

    def started_in_pass(self, run_id: int) -> int:
        """How many other subjects that pass acted on without a person's approval."""
        return self._count(actions.c.started_run_id == run_id)

    def is_counted_since(self, moment: datetime) -> bool:
        """Whether the same bytes were acted on at or after that time, under this key or another."""
        query = select(actions.c.id).where(
            actions.c.subject == self._subject, actions.c.started_at >= moment, actions.c.approved_at.is_(None)
        )
        return self._connection.execute(query.limit(1)).first() is not None

    def _count(self, condition: ColumnElement[bool]) -> int:
        query = select(func.count(actions.c.subject.distinct())).where(
            condition,
            actions.c.started_at.is_not(None),
            actions.c.approved_at.is_(None),
            actions.c.subject != self._subject,
        )
        return int(self._connection.execute(query).scalar_one())

    def start(self, run_id: int | None) -> None:
        """Record that it is being carried out now. Only the first time counts."""
        if not self.was_started:
            values = {"started_at": self.now, "started_run_id": run_id}
            self._connection.execute(actions.update().where(actions.c.id == self._id).values(values))

    def trip(self, limit: str, reason: str, run_id: int | None) -> None:
        """Block all actions until a person arms the breaker."""
        _trip(self._connection, limit, reason, run_id, self.now)


class RepairTurn:
    """One decision about one removal that ``repair`` wants; other processes cannot decide meanwhile."""

    def __init__(self, connection: Connection, purge_id: int, now: datetime) -> None:
        self._connection = connection
        self._id = purge_id
        self.now = now
        self.state = _state(connection)
        row = connection.execute(select(purges.c.repair_at).where(purges.c.id == purge_id)).one()
        #: It was started before, perhaps by a process that was killed, and is already counted.
        self.was_started: bool = row.repair_at is not None

    def started(self, since: datetime) -> tuple[int, int]:
        """As ``Breaker.started``."""
        return _started(self._connection, since)

    def start(self, *, approved: bool) -> None:
        """Record that it is being carried out now. ``approved``: a person approved exactly this one."""
        now = {"repair_at": func.coalesce(purges.c.repair_at, self.now)}
        values = {**now, "approved_at": self.now} if approved else now
        self._connection.execute(purges.update().where(purges.c.id == self._id).values(values))


class Breaker:
    """The breaker: tripped or armed, and whether a person has ever decided on this ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def state(self) -> BreakerState:
        with self._database.reading() as connection:
            return _state(connection)

    def holds(self, action_id: int) -> bool:
        """Whether the breaker is tripped and no person approved exactly this action."""
        with self._database.reading() as connection:
            return _state(connection).is_tripped and not is_approved(connection, action_id)

    def is_untouched(self) -> bool:
        """Whether no person has decided yet, it never tripped, and nothing was ever carried out."""
        with self._database.reading() as connection:
            state = _state(connection)
            started = connection.execute(select(actions.c.id).where(actions.c.started_at.is_not(None)).limit(1)).first()
        return state.decided_at is None and not state.is_tripped and started is None

    def started(self, since: datetime) -> tuple[int, int]:
        """How many different subjects were acted on without a person's approval: since that time, and in all.

        Repairs count as well.
        """
        with self._database.reading() as connection:
            return _started(connection, since)

    @contextmanager
    def turn(self, action_id: int) -> Iterator[Turn]:
        """Decide about an action; the decision is on disk when the ``with`` ends."""
        with self._database.writing() as connection:
            yield Turn(connection, action_id, self._database.now())

    @contextmanager
    def repair_turn(self, purge_id: int) -> Iterator[RepairTurn]:
        """Decide about a repair; the decision is on disk when the ``with`` ends."""
        with self._database.writing() as connection:
            yield RepairTurn(connection, purge_id, self._database.now())

    def trip(self, limit: str, reason: str, run_id: int | None = None) -> None:
        """As ``Turn.trip``. Does nothing if it is already tripped."""
        with self._database.writing() as connection:
            if not _state(connection).is_tripped:
                _trip(connection, limit, reason, run_id, self._database.now())

    def arm(self) -> None:
        """Allow actions again, within the limits; a person has decided."""
        with self._database.writing() as connection:
            values = {"tripped_at": None, "limit_name": None, "reason": "", "run_id": None}
            connection.execute(breaker.update().where(_IS_IT).values(values))
            note_decision(connection, self._database.now())

    def note_decision(self) -> None:
        """Record that a person has decided about flags on this ledger; only the first time is kept."""
        with self._database.writing() as connection:
            note_decision(connection, self._database.now())

    def recent_shares(self, most: int) -> tuple[int, Mapping[str, int]]:
        """Count what the latest finished passes judged and what each detector flagged.

        Reads enough passes for at least ``most`` objects, if there are that many. Returns the number of objects judged,
        and the number flagged by each detector.
        """
        judged, flagged = 0, dict[str, int]()
        query = (
            select(runs.c.counts).where(runs.c.finished_at.is_not(None)).order_by(runs.c.id.desc()).limit(_MOST_PASSES)
        )
        with (
            self._database.reading() as connection,
            connection.execute(query.execution_options(yield_per=100)) as result,
        ):
            for counts in result.scalars():
                if judged >= most:
                    break
                if not counts or "flagged_by" not in counts:
                    continue  # of a version that did not count by detector
                judged += counts["checked"]
                for detector, number in counts["flagged_by"].items():
                    flagged[detector] = flagged.get(detector, 0) + number
        return judged, flagged


def note_decision(connection: Connection, now: datetime) -> None:
    connection.execute(breaker.update().where(_IS_IT, breaker.c.decided_at.is_(None)).values(decided_at=now))


def _trip(connection: Connection, limit: str, reason: str, run_id: int | None, now: datetime) -> None:
    values = {"tripped_at": now, "limit_name": limit, "reason": clean_text(reason), "run_id": run_id}
    connection.execute(breaker.update().where(_IS_IT).values(values))


def _started(connection: Connection, since: datetime) -> tuple[int, int]:
    counted = select(func.count(actions.c.subject.distinct())).where(
        actions.c.started_at.is_not(None), actions.c.approved_at.is_(None)
    )
    today = int(connection.execute(counted.where(actions.c.started_at >= since)).scalar_one())
    in_all = int(connection.execute(counted).scalar_one()) - _state(connection).started_before
    return today + _repairs(connection, since), in_all + _repairs(connection)


def _repairs(connection: Connection, since: datetime | None = None) -> int:
    """How many pictures ``repair`` removed without a person's approval."""
    query = select(func.count()).select_from(purges)
    query = query.where(purges.c.repair_at.is_not(None), purges.c.approved_at.is_(None))
    return int(connection.execute(query if since is None else query.where(purges.c.repair_at >= since)).scalar_one())


def _state(connection: Connection) -> BreakerState:
    row = connection.execute(select(breaker).where(_IS_IT)).one()
    return BreakerState(
        tripped_at=row.tripped_at,
        limit=row.limit_name,
        reason=row.reason,
        decided_at=row.decided_at,
        started_before=row.started_before,
    )
