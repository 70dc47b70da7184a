"""What pict-rs does after the file of a picture was deleted. Words only; this module touches no storage."""

from __future__ import annotations


def what_remains(deleted: int) -> str:
    """What an admin must know after ``deleted`` objects (one or more) were removed from pict-rs's storage.

    Measured with pict-rs 0.5.25 and 0.6.0-rc.6; ``tests/e2e/test_pictrs_deletions.py`` checks 0.5.25.
    """
    gone = "1 object is" if deleted == 1 else f"{deleted:,} objects are"
    return (
        f"pict-rs does not know that {gone} gone. A link to a picture whose file was deleted answers 500. A new upload "
        "of the same file seems to work, but its link answers 500 too. Smaller sizes that were not deleted are still "
        'shown. Purge the picture in pict-rs to end this: docs/operations.md, section "After a deletion".'
    )
