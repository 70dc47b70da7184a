"""Of an upload where pict-rs has stored it; requests at the door that pict-rs cannot have made so."""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# As in 0001: a migration describes the schema of its own day.
_TIME = sa.DateTime(timezone=True)
_TEXT = sa.Text()


def upgrade() -> None:
    op.add_column("uploads", sa.Column("storage_key", _TEXT))
    op.create_table(
        "garbled_requests",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("in_a_row", sa.Integer(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("first_at", _TIME, nullable=False),
        sa.Column("last_at", _TIME, nullable=False),
        sa.Column("last_what", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_garbled_requests"),
    )


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
