"""Options: where verdicts are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lemmy_safety.settings.option import option

SECTION = "Database and caches"


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """Where verdicts are kept."""

    sqlite_filename: Path = option(
        Path("lemmy_safety.db"), "SQLite database file.", kind=Path, section=SECTION, env=("SQLITE_FILENAME",)
    )
    database_url: str | None = option(
        None,
        "URL of a PostgreSQL database, instead of the SQLite file.",
        kind=str,
        section=SECTION,
        env=("DATABASE_URL",),
        secret=True,
        example="postgresql+psycopg://user:password@host/lemmy_safety",
    )
    cache_dir: Path | None = option(
        None,
        "Folder for text features, quantised models and measured error bounds; without it the user's cache folder.",
        kind=Path,
        section=SECTION,
        env=("CACHE_DIR",),
    )
