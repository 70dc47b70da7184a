"""Whether a storage, a pict-rs and a database belong together. Nothing may be purged before that is shown."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from lemmy_safety.errors import PictrsElsewhere
from lemmy_safety.pictrs.api.walking import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from lemmy_safety.pictrs.api.client import PictrsApi
    from lemmy_safety.pictrs.pictures.records import Picture


class KnowsAliases(Protocol):
    """See ``by_database.py``."""

    def by_alias(self, alias: str) -> Picture | None: ...


#: Pictures that have to be there.
SAMPLE: Final = 20

#: How many times that number is looked for. Some can be missing, because they were deleted behind pict-rs's back.
_TIMES: Final = 5

#: Pages that are read for that: of a hundred pictures each, unless some cannot be shown.
_MOST_PAGES: Final = 10


def check_belonging(
    api: PictrsApi, is_stored: Callable[[str], bool], *, most: int = SAMPLE, known_gone: Container[str] = ()
) -> tuple[int, int]:
    """Look for the newest pictures of pict-rs in the storage: how many are there, and how many were looked for.

    It ends when ``most`` are there, or five times as many were looked for: a batch of new ones may have been deleted.
    ``is_stored`` says whether the storage has a key. Originals that are ``known_gone`` show nothing and do not count.
    With no other picture in pict-rs, nothing is shown: (0, 0).

    :raises PictrsElsewhere: not one of them is there.
    :raises PictrsError: pict-rs cannot be asked.
    """
    asked = there = 0
    for identifier in _newest(api):
        if there >= most or asked >= most * _TIMES:
            break
        if identifier not in known_gone:
            asked += 1
            there += is_stored(identifier)
    if asked and not there:
        raise PictrsElsewhere(
            f"Of the newest pictures of the pict-rs at {api.url}, none of {asked} is in this storage."
        )
    return there, asked


def ensure_shown(
    api: PictrsApi,
    is_stored: Callable[[str], bool],
    *,
    known_gone: Container[str] = (),
    database: KnowsAliases | None = None,
) -> None:
    """As ``check_belonging`` and ``check_same``; but what is not shown is refused.

    :raises PictrsElsewhere: they do not belong together, or pict-rs has no picture that could show it.
    :raises PictrsError: pict-rs or its database cannot be asked.
    """
    _, asked = check_belonging(api, is_stored, known_gone=known_gone)
    if not asked:
        raise PictrsElsewhere(f"The pict-rs at {api.url} has no picture that shows that it writes to this storage.")
    if database is not None:
        check_same(api, database)


def check_same(api: PictrsApi, database: KnowsAliases) -> None:
    """Look for the newest picture of pict-rs in its database.

    :raises PictrsElsewhere: it is not there.
    :raises PictrsError: pict-rs or its database cannot be asked.
    """
    aliases = [alias for entry in api.hashes(limit=1).entries for alias in entry.aliases]
    if aliases and not any(database.by_alias(alias) for alias in aliases):
        raise PictrsElsewhere(
            "PICTRS_DATABASE_URL is not the database of the pict-rs at PICTRS_URL: its newest picture is missing.",
            hint="Set both to those of the same pict-rs.",
        )


def _newest(api: PictrsApi) -> Iterator[str]:
    """Originals, the newest first."""
    for entry in (entry for stretch in islice(walk(api), _MOST_PAGES) for entry in stretch.entries):
        identifier = next((key for key in map(api.identifier, entry.aliases) if key is not None), None)
        if identifier is not None:
            yield identifier
