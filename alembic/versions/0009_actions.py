"""Actions get a table of their own: an object can have several over time, and each has a number, a state and a history.

Until here the one action of an object lay in four columns of its row.
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# See migrations.room_needed: the table of objects is copied.
ROOM = 3

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_ENUM = sa.String(32)

_FORMER = ("action_wanted", "action_state", "action_at", "action_detail")


def upgrade() -> None:
    op.create_table(
        "actions",
        sa.Column("id", _ID, nullable=False),
        sa.Column("image_id", _ID, nullable=False),
        sa.Column("kind", sa.Text()),
        sa.Column("state", _ENUM, nullable=False),
        sa.Column("judgement", sa.Integer(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text()),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("wanted_by", _ENUM, nullable=False),
        sa.Column("wanted_at", _TIME),
        sa.Column("run_id", _ID),
        sa.Column("started_at", _TIME),
        sa.Column("started_run_id", _ID),
        sa.Column("changed_at", _TIME),
        sa.Column("approved_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_actions"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_actions_image_id"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_actions_run_id"),
        sa.ForeignKeyConstraint(["started_run_id"], ["runs.id"], name="fk_actions_started_run_id"),
    )
    op.add_column("images", sa.Column("action_id", sa.BigInteger()))
    _move()
    op.create_index("ix_actions_image_id", "actions", ["image_id"])
    op.create_index("ix_actions_started_at", "actions", ["started_at"])
    for name, state in (("ix_actions_intended", "intended"), ("ix_actions_refused", "refused")):
        where = sa.text(f"state = '{state}'")
        op.create_index(name, "actions", ["image_id"], sqlite_where=where, postgresql_where=where)
    op.drop_index("ix_images_intended", "images")
    op.drop_index("ix_images_refused", "images")
    with op.batch_alter_table("images") as batch:
        for column in _FORMER:
            batch.drop_column(column)


def _move() -> None:
    """What was done or failed had been started then, as far as anything is known of it."""
    connection = op.get_bind()
    hex_digits = "lower(hex(sha256))" if connection.dialect.name == "sqlite" else "encode(sha256, 'hex')"
    connection.exec_driver_sql(
        f"""
        INSERT INTO actions (image_id, kind, state, judgement, subject, detail, wanted_by, wanted_at, run_id,
                             started_at, started_run_id, changed_at)
        SELECT id, action_wanted, action_state, judgement, coalesce({hex_digits}, storage_id || ':' || key),
               action_detail,
               CASE WHEN action_state = 'unknown' THEN 'legacy' WHEN dry_run THEN 'command' ELSE 'pass' END,
               action_at, run_id,
               CASE WHEN action_state IN ('done', 'failed') THEN action_at END,
               CASE WHEN action_state IN ('done', 'failed') THEN run_id END,
               action_at
        FROM images
        WHERE action_state <> 'none'
        ORDER BY id
        """  # noqa: S608 - constants only
    )
    connection.exec_driver_sql(
        "UPDATE images SET action_id = (SELECT id FROM actions WHERE image_id = images.id) WHERE action_state <> 'none'"
    )


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
