"""The relay's list of what was let in unchecked, as a worker sees it over days."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import islice

from support.ledger.created import new_ledger
from support.ledger.uploads import upload

from lemmy_safety.records import ItemStatus
from lemmy_safety.relay.messages import encode_unchecked
from lemmy_safety.relay.worker import mirror as unchecked_mirror
from lemmy_safety.relay.worker.mirror import UncheckedMirror

NOW = datetime.now(UTC)


class RelayAtHand:
    """A relay's answers from its real ledger, without the HTTP between, which test_pair.py has."""

    url = "relay"

    def __init__(self, ledger) -> None:
        self._ledger = ledger

    async def unchecked(self, *, after):
        place = None
        if after is not None:
            moment, _, sha256 = after.partition(",")
            place = (datetime.fromisoformat(moment), sha256)
        return [encode_unchecked(row) for row in islice(self._ledger.uploads.unchecked(after=place), 500)]

    async def settle(self, judged) -> None:
        assert judged == []


def test_what_comes_into_an_earlier_place_is_found_too(tmp_path) -> None:
    """The same bytes again, which are listed by their first time; and others while the relay's clock was set back."""

    async def look_for_a_while() -> None:
        mirror = UncheckedMirror(RelayAtHand(relay), home)
        await mirror.look()
        relay.uploads.record([upload("removed", at=NOW + timedelta(hours=2))])
        relay.uploads.record([upload("clock set back", at=NOW + timedelta(minutes=30))])
        for _ in range(unchecked_mirror._WHOLE_LIST_EVERY):
            await mirror.look()
        mirror.close()

    with new_ledger(tmp_path / "relay.db") as relay, new_ledger(tmp_path / "home.db") as home:
        relay.uploads.record([upload("removed", at=NOW), upload("removed", None, status=ItemStatus.GONE)])
        relay.uploads.record([upload("waits", at=NOW + timedelta(hours=1))])
        asyncio.run(look_for_a_while())
        listed = {row.sha256 for row in relay.uploads.unchecked()}
        assert len(listed) == 3
        assert {row.sha256 for row in home.uploads.unchecked()} == listed
