"""That questions asked often are answered by an index: at 10 million rows a walk over the table takes seconds."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import event
from support.ledger.created import new_ledger
from support.ledger.results import RULES, STORAGE, checked, fill, flagged, record, sha256_of, stored
from support.ledger.uploads import AT, judged, upload
from support.servers.postgres import create_database

from lemmy_safety.ledger import open_ledger
from lemmy_safety.records import ActionPlan, Outcome, Review


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (
            lambda ledger: ledger.objects.known(STORAGE, [stored("a")], RULES),
            "storage_key",
        ),
        (lambda ledger: ledger.objects.verdict_for(sha256_of("a"), RULES), "ix_images_sha256"),
        (lambda ledger: ledger.objects.retryable(STORAGE, 10), "ix_images_retryable"),
        (lambda ledger: ledger.actions.unfinished(STORAGE), "ix_actions_intended"),
        (lambda ledger: list(ledger.reviews.flagged()), "ix_images_flagged"),
        (lambda ledger: ledger.objects.describe(STORAGE, "a"), "storage_key"),
        (lambda ledger: ledger.objects.on_record(["a", "k7"]), "storage_key"),
        (lambda ledger: ledger.actions.intend(STORAGE, ["a"], ActionPlan("delete")), "storage_key"),
        (lambda ledger: ledger.reviews.decide(["a"], Review.CONFIRMED), "storage_key"),
        (lambda ledger: ledger.reviews.history("a"), "ix_events_key"),
        (lambda ledger: record(ledger, [flagged("a")]), "autoindex_reviews"),
        (lambda ledger: list(ledger.reviews.unreadable()), "ix_images_unreadable"),
        (lambda ledger: ledger.objects.retryable(STORAGE, 10), "ix_actions_refused"),
        (lambda ledger: ledger.objects.retryable(STORAGE, 10), "ix_images_read_again"),
        (lambda ledger: list(ledger.uploads.unchecked()), "ix_uploads_unchecked"),
        (lambda ledger: ledger.uploads.count_unchecked(), "ix_uploads_unchecked"),
        (lambda ledger: ledger.uploads.unchecked_since(), "ix_uploads_unchecked"),
        (lambda ledger: ledger.uploads.unchecked_among([stored("k7")]), "ix_uploads_unchecked"),
        (lambda ledger: ledger.uploads.record([judged("k7"), upload("u7"), upload("new")]), "autoindex_uploads"),
        (lambda ledger: ledger.objects.verdict_for(sha256_of("u"), RULES), "autoindex_uploads"),
        (lambda ledger: list(ledger.reviews.flagged()), "ix_events_key"),
        (lambda ledger: ledger.actions.stuck(due_before=AT), "ix_images_flagged"),
        (lambda ledger: ledger.actions.stuck(STORAGE, due_before=AT), "ix_images_unreadable"),
        (lambda ledger: ledger.actions.failed(STORAGE, before=AT), "ix_images_flagged"),
        (lambda ledger: ledger.objects.retryable(STORAGE, 10), "ix_images_sha256"),
        (lambda ledger: ledger.objects.retryable(STORAGE, 10), "ix_images_variant_of"),
        (lambda ledger: ledger.variants.with_a_past(STORAGE, ["a", "k7"]), "storage_key"),
        (lambda ledger: ledger.variants.originals(STORAGE, ["a", "k7"], RULES), "storage_key"),
        (lambda ledger: ledger.objects.verdict_for(sha256_of("a"), RULES), "ix_flags_sha256"),
        (lambda ledger: ledger.uploads.settle_lost(AT, storage=STORAGE), "ix_uploads_unchecked"),
        (lambda ledger: ledger.uploads.has_any(), "autoindex_uploads"),
    ],
)
def test_no_question_walks_over_the_table(database_file, ask, index) -> None:
    """SQLite's own plan for every statement that the method sends."""
    with new_ledger(database_file) as ledger:
        ledger.uploads.record([judged(f"k{number}") for number in range(50)])
        record(ledger, [flagged("a"), *(checked(f"k{number}") for number in range(50))], dry_run=True)
        record(ledger, [flagged("i")])
        ledger.uploads.record([judged("k7", Outcome.FLAGGED)])
        steps = steps_of(ledger, lambda: ask(ledger))
    assert any(index in step or (index == "storage_key" and "sqlite_autoindex_images_1" in step) for step in steps), (
        steps
    )
    assert [step for step in steps if step.startswith("SCAN images") and "INDEX" not in step] == []
    assert [step for step in steps if step.startswith("SCAN events")] == []
    few = ("ix_uploads_unchecked", "COVERING INDEX sqlite_autoindex_uploads_1")  # the latter: whether there is any row
    assert [step for step in steps if step.startswith("SCAN uploads") and not any(name in step for name in few)] == []
    # A storage may hold every row of the table.
    assert [
        step for step in steps if re.search(r"^SEARCH images USING .*autoindex_images_1 \(storage_id=\?\)", step)
    ] == []


def test_what_belongs_to_a_storage_costs_one_walk_over_the_uploads(quick_ledger) -> None:
    """None over the objects, and none for each unchecked upload: it is asked at the end of a sweep over everything."""
    quick_ledger.uploads.record([upload(f"u{number}") for number in range(5)])
    record(quick_ledger, [checked("a")])
    steps = steps_of(quick_ledger, lambda: quick_ledger.uploads.belonging_to(STORAGE))
    assert "SEARCH images USING INDEX ix_images_sha256 (sha256=?)" in steps
    assert [step for step in steps if re.search(r"SCAN images|SCAN other|\(storage_id=\?\)", step)] == []
    assert len([step for step in steps if step.startswith("SCAN uploads") and "unchecked" not in step]) <= 2


@pytest.mark.external_service
@pytest.mark.parametrize(
    "ask",
    [
        lambda ledger: list(ledger.reviews.flagged()),
        lambda ledger: list(ledger.reviews.unreadable()),
        lambda ledger: ledger.actions.stuck(STORAGE, due_before=AT),
        lambda ledger: ledger.actions.failed(STORAGE, before=AT),
        lambda ledger: ledger.objects.retryable(STORAGE, 10),
        lambda ledger: ledger.objects.known(STORAGE, [stored("k7")], RULES),
        lambda ledger: ledger.objects.verdict_for(sha256_of("k7"), RULES),
        lambda ledger: list(ledger.uploads.unchecked()),
        lambda ledger: ledger.reviews.decide(["k7"], Review.CONFIRMED),
        lambda ledger: ledger.reviews.history("k7"),
    ],
)
def test_postgresql_walks_over_no_table(thousand, ask) -> None:
    """The server's own plans; only small tables are read whole."""
    lines = [line for line in steps_of(thousand, lambda: ask(thousand)) if "Seq Scan on " in line]
    assert [line for line in lines if re.search(r"Seq Scan on (images|events|uploads)\b", line)] == []


@pytest.fixture(scope="module")
def thousand(postgres):
    """A ledger with some thousand rows in each table, as a server plans by their number."""
    with open_ledger(create_database(postgres, "thousand")) as ledger:
        fill(ledger)
        with ledger.database.engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE")
            connection.commit()
        yield ledger


def steps_of(ledger, ask):
    """The lines of the database's own plan for every statement that this sends."""
    sent = []

    def note(_connection, _cursor, statement, parameters, _context, many) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            sent.append((statement, parameters[0] if many else parameters))

    event.listen(ledger.database.engine, "before_cursor_execute", note)
    ask()
    event.remove(ledger.database.engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN" if ledger.database.engine.dialect.name == "sqlite" else "EXPLAIN"
    with ledger.database.engine.connect() as connection:
        return [
            row[-1]
            for statement, parameters in sent
            for row in connection.exec_driver_sql(f"{explain} {statement}", parameters)
        ]
