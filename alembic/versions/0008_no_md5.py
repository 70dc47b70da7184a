"""Uploads lose their MD5, and what was judged by it is read.

Until here an S3 object that was listed with the MD5 and size of an upload took that upload's verdict without being read.
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# See migrations.room_needed: where there is little but uploads, most of the database is copied.
ROOM = 3

_UNREAD = "(upload, not read)"
_OF_THE_BYTES = (
    "sha256",
    "pdq",
    "pdq_quality",
    "media_type",
    "width",
    "height",
    "frame_count",
    "duration_s",
    "anomalies",
    "outcome",
    "nsfw",
    "findings",
    "reused_from",
    "review_at",
)


def upgrade() -> None:
    _have_them_read()
    op.drop_index("ix_uploads_md5", "uploads")
    # SQLite drops a column by itself from 3.35 on only; before, and here always, the table is copied.
    with op.batch_alter_table("uploads") as batch:
        batch.drop_column("md5")


def _have_them_read() -> None:
    """Only what is not flagged: a flag that was found later stands on the bytes of the upload and stays."""
    images = sa.table(
        "images",
        *(sa.column(name) for name in (*_OF_THE_BYTES, "detectors", "rules_version", "status", "reason", "judgement")),
        *(sa.column(name) for name in ("review", "review_note")),
    )
    values = {
        **dict.fromkeys(_OF_THE_BYTES),
        "detectors": "",
        "rules_version": "",
        "status": "fetch_failed",
        "reason": "an earlier version took the verdict of an upload for it without reading it",
        "judgement": images.c.judgement + 1,
        "review": "none",
        "review_note": "",
    }
    op.execute(
        images.update()
        .where(images.c.reused_from == _UNREAD, images.c.outcome.in_(["clear", "borderline"]))
        .values(values)
    )


def downgrade() -> None:
    # As for 0001: an older version takes an older copy of the file.
    raise NotImplementedError("There is no way back.")
