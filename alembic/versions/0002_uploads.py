"""Uploads at the door; of every object its playing time, and of unreadable ones whether the decoder broke.

On MySQL each of these changes is final at once, so what a start that was killed in the middle has done already is
found and left out. The table of uploads is then still empty, and is made again with its indexes.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import DATETIME, LONGTEXT

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# As in 0001: a migration describes the schema of its own day.
_TIME = sa.DateTime(timezone=True).with_variant(DATETIME(fsp=6), "mysql")
_TEXT = sa.UnicodeText().with_variant(LONGTEXT(), "mysql")
_ENUM = sa.String(32)
_HASH = sa.VARBINARY(32).with_variant(sa.LargeBinary(32), "sqlite", "postgresql")
_FULL_GROWN = {"sqlite", "postgresql"}
_MYSQL = {
    "mysql_engine": "InnoDB",
    "mysql_row_format": "DYNAMIC",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    inspector = sa.inspect(op.get_bind())
    full_grown = op.get_bind().dialect.name in _FULL_GROWN
    present = {column["name"] for column in inspector.get_columns("images")}
    for column in (sa.Column("duration_s", sa.Double()), sa.Column("decoder_broke", sa.Boolean())):
        if column.name not in present:
            op.add_column("images", column)
    if not full_grown and "uploads" in inspector.get_table_names():
        op.drop_table("uploads")
    _create_uploads()
    _create_indexes(full_grown=full_grown)


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
        **_MYSQL,
    )


def _create_indexes(*, full_grown: bool) -> None:
    op.create_index("ix_uploads_md5", "uploads", ["md5"])
    if not full_grown:
        # 0001 gave images the whole indexes that answer for unreadable and refused rows as well.
        op.create_index("ix_uploads_answer", "uploads", ["answer", "first_at", "sha256"])
        return
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
