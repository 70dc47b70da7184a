"""Objects that no pass can read or judge: in how many passes in a row, so that a person hears of them."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from support.ledger.results import STORAGE, checked, failed, record, sha256_of

from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.ledger.database.engine import make_engine, upgrading
from lemmy_safety.ledger.database.urls import parse_url
from lemmy_safety.ledger.schema import migrations
from lemmy_safety.records import ItemStatus

PASSING = (ItemStatus.DENIED, ItemStatus.FETCH_FAILED, ItemStatus.DETECTOR_FAILED)


def passes_of(ledger, key="a"):
    """As the list for people has it."""
    return {row.key: row.failed_passes for row in ledger.reviews.unjudged(include_settled=True)}.get(key)


@pytest.mark.parametrize("status", PASSING)
def test_each_pass_that_fails_counts_once(ledger, status) -> None:
    """Whatever failed, and also when the object is tried twice in one pass."""
    for number in (1, 2, 3):
        record(ledger, [failed("a", status), failed("a", status)])
        assert passes_of(ledger) == number
    assert ledger.objects.failing(3, most=5).first == (("a", f"why {status.value}", 3),)
    assert ledger.objects.failing(4, most=5).number == 0


@pytest.mark.parametrize(
    "better", [checked("a"), failed("a", ItemStatus.UNREADABLE, sha256=sha256_of("a")), failed("a", ItemStatus.GONE)]
)
def test_whatever_settles_the_object_ends_the_row(ledger, better) -> None:
    """The next failure is the first one again."""
    for _ in range(4):
        record(ledger, [failed("a")])
    record(ledger, [better])
    assert ledger.objects.failing(1, most=5).number == 0
    assert passes_of(ledger) in (0, None)
    record(ledger, [failed("a")])
    assert passes_of(ledger) == 1


def test_an_object_with_a_verdict_counts_as_well(ledger) -> None:
    """It may be flagged since by a detector that cannot have it."""
    record(ledger, [checked("a")])
    for _ in range(3):
        record(ledger, [failed("a")])
    assert [one.key for one in ledger.objects.failing(3, most=5).first] == ["a"]


def test_those_that_failed_most_often_are_named_and_all_are_counted(ledger) -> None:
    """Thousands can fail for the same reason."""
    for number in range(4):
        record(ledger, [failed(key) for key in "abcdef"[number:]])
    failing = ledger.objects.failing(2, most=2)
    assert failing.number == 5
    assert [(one.key, one.passes) for one in failing.first] == [("d", 4), ("e", 4)]


def test_what_failed_before_the_upgrade_counts_from_then_on(database_file) -> None:
    """The older schema did not count."""
    engine = make_engine(parse_url(sqlite_url(database_file)))
    with upgrading(engine) as connection:
        migrations.bring_to(connection, "0010")
    engine.dispose()
    with closing(sqlite3.connect(database_file)) as connection:
        connection.execute("INSERT INTO storages (name) VALUES (?)", (STORAGE,))
        connection.execute(
            "INSERT INTO images (storage_id, key, status, reason, decoder, checked_at, detectors, rules_version, dry_run, origin,"
            " judgement, review, review_note) SELECT id, 'a', 'fetch_failed', '', '', '2026-01-01 00:00:00', '', '', 0, 'scan',"
            " 5, 'none', '' FROM storages WHERE name = ?",
            (STORAGE,),
        )
        connection.commit()
    with open_ledger(sqlite_url(database_file)) as ledger:
        assert passes_of(ledger) == 0
        for number in (1, 2):
            record(ledger, [failed("a")])
            assert passes_of(ledger) == number
