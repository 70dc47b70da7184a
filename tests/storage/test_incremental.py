"""What the incremental listing remembers from one pass to the next; what it gives is in the conformance suite."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from support.scan.passes import put

from lemmy_safety.pictrs.keys import make_key
from lemmy_safety.storage.incremental import IncrementalListing
from lemmy_safety.storage.local import LocalStorage

if TYPE_CHECKING:
    from pathlib import Path


class Asked(LocalStorage):
    """Notes what is asked of it."""

    whole_listing_up_to = 1

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[str] = []

    def list(self, **how):
        self.asked.append("all" if how.get("since") is None else "new")
        return super().list(**how)

    def ordered_keys(self):
        self.asked.append("first key")
        return super().ordered_keys()


def test_a_store_that_proved_to_be_large_is_not_listed_whole_again(tmp_path: Path) -> None:
    """Nor is its first time-ordered key looked for twice; another listing knows nothing of that."""
    now = datetime.now(UTC)
    for days in (40, 50, 60):
        put(tmp_path, make_key(now - timedelta(days=days), days, ".png"), b"x")
    with Asked(tmp_path) as storage:
        storage.asked.clear()
        listing = IncrementalListing(storage)
        list(listing.new_since(now))
        assert storage.asked == ["all", "first key", "new"]
        storage.asked.clear()
        list(listing.new_since(now))
        assert storage.asked == ["new"]
        storage.asked.clear()
        list(IncrementalListing(storage).new_since(now))
        assert storage.asked == ["all", "first key", "new"]
