"""The engine behind the hook without HTTP: stories told to it in its own event loop."""

from __future__ import annotations

import asyncio
import hashlib

from support.ledger.created import new_ledger
from support.media.pictures import encode, gradient
from support.web.stand_ins import CountingDecoder

from lemmy_safety.policy import build_policy
from lemmy_safety.scan.inspection import Inspector
from lemmy_safety.uploads.decider import ValidationOptions, Validator
from lemmy_safety.uploads.metrics import Meters
from lemmy_safety.uploads.records import Upload


def upload(number: int) -> Upload:
    data = encode(gradient(seed=number), "png")
    sha256 = hashlib.sha256(data).hexdigest()
    return Upload(data=data, size=len(data), sha256=sha256, media_type="image/png", free=lambda: None)


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what happens in other threads gives no sign here
            await asyncio.sleep(0.005)


def in_service(
    tmp_path, detector, story, *, decoder=None, frame_bytes=50_000_000, decode_workers=2, policy=None
) -> int:
    """Have a story told to an engine; how many uploads were left unchecked."""

    async def run(validator: Validator, decoder: CountingDecoder) -> None:
        async with asyncio.timeout(60):
            await story(validator, decoder)
            await validator.close(within_s=10)

    with new_ledger(tmp_path / "hook.db") as ledger, decoder or CountingDecoder() as used:
        inspector = Inspector(
            detectors=[detector],
            policy=policy or build_policy(nudenet_flags=False),
            decoder=used,
            frame_bytes=frame_bytes,
        )
        options = ValidationOptions(accept_unchecked=True, queue=64, decode_workers=decode_workers)

        async def begin() -> None:
            await run(Validator(inspector=inspector, ledger=ledger, options=options, meters=Meters()), used)

        asyncio.run(begin())
        return ledger.uploads.count_unchecked()
