"""Keys of the older form, and all keys after a ``migrate-store``: only a walk over all pictures finds theirs.

It costs a request for every 100 pictures, and pict-rs 0.5.17 and later may compute a missing blurhash of each from its
original, which can load the server for hours. So it is a function of its own, which a person starts, and it goes on
from where it was interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lemmy_safety.pictrs.api.walking import LATE_ROW, walk

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime

    from lemmy_safety.pictrs.api.client import PictrsApi
    from lemmy_safety.pictrs.api.walking import Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A part of the walk. ``found``: an alias for each wanted SHA-256 in it. ``then``: where to go on, None at the end.

    ``hidden``: one or more pictures could not be listed here, so what is missing at the end may be among them.
    """

    seen: int
    found: dict[str, str] = field(default_factory=dict)
    hidden: bool = False
    then: Position | None = None

    @property
    def resume_at(self) -> datetime | None:
        """All that is not seen yet is older than this moment; None at the end, or if it is not known."""
        reached = None if self.then is None else self.then.reached
        return None if reached is None else reached + LATE_ROW


def find_all(
    api: PictrsApi,
    sha256s: Collection[str],
    *,
    start: Position | None = None,
    older_than: datetime | None = None,
) -> Iterator[Step]:
    """Walk from the newest picture, or from where an earlier walk was, until all are found or the list ends.

    To resume, keep ``then`` of each step as ``start``, or its ``resume_at`` as ``older_than``; the latter repeats some.

    :raises PictrsError: pict-rs cannot be asked; the walk can be resumed.
    """
    missing = set(sha256s)
    for stretch in walk(api, start=start, older_than=older_than):
        found = {
            entry.hash.sha256: entry.aliases[0]
            for entry in stretch.entries
            if entry.hash.sha256 in missing and entry.aliases
        }
        missing -= found.keys()
        yield Step(seen=len(stretch.entries), found=found, hidden=stretch.hidden, then=stretch.then)
        if not missing:
            break
