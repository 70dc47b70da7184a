"""Flags on bytes that no later judgement by the same detectors has replaced, from storages and from the door.

What was flagged so far is taken over from both tables, unless the same detectors have found the same bytes not flagged
later. On MySQL, where each change of the schema is final at once, a table that a killed start left is made again.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import DATETIME, LONGTEXT

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# As in 0001: a migration describes the schema of its own day.
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True).with_variant(DATETIME(fsp=6), "mysql")
_TEXT = sa.UnicodeText().with_variant(LONGTEXT(), "mysql")
_HASH = sa.VARBINARY(32).with_variant(sa.LargeBinary(32), "sqlite", "postgresql")
_MYSQL = {
    "mysql_engine": "InnoDB",
    "mysql_row_format": "DYNAMIC",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}

# The condition on the outcome is written as in the partial index, which finds the few flagged among millions.
_FROM_IMAGES = """
INSERT INTO flags (sha256, detectors, rules_version, nsfw, findings, found_under, at)
SELECT i.sha256, i.detectors, i.rules_version, i.nsfw, i.findings, i.{key}, i.checked_at FROM images i
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
    if "flags" in sa.inspect(op.get_bind()).get_table_names():
        op.drop_table("flags")
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
        **_MYSQL,
    )
    op.create_index("ix_flags_sha256", "flags", ["sha256"])
    is_mysql = op.get_bind().dialect.name == "mysql"
    # A key is bytes there, and a word of the language.
    op.execute(sa.text(_FROM_IMAGES.format(key="`key`" if is_mysql else "key")))
    op.execute(sa.text(_FROM_UPLOADS))


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
