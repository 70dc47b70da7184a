"""From an object to its picture with pict-rs's PostgreSQL database: exact, also for variants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.pictrs.pictures.records import MOTION, ORIGINAL, VARIANT, Alias, Found, Picture, Unresolved
from lemmy_safety.pictrs.repo.lookups import hash_of_alias, parts_of, pictures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lemmy_safety.pictrs.pictures.records import Resolution
    from lemmy_safety.pictrs.repo.database import Repo
    from lemmy_safety.pictrs.repo.lookups import PictureRow


class DatabaseFinder:
    """Asks the database."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo

    def by_keys(self, wanted: Mapping[str, str | None]) -> dict[str, Resolution]:
        """The picture of each key. The SHA-256 that may be given with it is not needed here.

        :raises PictrsError: the database cannot be asked.
        """
        if not wanted:
            return {}
        with self._repo.reading() as connection:
            parts = parts_of(connection, wanted)
            rows = pictures(connection, {row.hash for row in parts.values()})
        found: dict[str, Resolution] = {}
        for key in wanted:
            part = parts.get(key)
            row = None if part is None else rows.get(part.hash)
            if part is None or row is None:
                found[key] = Unresolved(
                    reason="pict-rs's database knows no such key: its row may not be written yet, or it was removed"
                )
                continue
            kind, _, operation = part.part.partition(" ")
            found[key] = Found(picture=_picture(row), part=_PARTS[kind], operation=operation)
        return found

    def by_alias(self, alias: str) -> Picture | None:
        """None if pict-rs has no such alias.

        :raises PictrsError: the database cannot be asked.
        """
        with self._repo.reading() as connection:
            stored = hash_of_alias(connection, alias)
            row = None if stored is None else pictures(connection, [stored]).get(stored)
        return None if row is None else _picture(row)


_PARTS = {"original": ORIGINAL, "motion": MOTION, "variant": VARIANT}


def _picture(row: PictureRow) -> Picture:
    return Picture(
        sha256=row.hash.sha256,
        size=row.hash.size,
        format=row.hash.format,
        aliases=tuple(Alias(name=each.alias, origin_url=each.origin_url) for each in row.aliases),
        original=row.original,
        created_at=row.created_at,
        motion=row.motion,
        variants=row.variants,
    )
