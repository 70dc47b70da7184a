"""Hours in which long work leaves the line alone: periods of local time, as a clock on the wall shows it.

Only what that clock shows counts. In the night in which it jumps ahead, a pause of 01:00-04:00 lasts two hours; in the
night in which it is set back, four; and one of 02:15-02:45 happens twice then, or not at all. Nothing is remembered, so a
clock that is set has its effect at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import time
from typing import TYPE_CHECKING

from lemmy_safety.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, tzinfo

_DAY_MIN = 24 * 60
_PERIOD = re.compile(r"([0-9]{1,2}):([0-9]{2})\s*+-\s*+([0-9]{1,2}):([0-9]{2})", re.ASCII)

#: A zone with its rules written out, such as ``CET-1CEST,M3.5.0,M10.5.0/3`` or ``<+03>-3`` (POSIX.1, chapter 8.3).
_RULES = re.compile(r"(<[A-Za-z0-9+-]{3,9}+>|[A-Za-z]{3,9}+)[+-]?[0-9]", re.ASCII)


class BadPeriods(ValueError):
    """``why`` is the end of a sentence that begins with "the value"."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Period:
    """In minutes since midnight. ``begins`` belongs to it, ``ends`` does not; it may last over midnight."""

    begins: int
    ends: int

    def minutes(self) -> Iterable[int]:
        last = self.ends if self.ends > self.begins else self.ends + _DAY_MIN
        return (minute % _DAY_MIN for minute in range(self.begins, last))

    def __contains__(self, minute: int) -> bool:
        if self.begins < self.ends:
            return self.begins <= minute < self.ends
        return minute >= self.begins or minute < self.ends


@dataclass(frozen=True, slots=True)
class Pauses:
    """The periods, and the zone of their times; without a zone that of this machine."""

    periods: tuple[Period, ...] = ()
    zone: tzinfo | None = None

    def until(self, moment: datetime) -> time | None:
        """The local time at which the pause ends that this moment (aware) is in; None outside of pauses."""
        if not self.periods:
            return None
        local = moment.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        ends = None
        while period := next((each for each in self.periods if minute in each), None):
            minute = ends = period.ends
        return None if ends is None else time(ends // 60, ends % 60)


def parse_pauses(items: Iterable[str]) -> tuple[Period, ...]:
    """Periods such as ``22:00-07:00``.

    :raises BadPeriods: ``why`` is what is wrong.
    """
    periods = []
    taken: set[int] = set()
    for item in items:
        period = _parse(item)
        overlap = next((minute for minute in period.minutes() if minute in taken), None)
        if overlap is not None:
            raise BadPeriods(f"has two periods that overlap at {overlap // 60:02}:{overlap % 60:02}")
        taken.update(period.minutes())
        periods.append(period)
    if len(taken) == _DAY_MIN:
        raise BadPeriods("covers the whole day, so that nothing would ever be swept")
    return tuple(periods)


def _parse(item: str) -> Period:
    match = _PERIOD.fullmatch(item)
    if match is None:
        raise BadPeriods(f"has a part {item!r}, which is not a period of time")
    times = []
    for hour, minute in (match.group(1, 2), match.group(3, 4)):
        if int(hour) > 23 or int(minute) > 59:  # noqa: PLR2004
            raise BadPeriods(f"has a time {hour}:{minute}, which does not exist")
        times.append(int(hour) * 60 + int(minute))
    begins, ends = times
    if begins == ends:
        raise BadPeriods(f"has a period {item!r}, which ends when it begins")
    return Period(begins, ends)


def why_no_pauses(text: str) -> str | None:
    """What is wrong with a list of periods, separated by commas; None if it can be used."""
    try:
        parse_pauses(part.strip() for part in text.split(",") if part.strip())
    except BadPeriods as error:
        return error.why
    return None


def zone_named(name: str | None) -> tzinfo | None:
    """The zone that the variable ``TZ`` means; None for that of this machine.

    The system's own library takes a name that it does not know for UTC, without a word.

    :raises SettingsError: the zone is unknown here.
    """
    name = (name or "").removeprefix(":")
    if not name or name.startswith("/"):
        return None
    import zoneinfo  # noqa: PLC0415 - every command loads this module, and few need a zone

    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        if _RULES.match(name):
            return None
    raise SettingsError(
        f"TZ: the time zone {name!r} is not known here.",
        hint="Names are like Europe/Berlin. If it is spelled right, install the system's time zones (package tzdata).",
    )
