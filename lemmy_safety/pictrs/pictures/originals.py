"""The originals of all pictures: to compare them with what is in the storage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from lemmy_safety.pictrs.api.walking import walk
from lemmy_safety.pictrs.repo.lookups import originals_after

if TYPE_CHECKING:
    from lemmy_safety.pictrs.api.client import PictrsApi
    from lemmy_safety.pictrs.repo.database import Repo


class Listed(NamedTuple):
    """One alias of a picture, and the SHA-256 of its original."""

    alias: str
    sha256: str


@dataclass(slots=True, kw_only=True)
class Originals:
    """All pictures, by the key of the original. ``hidden``: pict-rs failed to list one or more."""

    by_key: dict[str, Listed] = field(default_factory=dict)
    hidden: bool = False


def all_by_api(api: PictrsApi) -> Originals:
    """A request for each picture, and one for every 100; pict-rs 0.5.17 and later may compute missing blurhashes.

    :raises PictrsTooOld: pict-rs 0.4 has no list.
    :raises PictrsError: pict-rs cannot be asked.
    """
    found = Originals()
    for stretch in walk(api):
        found.hidden = found.hidden or stretch.hidden
        for entry in stretch.entries:
            for alias in entry.aliases:
                original = api.identifier(alias)
                if original is not None:
                    found.by_key[original] = Listed(alias, entry.hash.sha256)
                    break
    return found


def all_by_database(repo: Repo) -> Originals:
    """:raises PictrsError: the database cannot be asked."""
    found = Originals()
    after = ""
    while True:
        with repo.reading() as connection:
            page = originals_after(connection, after)
        if page.last is None:
            return found
        after = page.last
        found.by_key.update((row.original, Listed(row.alias, row.hash.sha256)) for row in page.rows)
