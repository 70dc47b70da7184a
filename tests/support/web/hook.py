"""The real hook on a loopback port, with a real ledger."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from support.ledger.created import new_ledger
from support.web.pictrs_client import get
from support.web.service import PATIENCE_S, Service, until
from support.web.stand_ins import CountingDecoder

from lemmy_safety.access.rules import Access
from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.policy import build_policy
from lemmy_safety.scan.inspection import Inspector
from lemmy_safety.uploads.bodies import BodyLimits
from lemmy_safety.uploads.decider import ValidationOptions, Validator
from lemmy_safety.web.server import ServerOptions, serve

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from lemmy_safety.detectors.base import Detector
    from lemmy_safety.ledger import Ledger

MAX_BYTES = 2_000_000


@dataclass(kw_only=True)
class Hook(Service):
    """The hook as a service, with the decoder that counts what it is asked."""

    decoder: CountingDecoder


@contextmanager
def running_hook(
    folder: Path,
    *,
    detectors: Sequence[Detector] | None = None,
    ledger_seen_as: Callable[[Ledger], Any] = lambda ledger: ledger,
    access: Access | None = None,
    accept_unchecked: bool = True,
    dry_run: bool = False,
    budget_s: float = 20.0,
    queue: int = 64,
    max_uploads: int = 64,
    decode_workers: int = 2,
    memory_bytes: int = 20_000_000,
    body_timeout_s: float = 20.0,
    head_timeout_s: float = 20.0,
    wait_until_ready: bool = True,
) -> Iterator[Hook]:
    """The service with the hashes detector, and others if given, on a new SQLite file in ``folder``."""
    with new_ledger(folder / "hook.db") as opened, CountingDecoder() as decoder:
        inspector = Inspector(
            detectors=[HashesDetector(), *(detectors or ())],
            policy=build_policy(nudenet_flags=False),
            decoder=decoder,
            frame_bytes=50_000_000,
        )
        options = ValidationOptions(
            accept_unchecked=accept_unchecked, queue=queue, decode_workers=decode_workers, dry_run=dry_run
        )
        used = ledger_seen_as(opened)
        hook = Hook(opened, decoder=decoder)

        def serve_it(begun: threading.Event) -> None:
            serve(
                make_engine=lambda meters: Validator(inspector=inspector, ledger=used, options=options, meters=meters),
                ledger=used,
                access=access or Access(),
                options=ServerOptions(
                    host="127.0.0.1",
                    port=0,
                    budget_s=budget_s,
                    max_uploads=max_uploads,
                    body=BodyLimits(max_bytes=MAX_BYTES, memory_bytes=memory_bytes, timeout_s=body_timeout_s),
                    head_timeout_s=head_timeout_s,
                ),
                stop=hook.stop,
                listening=hook.note(begun),
            )

        assert hook.begin("hook", serve_it).wait(PATIENCE_S)
        if wait_until_ready:
            until(lambda: get(hook.port, "/ready").status == 200, "readiness")
        try:
            yield hook
        finally:
            hook.end()
