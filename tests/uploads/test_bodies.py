"""Bodies into memory: whole or not at all, and together within a bound."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.uploads.bodies import BadBody, BodyFault, BodyLimits, BodyMemory, BodyReader, claimed_type

LIMITS = BodyLimits(max_bytes=1000, memory_bytes=3000, timeout_s=5)


async def stream(*parts: bytes):
    for part in parts:
        await asyncio.sleep(0)
        yield part


def read(*parts: bytes, limits: BodyLimits = LIMITS, **how):
    async def run():
        reader = BodyReader(limits)
        upload = await reader.read(stream(*parts), media_type="image/png", **how)
        assert reader.bytes_held == upload.size
        data = upload.data
        upload.drop()
        upload.drop()
        assert reader.bytes_held == 0
        assert upload.data is None
        return upload, data

    return asyncio.run(run())


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_body_arrives_as_it_was_sent(parts):
    """Bytes, size and both digests are those of the whole body, however it was cut."""
    whole = b"".join(parts)
    if not whole:
        with pytest.raises(BadBody) as caught:
            read(*parts)
        assert caught.value.fault is BodyFault.BAD
        return
    upload, data = read(*parts)
    assert data == whole
    assert upload.size == len(whole)
    assert upload.sha256 == hashlib.sha256(whole).hexdigest()


def test_limit_is_exact():
    """A body of just the limit is taken, one byte more is 413."""
    assert read(bytes(600), bytes(400))[0].size == 1000
    with pytest.raises(BadBody) as caught:
        read(bytes(600), bytes(401))
    assert caught.value.fault is BodyFault.TOO_LARGE


@given(st.lists(st.integers(min_value=1, max_value=100), min_size=1, max_size=30), st.integers(1, 8))
def test_memory_is_bounded_and_nobody_is_stuck(sizes, senders):
    """Many senders at once never hold more than the bound and one body, and all get through."""
    limit, largest = 150, 3 * 100

    async def run():
        memory = BodyMemory(limit, reclaim=lambda: 0, make_way=lambda: False)
        peak = 0

        async def send(size: int) -> None:
            nonlocal peak
            share = memory.share()
            for _ in range(3):
                await share.grow(size)
                peak = max(peak, memory.used)
                await asyncio.sleep(0)
            share.complete()
            await asyncio.sleep(0)
            share.free()

        gate = asyncio.Semaphore(senders)

        async def in_turn(size: int) -> None:
            async with gate:
                await send(size)

        async with asyncio.timeout(20):
            await asyncio.gather(*(in_turn(size) for size in sizes))
        assert memory.used == 0
        assert peak <= limit + largest

    asyncio.run(run())


def test_memory_of_late_uploads_is_taken_back_first():
    """Before a sender has to wait, uploads that no one waits for are given up."""

    async def run():
        held = []

        def reclaim() -> int:
            if not held:
                return 0
            upload = held.pop()
            upload.drop()
            return upload.size

        reader = BodyReader(BodyLimits(max_bytes=1000, memory_bytes=1000, timeout_s=5), reclaim=reclaim)
        held.append(await reader.read(stream(bytes(900)), media_type=""))
        upload = await reader.read(stream(bytes(800)), media_type="")
        assert upload.size == reader.bytes_held == 800

    asyncio.run(run())


def test_who_finds_no_memory_in_time_is_told_to_come_again():
    """Waiting for memory until the time is over is 503 and not 408: the sender was not slow."""

    async def run():
        reader = BodyReader(BodyLimits(max_bytes=1000, memory_bytes=1000, timeout_s=0.1))
        held = await reader.read(stream(bytes(900)), media_type="")
        with pytest.raises(BadBody) as caught:
            await reader.read(stream(bytes(800)), media_type="")
        assert caught.value.fault is BodyFault.NO_ROOM
        assert reader.bytes_held == held.size

    asyncio.run(run())


def test_stop_ends_what_is_being_received():
    """A stop answers half-received bodies and new ones with 503."""

    async def run():
        reader = BodyReader(LIMITS)
        never = asyncio.Event()

        async def half():
            yield b"half"
            await never.wait()

        reading = asyncio.create_task(reader.read(half(), media_type=""))
        await asyncio.sleep(0)
        reader.stop()
        for attempt in (reading, reader.read(half(), media_type="")):
            with pytest.raises(BadBody) as caught:
                await attempt
            assert caught.value.fault is BodyFault.NO_ROOM
        assert reader.bytes_held == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("image/PNG; charset=x", "image/png"),
        ("video/mp4", "video/mp4"),
        ("", ""),
        ("nonsense", ""),
        ("a/b/c", ""),
        ("image/<script>", ""),
        ("x" * 100 + "/y", ""),
    ],
)
def test_only_media_types_are_kept(header, kept):
    """Of a Content-Type only what is a media type goes into the record."""
    assert claimed_type(header) == kept
