"""An index on the few objects that an admin wants to be read again, for the passes that ask for them."""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_INDEX = "ix_images_read_again"
_CONDITION = "(status = 'unreadable' OR status = 'unsupported' OR status = 'too_large') AND decoder = ''"


def upgrade() -> None:
    # Without partial indexes, ix_images_status of 0001 leads to all objects that could not be decoded, which are few.
    bind = op.get_bind()
    present = {index["name"] for index in sa.inspect(bind).get_indexes("images")}
    if bind.dialect.name in {"sqlite", "postgresql"} and _INDEX not in present:
        where = sa.text(_CONDITION)
        columns = ["storage_id", "checked_at"]
        op.create_index(_INDEX, "images", columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
