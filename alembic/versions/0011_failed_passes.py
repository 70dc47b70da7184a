"""In how many passes in a row an object could not be read or judged, so that a person hears of what fails for good."""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("images", sa.Column("failed_passes", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
