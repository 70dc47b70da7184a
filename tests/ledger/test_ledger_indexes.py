"""That questions asked often are answered by an index: at 10 million rows a walk over the table takes seconds."""

from __future__ import annotations

import pytest
from sqlalchemy import event
from support.ledgers import DECODER, DETECTORS, STORAGE, checked, flagged, record, sha256_of, stored
from support.uploads import judged, stored_upload, upload

from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.records import Review


def matching(ledger, content):
    objects = [stored_upload("new", content)]
    return ledger.uploads_matching(STORAGE, objects, detectors=DETECTORS, rules_version="rules-1")


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda ledger: ledger.known(STORAGE, [stored("a")], detectors=DETECTORS, decoder=DECODER), "storage_key"),
        (lambda ledger: ledger.verdict_for(sha256_of("a"), detectors=DETECTORS), "ix_images_sha256"),
        (lambda ledger: ledger.retryable(STORAGE, 10), "ix_images_retryable"),
        (lambda ledger: ledger.unfinished_actions(STORAGE), "ix_images_intended"),
        (lambda ledger: list(ledger.flagged()), "ix_images_flagged"),
        (lambda ledger: ledger.described(STORAGE, "a"), "storage_key"),
        (lambda ledger: ledger.intend(STORAGE, ["a"], "delete"), "storage_key"),
        (lambda ledger: ledger.review(["a"], Review.CONFIRMED), "storage_key"),
        (lambda ledger: ledger.history("a"), "ix_events_key"),
        (lambda ledger: record(ledger, [flagged("a")]), "autoindex_reviews"),
        (lambda ledger: list(ledger.unreadable()), "ix_images_unreadable"),
        (lambda ledger: ledger.retryable(STORAGE, 10), "ix_images_refused"),
        (lambda ledger: ledger.retryable(STORAGE, 10), "ix_images_read_again"),
        (lambda ledger: list(ledger.unchecked_uploads()), "ix_uploads_unchecked"),
        (lambda ledger: ledger.count_unchecked_uploads(), "ix_uploads_unchecked"),
        (lambda ledger: ledger.unchecked_since(), "ix_uploads_unchecked"),
        (lambda ledger: matching(ledger, "k7"), "ix_uploads_md5"),
        (lambda ledger: matching(ledger, "k7"), "ix_uploads_unchecked"),
        (lambda ledger: ledger.record_uploads([judged("k7"), upload("u7"), upload("new")]), "autoindex_uploads"),
        (lambda ledger: ledger.verdict_for(sha256_of("u"), detectors=DETECTORS), "autoindex_uploads"),
    ],
)
def test_no_question_walks_over_the_table(database_file, ask, index) -> None:
    """SQLite's own plan for every statement that the method sends."""
    with open_ledger(sqlite_url(database_file)) as ledger:
        ledger.record_uploads([judged(f"k{number}") for number in range(50)])
        record(ledger, [flagged("a"), *(checked(f"k{number}") for number in range(50))], dry_run=True)
        sent = []

        @event.listens_for(ledger._engine, "before_cursor_execute")
        def note(_connection, _cursor, statement, parameters, _context, many) -> None:
            if statement.startswith(("SELECT", "UPDATE")):
                sent.append((statement, parameters[0] if many else parameters))

        ask(ledger)
        with ledger._engine.connect() as connection:
            event.remove(ledger._engine, "before_cursor_execute", note)
            plans = [
                [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
                for statement, parameters in sent
            ]
    steps = [step for plan in plans for step in plan]
    assert any(index in step or (index == "storage_key" and "sqlite_autoindex_images_1" in step) for step in steps), (
        steps
    )
    assert [step for step in steps if step.startswith("SCAN images") and "INDEX" not in step] == []
    assert [step for step in steps if step.startswith("SCAN events")] == []
    assert [step for step in steps if step.startswith("SCAN uploads") and "ix_uploads_unchecked" not in step] == []
