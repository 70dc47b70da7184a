"""Whether a storage is the one that a pict-rs writes to. Nothing may be purged before that is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lemmy_safety.errors import PictrsElsewhere
from lemmy_safety.pictrs.api.walking import walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.pictrs.api.client import PictrsApi

#: Pictures that are compared. One can be missing, because it was deleted behind pict-rs's back.
SAMPLE: Final = 20


def check_belonging(api: PictrsApi, is_stored: Callable[[str], bool], *, most: int = SAMPLE) -> tuple[int, int]:
    """Look for the newest pictures of pict-rs in the storage: how many are there, and how many were looked for.

    ``is_stored`` says whether the storage has a key. With no picture in pict-rs, nothing is shown: (0, 0).

    :raises PictrsElsewhere: not one of them is there.
    :raises PictrsError: pict-rs cannot be asked.
    """
    asked = there = 0
    for entry in next(walk(api)).entries[:most]:
        identifier = next((key for key in map(api.identifier, entry.aliases) if key is not None), None)
        if identifier is not None:
            asked += 1
            there += is_stored(identifier)
    if asked and not there:
        raise PictrsElsewhere(
            f"Of the newest pictures of the pict-rs at {api.url}, none of {asked} is in this storage."
        )
    return there, asked
