"""The ledger's first schema, and the take-over of an ancestor's database.

The ancestor keeps one table ``images`` (id, filename, nsfw, csam, created in naive UTC). It is renamed to
``images_before_takeover`` and left whole; its rows become rows of the reserved storage ``ancestor``:

- csam true: flagged, and unknown whether it was acted on (a dry run and a deletion left the same row).
- csam false: clear.
- csam NULL: nothing is known. The ancestor recorded failed downloads like that and never looked again; we do.

A migration describes the schema of its own day, so it shares nothing with the models.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# See migrations.room_needed: of a database of the earlier tool, whose rows are copied.
ROOM = 3

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_TEXT = sa.Text()
_ENUM = sa.String(32)
_HASH = sa.LargeBinary()
_OLD = "images_before_takeover"
_ANCESTOR_COLUMNS = {"id", "filename", "nsfw", "csam", "created"}


def upgrade() -> None:
    # A database without a version, with an images table in it, is an ancestor's: the caller refused all others.
    inspector = sa.inspect(op.get_bind())
    ancestor = (
        "images" in inspector.get_table_names()
        and {column["name"] for column in inspector.get_columns("images")} >= _ANCESTOR_COLUMNS
    )
    if ancestor:
        op.rename_table("images", _OLD)
    _create_tables()
    storages = sa.table("storages", sa.column("id", sa.Integer()), sa.column("name", _TEXT))
    op.execute(storages.insert().values(id=1, name="ancestor"))
    if op.get_bind().dialect.name == "postgresql":
        op.execute(sa.text("SELECT setval(pg_get_serial_sequence('storages', 'id'), 1)"))
    if ancestor:
        _take_over()
    # After the rows: one sort is faster than a million insertions.
    _create_indexes()


def _create_tables() -> None:
    op.create_table(
        "storages",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_storages"),
        sa.UniqueConstraint("name", name="uq_storages_name"),
    )
    op.create_table(
        "runs",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("storage_id", sa.Integer(), nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("detectors", _TEXT, nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("counts", _TEXT),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.ForeignKeyConstraint(["storage_id"], ["storages.id"], name="fk_runs_storage_id"),
    )
    op.create_table(
        "cursors",
        sa.Column("scope", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("scope", "name", name="pk_cursors"),
    )
    op.create_table(
        "images",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("storage_id", sa.Integer(), nullable=False),
        sa.Column("key", _TEXT, nullable=False),
        sa.Column("size", sa.BigInteger()),
        sa.Column("modified_at", _TIME),
        sa.Column("etag", _TEXT),
        sa.Column("sha256", _HASH),
        sa.Column("pdq", _HASH),
        sa.Column("pdq_quality", sa.Integer()),
        sa.Column("media_type", _TEXT),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.Column("frame_count", sa.Integer()),
        sa.Column("anomalies", _TEXT),
        sa.Column("status", _ENUM, nullable=False),
        sa.Column("reason", _TEXT, nullable=False),
        sa.Column("decoder", _TEXT, nullable=False),
        sa.Column("checked_at", _TIME, nullable=False),
        sa.Column("run_id", _ROW_ID),
        sa.Column("outcome", _ENUM),
        sa.Column("nsfw", sa.Boolean()),
        sa.Column("findings", _TEXT),
        sa.Column("detectors", _TEXT, nullable=False),
        sa.Column("rules_version", _TEXT, nullable=False),
        sa.Column("reused_from", _TEXT),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("origin", _ENUM, nullable=False),
        sa.Column("judgement", sa.Integer(), nullable=False),
        sa.Column("action_wanted", _TEXT),
        sa.Column("action_state", _ENUM, nullable=False),
        sa.Column("action_at", _TIME),
        sa.Column("action_detail", _TEXT, nullable=False),
        sa.Column("review", _ENUM, nullable=False),
        sa.Column("review_note", _TEXT, nullable=False),
        sa.Column("review_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_images"),
        sa.UniqueConstraint("storage_id", "key", name="uq_images_storage_key"),
        sa.ForeignKeyConstraint(["storage_id"], ["storages.id"], name="fk_images_storage_id"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_images_run_id"),
    )
    op.create_table(
        "reviews",
        sa.Column("sha256", _HASH, nullable=False),
        sa.Column("review", _ENUM, nullable=False),
        sa.Column("note", _TEXT, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_reviews"),
    )
    op.create_table(
        "events",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("storage_id", sa.Integer()),
        sa.Column("key", _TEXT),
        sa.Column("sha256", _HASH),
        sa.Column("kind", _ENUM, nullable=False),
        sa.Column("detail", _TEXT),
        sa.Column("run_id", _ROW_ID),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.ForeignKeyConstraint(["storage_id"], ["storages.id"], name="fk_events_storage_id"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_events_run_id"),
    )


def _create_indexes() -> None:
    op.create_index("ix_events_key", "events", ["key"])
    op.create_index("ix_images_sha256", "images", ["sha256"])
    retryable = "status = 'denied' OR status = 'fetch_failed' OR status = 'detector_failed'"
    for name, columns, condition in (
        ("ix_images_flagged", ["id"], "outcome = 'flagged'"),
        ("ix_images_intended", ["storage_id", "id"], "action_state = 'intended'"),
        ("ix_images_retryable", ["storage_id", "checked_at"], retryable),
    ):
        where = sa.text(condition)
        op.create_index(name, "images", columns, sqlite_where=where, postgresql_where=where)


def _take_over() -> None:
    """Copy the ancestor's rows on the server's side; a million of them take seconds."""
    connection = op.get_bind()
    sqlite = connection.dialect.name == "sqlite"
    # The ancestor on Windows wrote its keys with backslashes; pict-rs itself never does.
    backslash = "char(92)" if sqlite else "chr(92)"
    key = f"CASE WHEN replace(filename, '/', '') = filename THEN replace(filename, {backslash}, '/') ELSE filename END"
    # SQLite keeps whatever text it was given; what is no time becomes the epoch rather than a row that cannot be read.
    created = "created AT TIME ZONE 'UTC'"
    if sqlite:
        created = "coalesce(strftime('%Y-%m-%d %H:%M:%f000', created), '1970-01-01 00:00:00.000000')"
    connection.exec_driver_sql(
        f"""
        INSERT INTO images (storage_id, key, status, reason, decoder, checked_at, outcome, nsfw, detectors,
                            rules_version, dry_run, origin, judgement, action_state, action_detail, review, review_note)
        SELECT 1, {key},
               CASE WHEN csam IS NULL THEN 'fetch_failed' ELSE 'checked' END,
               CASE WHEN csam IS NULL THEN 'the earlier tool recorded no verdict' ELSE '' END,
               '', {created},
               CASE WHEN csam THEN 'flagged' WHEN NOT csam THEN 'clear' END,
               nsfw, '', '', {"0" if sqlite else "false"}, 'ancestor', 0,
               CASE WHEN csam THEN 'unknown' ELSE 'none' END,
               '', 'none', ''
        FROM {_OLD}
        WHERE filename <> ''
        ORDER BY CASE WHEN csam THEN 0 ELSE 1 END, id
        ON CONFLICT DO NOTHING
        """  # noqa: S608 - constants only
    )
    events = sa.table("events", sa.column("at", _TIME), sa.column("kind", _ENUM), sa.column("detail", sa.Text()))
    rows = connection.exec_driver_sql(f"SELECT count(*) FROM {_OLD}").scalar_one()  # noqa: S608
    now = datetime.now(UTC)
    op.execute(
        events.insert().values(
            at=now.replace(tzinfo=None) if sqlite else now,
            kind="taken_over",
            detail=f'{{"rows":{rows}}}',
        )
    )


def downgrade() -> None:
    # Going back would forget verdicts and intents; an older version takes an older copy of the file instead.
    raise NotImplementedError("There is no way back from the first schema.")
