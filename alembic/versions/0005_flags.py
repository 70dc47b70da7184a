"""Flags on bytes that no later judgement by the same detectors has replaced, from storages and from the door.

What was flagged so far is taken over from both tables, unless the same detectors have found the same bytes not flagged
later.
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# As in 0001: a migration describes the schema of its own day.
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_TEXT = sa.Text()
_HASH = sa.LargeBinary()

# The condition on the outcome is written as in the partial index, which finds the few flagged among millions.
_FROM_IMAGES = """
INSERT INTO flags (sha256, detectors, rules_version, nsfw, findings, found_under, at)
SELECT i.sha256, i.detectors, i.rules_version, i.nsfw, i.findings, i.key, i.checked_at FROM images i
WHERE i.outcome = 'flagged' AND i.sha256 IS NOT NULL
AND NOT EXISTS (SELECT 1 FROM images later WHERE later.sha256 = i.sha256 AND later.detectors = i.detectors
    AND later.outcome <> 'flagged' AND later.checked_at > i.checked_at)
AND NOT EXISTS (SELECT 1 FROM uploads later WHERE later.sha256 = i.sha256 AND later.detectors = i.detectors
    AND later.outcome <> 'flagged' AND later.judged_at > i.checked_at)
"""
_FROM_UPLOADS = """
INSERT INTO flags (sha256, detectors, rules_version, nsfw, findings, found_under, at)
SELECT u.sha256, u.detectors, u.rules_version, u.nsfw, u.findings, '(upload)', u.last_at FROM uploads u
WHERE u.outcome = 'flagged'
AND NOT EXISTS (SELECT 1 FROM images later WHERE later.sha256 = u.sha256 AND later.detectors = u.detectors
    AND later.outcome <> 'flagged' AND later.checked_at > u.last_at)
"""


def upgrade() -> None:
    op.create_table(
        "flags",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("sha256", _HASH, nullable=False),
        sa.Column("detectors", _TEXT, nullable=False),
        sa.Column("rules_version", _TEXT, nullable=False),
        sa.Column("nsfw", sa.Boolean()),
        sa.Column("findings", _TEXT),
        sa.Column("found_under", _TEXT, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_flags"),
    )
    op.create_index("ix_flags_sha256", "flags", ["sha256"])
    op.execute(sa.text(_FROM_IMAGES))
    op.execute(sa.text(_FROM_UPLOADS))


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
