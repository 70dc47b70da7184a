"""What the worker says of a server that goes and comes, and when it believes that it is back."""

from __future__ import annotations

import asyncio
import logging

import pytest

from lemmy_safety.relay.worker.backoff import Backoff


@pytest.fixture
def said(caplog) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="lemmy_safety")
    return caplog


def test_trouble_is_told_once_and_so_is_the_end_of_it(said) -> None:
    """Not once for each of those who asked."""

    async def story() -> None:
        backoff = Backoff("the server")
        await asyncio.gather(*(backoff.after(OSError("gone")) for _ in range(3)))
        backoff.answered(asked_at=backoff.now())
        backoff.answered(asked_at=backoff.now())

    asyncio.run(story())
    assert said.messages == ["no answer from the server: gone; trying again", "the server answers again"]


def test_an_answer_from_before_the_trouble_does_not_end_it(said) -> None:
    """It was on its way when the server went."""

    async def story() -> None:
        backoff = Backoff("the server")
        asked_at = backoff.now()
        await asyncio.gather(
            backoff.after(OSError("gone")), _answered(backoff, asked_at), backoff.after(OSError("gone"))
        )

    async def _answered(backoff: Backoff, asked_at: float) -> None:
        backoff.answered(asked_at=asked_at)

    asyncio.run(story())
    assert said.messages == ["no answer from the server: gone; trying again"]
