"""In which storage pict-rs puts what the door lets in, as far as the settings say."""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # On MySQL a change of the schema is final at once: a start that was killed in the middle may have made it. Without a
    # foreign key, for which SQLite would have to copy the table.
    if "storage_id" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("uploads")}:
        op.add_column("uploads", sa.Column("storage_id", sa.Integer()))


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
