"""Variants that pict-rs made of an original are recorded with its key, and are not read.

Room: a column is added to the table, and no row is written; the index is empty.
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("images", sa.Column("variant_of", sa.Text()))
    is_variant = sa.text("status = 'variant'")
    op.create_index(
        "ix_images_variant_of",
        "images",
        ["storage_id", "variant_of"],
        sqlite_where=is_variant,
        postgresql_where=is_variant,
    )


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
