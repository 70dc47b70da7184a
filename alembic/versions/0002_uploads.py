"""Uploads at the door; of every object its playing time, and of unreadable ones whether the decoder broke."""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# As in 0001: a migration describes the schema of its own day.
_TIME = sa.DateTime(timezone=True)
_TEXT = sa.Text()
_ENUM = sa.String(32)
_HASH = sa.LargeBinary()


def upgrade() -> None:
    op.add_column("images", sa.Column("duration_s", sa.Double()))
    op.add_column("images", sa.Column("decoder_broke", sa.Boolean()))
    _create_uploads()
    _create_indexes()


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("sha256", _HASH, nullable=False),
        sa.Column("md5", _HASH, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("answer", _ENUM, nullable=False),
        sa.Column("status", _ENUM),
        sa.Column("reason", _TEXT, nullable=False),
        sa.Column("judged_at", _TIME),
        sa.Column("pdq", _HASH),
        sa.Column("pdq_quality", sa.Integer()),
        sa.Column("media_type", _TEXT),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.Column("frame_count", sa.Integer()),
        sa.Column("duration_s", sa.Double()),
        sa.Column("anomalies", _TEXT),
        sa.Column("outcome", _ENUM),
        sa.Column("nsfw", sa.Boolean()),
        sa.Column("findings", _TEXT),
        sa.Column("detectors", _TEXT, nullable=False),
        sa.Column("rules_version", _TEXT, nullable=False),
        sa.Column("first_at", _TIME, nullable=False),
        sa.Column("last_at", _TIME, nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("found_storage_id", sa.Integer()),
        sa.Column("found_key", _TEXT),
        sa.PrimaryKeyConstraint("sha256", name="pk_uploads"),
        sa.ForeignKeyConstraint(["found_storage_id"], ["storages.id"], name="fk_uploads_found_storage_id"),
    )


def _create_indexes() -> None:
    op.create_index("ix_uploads_md5", "uploads", ["md5"])
    for name, table, columns, condition in (
        ("ix_images_unreadable", "images", ["id"], "status = 'unreadable'"),
        ("ix_images_refused", "images", ["storage_id", "id"], "action_state = 'refused'"),
        ("ix_uploads_unchecked", "uploads", ["first_at", "sha256"], "answer = 'unchecked' AND judged_at IS NULL"),
    ):
        where = sa.text(condition)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
