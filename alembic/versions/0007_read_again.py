"""An index on the few objects that an admin wants to be read again, for the passes that ask for them."""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_CONDITION = "(status = 'unreadable' OR status = 'unsupported' OR status = 'too_large') AND decoder = ''"


def upgrade() -> None:
    where = sa.text(_CONDITION)
    columns = ["storage_id", "checked_at"]
    op.create_index("ix_images_read_again", "images", columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
