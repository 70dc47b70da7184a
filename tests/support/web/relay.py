"""Relays and workers for tests, on loopback ports, with real ledgers."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.ledger.created import new_ledger
from support.web.hook import MAX_BYTES
from support.web.pictrs_safety import KEY
from support.web.service import PATIENCE_S, Service
from support.web.stand_ins import CountingDecoder

from lemmy_safety.access.rules import Access
from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.policy import build_policy
from lemmy_safety.relay.server.engine import RelayOptions
from lemmy_safety.relay.server.service import Relay
from lemmy_safety.relay.worker.service import WorkerOptions, work
from lemmy_safety.scan.inspection import Inspector
from lemmy_safety.uploads.bodies import BodyLimits
from lemmy_safety.uploads.metrics import Meters
from lemmy_safety.web.server import ServerOptions, serve

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lemmy_safety.detectors.base import Detector


@contextmanager
def running_relay(
    folder: Path,
    *,
    accept_unchecked: bool = True,
    dry_run: bool = False,
    budget_s: float = 20.0,
    queue: int = 64,
    port: int = 0,
    name: str = "relay.db",
    access: Access | None = None,
    max_bytes: int = MAX_BYTES,
) -> Iterator[Service]:
    with new_ledger(folder / name) as ledger:
        service = Service(ledger)

        def serve_it(begun: threading.Event) -> None:
            options = RelayOptions(accept_unchecked=accept_unchecked, queue=queue, budget_s=budget_s, dry_run=dry_run)
            relay = Relay(ledger=ledger, key=KEY, options=options)
            serve(
                make_engine=relay.engine,
                make_routers=relay.routes,
                ledger=ledger,
                access=access or Access(networks=["127.0.0.0/8"]),
                options=ServerOptions(
                    host="127.0.0.1",
                    port=port,
                    budget_s=budget_s,
                    max_uploads=64,
                    body=BodyLimits(max_bytes=max_bytes, memory_bytes=20_000_000, timeout_s=20.0),
                ),
                stop=service.stop,
                listening=service.note(begun),
            )

        assert service.begin("relay", serve_it).wait(PATIENCE_S)
        assert not service.ended_with, service.ended_with
        try:
            yield service
        finally:
            service.end()


@contextmanager
def running_worker(
    folder: Path,
    url: str,
    *,
    detectors: Sequence[Detector] = (),
    key: str = KEY,
    accept_unchecked: bool = True,
    dry_run: bool = False,
    name: str = "worker.db",
    wait_until_working: bool = True,
) -> Iterator[Service]:
    """A worker with the hashes detector, and others if given."""
    with new_ledger(folder / name) as ledger, CountingDecoder() as decoder:
        service = Service(ledger)
        inspector = Inspector(
            detectors=[HashesDetector(), *detectors],
            policy=build_policy(nudenet_flags=False),
            decoder=decoder,
            frame_bytes=50_000_000,
        )

        def work_it(begun: threading.Event) -> None:
            work(
                inspector=inspector,
                ledger=ledger,
                options=WorkerOptions(
                    url=url,
                    key=key,
                    max_bytes=MAX_BYTES,
                    memory_bytes=20_000_000,
                    decode_workers=2,
                    accept_unchecked=accept_unchecked,
                    dry_run=dry_run,
                ),
                meters=Meters(),
                stop=service.stop,
                working=lambda _url: begun.set(),
            )

        begun = service.begin("worker", work_it)
        if wait_until_working:
            assert begun.wait(PATIENCE_S)
        try:
            yield service
        finally:
            service.end()
