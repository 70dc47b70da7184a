"""Leases: who runs the pass over a storage.

On MySQL, where each change of the schema is final at once, a table that a killed start left is dropped and made again.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import DATETIME, LONGTEXT

from alembic import op

revision = "0003"
down_revision = "0002"
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
    if "leases" in sa.inspect(op.get_bind()).get_table_names():
        op.drop_table("leases")
    op.create_table(
        "leases",
        sa.Column("storage_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("machine", _TEXT, nullable=False),
        sa.Column("host", _TEXT, nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("process_started", sa.Double(), nullable=False),
        sa.Column("since", _TIME, nullable=False),
        sa.Column("heartbeat_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("storage_id", name="pk_leases"),
        sa.ForeignKeyConstraint(["storage_id"], ["storages.id"], name="fk_leases_storage_id"),
        **_MYSQL,
    )


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
