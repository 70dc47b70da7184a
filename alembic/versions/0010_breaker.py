"""The state of the circuit breaker, in one row.

What was acted on before it was there counts towards no limit. Where a person has reviewed anything, that is a decision.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    table = op.create_table(
        "breaker",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tripped_at", _TIME),
        sa.Column("limit_name", sa.String(32)),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("run_id", _ID),
        sa.Column("decided_at", _TIME),
        sa.Column("started_before", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_breaker"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_breaker_run_id"),
    )
    op.create_index("ix_actions_subject", "actions", ["subject"])
    connection = op.get_bind()
    reviewed = connection.exec_driver_sql("SELECT 1 FROM reviews WHERE review <> 'none' LIMIT 1").first()
    now = datetime.now(UTC)
    if connection.dialect.name == "sqlite":
        now = now.replace(tzinfo=None)
    decided_at = now if reviewed else None
    started = "SELECT count(DISTINCT subject) FROM actions WHERE started_at IS NOT NULL"
    before = connection.exec_driver_sql(started).scalar_one()
    op.execute(table.insert().values(id=1, reason="", decided_at=decided_at, started_before=before))


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
