"""A verdict has an outcome for each domain. NULL where there is ``csam`` alone, as in all that was judged before.

Room: columns are added to the tables, and no row is written.
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("images", "uploads", "flags"):
        op.add_column(table, sa.Column("outcomes", sa.Text()))


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
