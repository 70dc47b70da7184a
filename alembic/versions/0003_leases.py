"""Leases: who runs the pass over a storage."""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# As in 0001: a migration describes the schema of its own day.
_TIME = sa.DateTime(timezone=True)
_TEXT = sa.Text()


def upgrade() -> None:
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
    )


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
