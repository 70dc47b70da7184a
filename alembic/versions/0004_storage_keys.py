"""Of an upload where pict-rs has stored it; requests at the door that pict-rs cannot have made so.

On MySQL each of these changes is final at once, so what a start that was killed in the middle has done already is
found and left out.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import DATETIME, LONGTEXT

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# As in 0001: a migration describes the schema of its own day.
_TIME = sa.DateTime(timezone=True).with_variant(DATETIME(fsp=6), "mysql")
_TEXT = sa.UnicodeText().with_variant(LONGTEXT(), "mysql")
_MYSQL = {
    "mysql_engine": "InnoDB",
    "mysql_row_format": "DYNAMIC",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    inspector = sa.inspect(op.get_bind())
    if "storage_key" not in {column["name"] for column in inspector.get_columns("uploads")}:
        op.add_column("uploads", sa.Column("storage_key", _TEXT))
    if "garbled_requests" not in inspector.get_table_names():
        op.create_table(
            "garbled_requests",
            sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("in_a_row", sa.Integer(), nullable=False),
            sa.Column("total", sa.BigInteger(), nullable=False),
            sa.Column("first_at", _TIME, nullable=False),
            sa.Column("last_at", _TIME, nullable=False),
            sa.Column("last_what", _TEXT, nullable=False),
            sa.PrimaryKeyConstraint("id", name="pk_garbled_requests"),
            **_MYSQL,
        )


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
