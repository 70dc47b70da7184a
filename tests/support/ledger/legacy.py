"""Databases as the ancestor's tool leaves them: one table, naive UTC times, nothing else.

Written with plain SQL in the shape that its published models give SQLite, so that no code of ours has a hand in it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SCHEMA = """
CREATE TABLE images (
    id INTEGER NOT NULL,
    filename VARCHAR NOT NULL,
    nsfw BOOLEAN,
    csam BOOLEAN,
    created DATETIME NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX ix_images_filename ON images (filename);
"""

FIRST_SEEN = datetime(2024, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
"""When the first row was recorded; each further one a second later."""


def write_ancestor_database(path: Path, rows: Iterable[tuple[str, bool | None, bool | None]]) -> Path:
    """Write a database with rows of (filename, nsfw, csam)."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(_SCHEMA)
        connection.executemany(
            "INSERT INTO images (filename, nsfw, csam, created) VALUES (?, ?, ?, ?)",
            (
                (filename, nsfw, csam, (FIRST_SEEN + timedelta(seconds=second)).strftime("%Y-%m-%d %H:%M:%S.%f"))
                for second, (filename, nsfw, csam) in enumerate(rows)
            ),
        )
        connection.commit()
    return path
