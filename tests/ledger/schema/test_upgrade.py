"""Databases of the first schema, written by the version before this one, and their way to the present."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from sqlalchemy import MetaData, create_engine, inspect
from support.ledger.killed_ledger import killed
from support.ledger.old_ledgers import insert, insert_object, old_ledger
from support.ledger.results import DECODER, NOON, RULES, STORAGE, failed, record, sha256_of, stored
from support.ledger.uploads import row_for, upload, waiting

from lemmy_safety.ledger import Known, open_ledger
from lemmy_safety.records import ActionPlan, ActionState, Anomaly, AnomalyKind, ItemStatus, Outcome


def make_old(url: str, *, revision: str = "0001") -> None:
    """A database as that version made it, with a flagged and an unreadable object."""
    common = {
        "storage_id": 2,
        "size": 1001,
        "modified_at": datetime(2026, 1, 1, 13, tzinfo=UTC),
        "decoder": DECODER,
        "rules_version": "rules-1",
    }
    with old_ledger(url, revision) as connection:
        insert(connection, "storages", id=2, name=STORAGE)
        insert_object(
            connection,
            **common,
            key="flagged",
            sha256=bytes.fromhex(sha256_of("flagged")),
            media_type="image/webp",
            width=640,
            height=480,
            frame_count=9,
            anomalies='["truncated: image file is truncated","first_frame_only: only the first of 9 frames",'
            '"damaged: bad: chunk","unheard of"]',
            outcome="flagged",
            findings='[{"detector":"clip","version":"1","label":"csam","score":0.5,"threshold":0.2,"frame":3}]',
        )
        insert_object(
            connection,
            **common,
            key="unreadable",
            sha256=bytes.fromhex(sha256_of("unreadable")),
            status="unreadable",
            outcome=None,
            detectors="",
            reason="fault in the decoder: ValueError",
        )


def check(url: str) -> None:
    with open_ledger(url) as ledger:
        assert ledger.maintenance.schema_version() == ("0015", "0015")
        (row,) = ledger.reviews.flagged()
        assert (row.key, row.assessment.outcome, row.assessment.info.frame_count, row.assessment.info.duration_s) == (
            "flagged",
            Outcome.FLAGGED,
            9,
            None,
        )
        assert row.assessment.info.anomalies == (
            Anomaly(kind=AnomalyKind.TRUNCATED, detail="image file is truncated"),
            Anomaly(kind=AnomalyKind.FRAMES_LEFT_OUT, detail="only the first of 9 frames"),
            Anomaly(kind=AnomalyKind.DAMAGED, detail="bad: chunk"),
            Anomaly(kind=AnomalyKind.DAMAGED, detail="unheard of"),
        )
        (finding,) = row.assessment.findings
        assert (finding.frame, finding.at_s, finding.view) == (3, None, "")


def test_a_database_of_the_first_schema_is_upgraded_with_its_rows(url) -> None:
    """Anomalies were plain texts; a listing, a verdict and the end of an action work on the old rows."""
    make_old(url)
    check(url)
    check(url)
    with open_ledger(url) as ledger:
        assert ledger.objects.verdict_for(sha256_of("flagged"), RULES).assessment.info.anomalies[0].detail != ""
        ledger.uploads.record([upload("a")])
        assert len(waiting(ledger)) == 1


def test_what_an_earlier_version_could_not_read_is_not_acted_on(url) -> None:
    """It did not say whether its decoder broke, so it may hold a picture; judged again by this one, it is known."""
    make_old(url)
    with open_ledger(url) as ledger:
        (row,) = ledger.reviews.unreadable()
        assert (row.key, row.assessment.decoder_broke, row.action_state) == ("unreadable", True, ActionState.NONE)
        assert ledger.actions.intend(STORAGE, ["unreadable"], ActionPlan("delete", "delete")) == []
        result = failed("unreadable", ItemStatus.UNREADABLE, sha256=sha256_of("unreadable"))
        assert len(record(ledger, [result], action=None, unreadable_action="delete")) == 1
        found = ledger.objects.known(STORAGE, [stored("unreadable")], RULES)
        assert found == {"unreadable": Known.SETTLED}


def test_an_upgrade_that_was_killed_is_made_again(url) -> None:
    """Whole or not at all."""
    make_old(url)
    with killed(url, "CREATE TABLE uploads", 1):
        check(url)


def test_what_was_taken_for_an_upload_by_its_md5_is_read(url) -> None:
    """Earlier versions did not read it; what was read, and what is flagged, keeps its verdict. Uploads lose their MD5."""
    make_old(url, revision="0007")
    make_uploads_and_their_objects(url)
    for _ in range(2):
        with open_ledger(url) as ledger:
            assert ledger.objects.retryable(STORAGE, 10) == ["unread"]
            listed = [stored(key) for key in ("unread", "read")]
            known = ledger.objects.known(STORAGE, listed, RULES)
            assert known == {"read": Known.SETTLED}
            assert [row.key for row in ledger.reviews.flagged()] == ["flagged"]
            assert ledger.objects.verdict_for(sha256_of("unread"), RULES) is None
            assert ledger.objects.verdict_for(sha256_of("read"), RULES).verdict.outcome is Outcome.CLEAR
            assert row_for(ledger, "accepted").times == 3
            assert waiting(ledger) == [upload("unchecked").sha256]
            inspector = inspect(ledger.database.engine)
            assert "md5" not in {column["name"] for column in inspector.get_columns("uploads")}
            assert [index["name"] for index in inspector.get_indexes("uploads")] == ["ix_uploads_unchecked"]


def make_uploads_and_their_objects(url: str) -> None:
    """As the version of the schema 0007 wrote them: "unread" and "flagged" by the MD5 of an upload, "read" by its SHA-256."""
    engine = create_engine(url)
    metadata = MetaData()
    metadata.reflect(engine, only=["images", "uploads"])
    images, uploads = metadata.tables["images"], metadata.tables["uploads"]
    judged_clear = {"status": "checked", "outcome": "clear", "detectors": "clip,hashes", "findings": "[]"}
    with engine.begin() as connection:
        for number, (key, source) in enumerate((("unread", "(upload, not read)"), ("read", "(upload)")), 10):
            obj = stored(key)
            described = {
                "key": key,
                "size": obj.size,
                "etag": bytes.fromhex(obj.etag).hex(),
                "modified_at": obj.modified_at,
            }
            texts = {"rules_version": "rules-1", "origin": "scan", "action_state": "none", "action_detail": ""}
            texts |= {"review": "none", "review_note": "", "reason": "", "decoder": DECODER, "reused_from": source}
            numbers = {"id": number, "storage_id": 2, "judgement": 1, "dry_run": False, "checked_at": NOON}
            row = {**described, **texts, **numbers, **judged_clear, "sha256": bytes.fromhex(sha256_of(key))}
            connection.execute(images.insert().values(row))
        connection.execute(images.update().where(images.c.key == "flagged").values(reused_from="(upload, not read)"))
        for name, row in (
            ("accepted", {**judged_clear, "answer": "accepted", "judged_at": NOON, "times": 3}),
            ("unchecked", {"answer": "unchecked", "times": 1, "detectors": ""}),
        ):
            common = {"size": 1, "reason": "", "rules_version": "rules-1", "first_at": NOON, "last_at": NOON}
            digests = {"sha256": bytes.fromhex(upload(name).sha256), "md5": hashlib.md5(name.encode()).digest()}  # noqa: S324
            connection.execute(uploads.insert().values({**common, **digests, **row}))
    engine.dispose()
