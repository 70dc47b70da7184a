"""Pictures that are removed through pict-rs: what belongs to each, and how far its removal is.

An action can wait for a person's decision about its very object.

Room: new tables and a column, and no row is written.
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("actions", sa.Column("asks_since", _TIME))
    op.create_table(
        "purges",
        sa.Column("id", _ID, nullable=False),
        sa.Column("storage_id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.LargeBinary()),
        sa.Column("original", sa.Text(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("planned_at", _TIME, nullable=False),
        sa.Column("sent_at", _TIME),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("ended_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_purges"),
        sa.ForeignKeyConstraint(["storage_id"], ["storages.id"], name="fk_purges_storage_id"),
    )
    op.create_index("ix_purges_sha256", "purges", ["sha256"])
    op.create_index("ix_purges_state", "purges", ["state"])
    op.create_table(
        "purge_aliases",
        sa.Column("purge_id", _ID, nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("origin_url", sa.Text()),
        sa.Column("told_at", _TIME),
        sa.PrimaryKeyConstraint("purge_id", "alias", name="pk_purge_aliases"),
        sa.ForeignKeyConstraint(["purge_id"], ["purges.id"], name="fk_purge_aliases_purge_id"),
    )
    op.create_table(
        "purge_keys",
        sa.Column("purge_id", _ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("purge_id", "key", name="pk_purge_keys"),
        sa.ForeignKeyConstraint(["purge_id"], ["purges.id"], name="fk_purge_keys_purge_id"),
    )
    op.create_index("ix_purge_keys_key", "purge_keys", ["key"])


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
