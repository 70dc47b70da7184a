"""Removals through pict-rs that ``repair`` began: since when, and whether a person approved them.

Room: two columns, and no row is written.
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("purges", sa.Column("repair_at", _TIME))
    op.add_column("purges", sa.Column("approved_at", _TIME))


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
