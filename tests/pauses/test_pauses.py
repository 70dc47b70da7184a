"""Hours of rest: what may be written, and which moments are in a pause, in zones whose clocks jump."""

from __future__ import annotations

import os
import time as system_time
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.errors import SettingsError
from lemmy_safety.pauses import Pauses, Period, parse_pauses, why_no_pauses, zone_named

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Africa/Casablanca"]
DAY_MIN = 24 * 60

zones = st.sampled_from(ZONES)
minutes = st.integers(0, DAY_MIN - 1)
periods = st.tuples(minutes, minutes).filter(lambda ends: ends[0] != ends[1])
moments = st.integers(1_735_689_600, 1_893_456_000).map(lambda second: datetime.fromtimestamp(second, UTC))  # 2025-2029


def written(begins: int, ends: int) -> str:
    return "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (begins, ends))


def covered(begins: int, ends: int) -> set[int]:
    """Every minute of a period, counted from its beginning until its end comes round."""
    inside, minute = set(), begins
    while minute != ends:
        inside.add(minute)
        minute = (minute + 1) % DAY_MIN
    return inside


@given(st.lists(periods, min_size=1, max_size=5))
def test_periods_are_taken_or_refused_for_a_reason(several):
    """Taken unless two share a minute or no minute is left; and then exactly these minutes are in a pause."""
    inside = [covered(*one) for one in several]
    union = set().union(*inside)
    why = why_no_pauses(", ".join(written(*one) for one in several))
    if sum(map(len, inside)) != len(union):
        assert "overlap" in why
    elif len(union) == DAY_MIN:
        assert "whole day" in why
    else:
        assert why is None
        pauses = Pauses(parse_pauses(written(*one) for one in several), UTC)
        midnight = datetime(2026, 6, 1, tzinfo=UTC)
        for minute in {0, DAY_MIN - 1, *(edge for one in several for edge in one)}:
            for near in ((minute - 1) % DAY_MIN, minute):
                until = pauses.until(midnight + timedelta(minutes=near, seconds=59))
                assert (until is not None) == (near in union)
                assert until is None or until.hour * 60 + until.minute not in union


@given(st.text(max_size=20))
def test_no_text_is_more_than_refused(text):
    """Whatever is written: it can be used, or a sentence says what is wrong."""
    why = why_no_pauses(text)
    assert why is None or why.startswith(("has ", "covers "))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("25:00-07:00", "a time 25:00, which does not exist"),
        ("22:00-24:00", "a time 24:00, which does not exist"),
        ("22:60-07:00", "a time 22:60, which does not exist"),
        ("22:00", "a part '22:00', which is not a period of time"),
        ("25:00", "a part '25:00', which is not a period of time"),
        ("22-07", "a part '22-07', which is not a period of time"),
        ("10pm-7am", "a part '10pm-7am', which is not a period of time"),
        ("22:00-07:00-08:00", "a part '22:00-07:00-08:00', which is not a period of time"),
        ("-1:00-07:00", "a part '-1:00-07:00', which is not a period of time"),
        ("22:00-22:00", "a period '22:00-22:00', which ends when it begins"),
        ("22:00-07:00,06:59-08:00", "two periods that overlap at 06:59"),
        ("06:00-08:00,22:00-07:00", "two periods that overlap at 06:00"),
        ("22:00-07:00,22:00-07:00", "two periods that overlap at 22:00"),
        ("00:00-12:00,12:00-00:00", "covers the whole day"),
    ],
)
def test_what_is_wrong_is_said(text, why):
    """The part at fault, and what is wrong with it."""
    assert why in why_no_pauses(text)


def test_periods_that_touch_are_one_pause():
    """The end that is told is that of the last."""
    pauses = Pauses(parse_pauses(["22:00-00:00", "00:00-3:30", "03:30 - 07:00"]), UTC)
    assert pauses.until(datetime(2026, 6, 1, 23, tzinfo=UTC)) == time(7)


def paused_minutes(zone: str, text: str, evening: date) -> list[datetime]:
    """The minutes in a pause, in UTC, of the 24 hours from 18:00 local time on."""
    pauses = Pauses(parse_pauses([text]), ZoneInfo(zone))
    first = datetime.combine(evening, time(18), ZoneInfo(zone)).astimezone(UTC)
    return [
        moment for number in range(DAY_MIN) if pauses.until(moment := first + timedelta(minutes=number)) is not None
    ]


@pytest.mark.parametrize(
    ("zone", "evening", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 28), 2),  # 02:00 -> 03:00
        ("Europe/Berlin", date(2026, 10, 24), 4),  # 03:00 -> 02:00
        ("Europe/Berlin", date(2026, 6, 1), 3),
        ("America/New_York", date(2026, 3, 7), 2),
        ("America/New_York", date(2026, 10, 31), 4),
        ("Australia/Lord_Howe", date(2026, 4, 4), 3.5),  # 02:00 -> 01:30
        ("Australia/Lord_Howe", date(2026, 10, 3), 2.5),  # 02:00 -> 02:30
        ("Africa/Casablanca", date(2026, 2, 14), 4),  # for Ramadan: 03:00 -> 02:00
        ("Africa/Casablanca", date(2026, 3, 21), 2),
        ("UTC", date(2026, 3, 28), 3),
    ],
)
def test_a_pause_over_a_change_of_the_clock_lasts_as_the_clock_on_the_wall_shows_it(zone, evening, hours):
    """01:00-04:00 begins and ends at those times in every night; a jump makes it shorter or longer, without a gap."""
    inside = paused_minutes(zone, "01:00-04:00", evening)
    assert len(inside) == hours * 60
    assert inside[-1] - inside[0] == timedelta(minutes=len(inside) - 1)
    assert inside[0].astimezone(ZoneInfo(zone)).time() == time(1)
    assert (inside[-1] + timedelta(minutes=1)).astimezone(ZoneInfo(zone)).time() == time(4)


def test_times_that_do_not_exist_or_exist_twice():
    """A pause within the hour that is left out does not happen; one within the hour that comes twice happens twice."""
    assert paused_minutes("Europe/Berlin", "02:15-02:45", date(2026, 3, 28)) == []
    twice = paused_minutes("Europe/Berlin", "02:15-02:45", date(2026, 10, 24))
    assert len(twice) == 60
    assert max(after - before for before, after in pairwise(twice)) == timedelta(minutes=31)
    # A pause that begins in the hour left out begins when the clock jumps, and one that ends in it ends then.
    assert len(paused_minutes("Europe/Berlin", "02:30-04:00", date(2026, 3, 28))) == 60
    assert len(paused_minutes("Europe/Berlin", "01:00-02:30", date(2026, 3, 28))) == 60


@pytest.mark.skipif(not hasattr(system_time, "tzset"), reason="Windows takes no zone from TZ while a program runs")
@given(zones, periods, moments)
def test_the_system_and_the_zones_of_python_agree(zone, period, moment):
    """The C library says what the clock on the wall shows; so a machine's own zone and a named one pause alike."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = zone
    system_time.tzset()
    try:
        wall = system_time.localtime(moment.timestamp())
        by_system = Pauses((Period(*period),)).until(moment)
    finally:
        os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
        system_time.tzset()
    assert (by_system is not None) == (wall.tm_hour * 60 + wall.tm_min in covered(*period))
    assert by_system == Pauses((Period(*period),), ZoneInfo(zone)).until(moment)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("colon", ["", ":"])
def test_a_zone_is_known_by_its_name(zone, colon):
    """With the colon that POSIX knows as well."""
    assert zone_named(colon + zone) == ZoneInfo(zone)


@pytest.mark.parametrize(
    "name", [None, "", "CET-1CEST,M3.5.0,M10.5.0/3", "<+03>-3", "/usr/share/zoneinfo/Europe/Berlin"]
)
def test_rules_and_files_are_left_to_the_system(name):
    """It understands them, and Python's zones do not."""
    assert zone_named(name) is None


@pytest.mark.parametrize("name", ["Europe/Berlni", "Berlin", "CET+x", "../etc/passwd", "Europe", "Mitteleuropäisch"])
def test_a_zone_that_is_unknown_is_not_taken_for_utc(name):
    """As the C library takes it, without a word; then a pause would begin hours too early or too late."""
    with pytest.raises(SettingsError, match=r"TZ: the time zone .* is not known here"):
        zone_named(name)
