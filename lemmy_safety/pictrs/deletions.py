"""What an admin must know about pict-rs after pictures were removed. Words only; this module touches no storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.foreign import foreign

if TYPE_CHECKING:
    from collections.abc import Sequence


def what_remains(deleted: int) -> str:
    """What an admin must know after ``deleted`` objects (one or more) were removed from pict-rs's storage.

    Measured with pict-rs 0.5.25 and 0.6.0-rc.6; ``tests/e2e/test_pictrs_deletions.py`` checks 0.5.25.
    """
    gone = "1 object is" if deleted == 1 else f"{deleted:,} objects are"
    return (
        f"pict-rs does not know that {gone} gone. A link to a picture whose file was deleted answers 500. A new upload "
        "of the same file seems to work, but its link answers 500 too. Smaller sizes that were not deleted are still "
        "shown. To end this, purge the picture in pict-rs, or set PICTRS_URL and run lemmy-safety repair: "
        'docs/operations.md, section "After a deletion".'
    )


def what_may_return(files: int) -> str:
    """What an admin must know after ``files`` (one or more) were deleted whose pictures pict-rs did not tell."""
    gone = "1 deleted file" if files == 1 else f"{files:,} deleted files"
    return (
        f"pict-rs does not tell which picture {gone} belonged to. If it was another size of one, pict-rs may make it "
        "again; if it was an original, its links answer 500: 'lemmy-safety repair --whole-list' looks for those."
    )


def why_it_came_back(pictures: int, origins: Sequence[str]) -> str:
    """What to do about ``pictures`` (one or more) that were removed before.

    ``origins``: the hosts from which some of them come, as far as known.
    """
    came = "1 removed picture" if pictures == 1 else f"{pictures:,} removed pictures"
    after = 'docs/operations.md, section "After a deletion".'
    if not origins:
        return (
            f"{came} had come back: uploaded again, or fetched again from another server when a user opened it. To end "
            f"this, let the upload hook refuse the same bytes: {after}"
        )
    block = ", ".join(ascii(foreign(host))[1:-1] for host in origins)
    return (
        f"{came} had come back. pict-rs fetches a picture of another server again when a user opens it. To end this, "
        f"block {block} in Lemmy, or let the upload hook refuse it: {after}"
    )
