"""In which storage pict-rs puts what the door lets in, as far as the settings say."""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Without a foreign key, for which SQLite would have to copy the table.
    op.add_column("uploads", sa.Column("storage_id", sa.Integer()))


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
