"""The real hook on a loopback port, with a real ledger; stand-ins only for detectors that have to wait or to fail."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from support.web.pictrs_client import Answer, ask, get

from lemmy_safety.access.rules import Access
from lemmy_safety.detectors.base import Detector
from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.media import InlineDecoder, MediaLimits
from lemmy_safety.policy import build_policy
from lemmy_safety.scan.inspection import Inspector
from lemmy_safety.uploads.bodies import BodyLimits
from lemmy_safety.uploads.decider import ValidationOptions, Validator
from lemmy_safety.web.server import ServerOptions, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from lemmy_safety.ledger import Ledger
    from lemmy_safety.records import Finding, Sample

MAX_BYTES = 2_000_000


class CountingDecoder(InlineDecoder):
    """The real decoder, counting how often it is asked."""

    def __init__(self) -> None:
        # As ``passes.scanner_over`` has it, so that verdicts of sweeps and of the hook come from the same version.
        super().__init__(MediaLimits(max_bytes=20_000_000, max_pixels=40_000_000))
        self.calls = 0
        self._lock = threading.Lock()

    def decode(self, data: bytes):
        with self._lock:
            self.calls += 1
        return super().decode(data)


class GatedDetector(Detector):
    """Finds nothing, and that only while its gate is open; keeps the sizes of its batches."""

    name: ClassVar[str] = "gated"
    version = "1"
    reads_plain = True

    def __init__(self, *, batch_size: int = 8) -> None:
        self.batch_size = batch_size
        self.gate = threading.Event()
        self.ready_to_open = threading.Event()
        self.ready_to_open.set()
        self.entered = threading.Event()
        self.batches: list[int] = []
        self._opened = False

    def open(self) -> None:
        self.ready_to_open.wait()

    def detect(self, batch: Sequence[Sample]) -> list[list[Finding]]:
        if self._opened:
            self.entered.set()
            self.gate.wait()
            self.batches.append(len(batch))
        self._opened = True  # the first picture is the one that warms it up
        return [[] for _ in batch]

    def close(self) -> None:
        pass


class FailingDetector(Detector):
    """Works on its first picture and fails on all others, as a graphics card that fell off does."""

    name: ClassVar[str] = "failing"
    version = "1"
    reads_plain = True
    batch_size = 8

    def __init__(self) -> None:
        self.asked = 0
        self.mended = False

    def open(self) -> None:
        pass

    def detect(self, batch: Sequence[Sample]) -> list[list[Finding]]:
        self.asked += 1
        if self.asked > 1 and not self.mended:
            raise RuntimeError("device lost")
        return [[] for _ in batch]

    def close(self) -> None:
        pass


@dataclass
class Hook:
    """A running service. ``error`` is what it ended with."""

    port: int
    ledger: Ledger
    decoder: CountingDecoder
    stop: threading.Event
    thread: threading.Thread
    ended_with: list[BaseException]

    def ask(self, data: bytes, path: str = "/validate", **how: str) -> Answer:
        return ask(self.port, data, path, **how)

    def metric(self, line: str, **headers: str) -> float:
        """The value of one line of /metrics, named with its labels; the prefix is left out."""
        text = get(self.port, "/metrics", **headers).body.decode()
        for shown in text.splitlines():
            name, _, value = shown.rpartition(" ")
            if name == f"lemmy_safety_hook_{line}":
                return float(value)
        raise AssertionError(f"no metric {line}")

    def wait_for_metric(self, line: str, value: float) -> None:
        """Ask until the metric has the value; it follows an event of the service that tests cannot wait for otherwise."""
        deadline = threading.Event()
        for _ in range(1000):
            if self.metric(line) == value:
                return
            deadline.wait(0.01)
        raise AssertionError(f"{line} is {self.metric(line)}, not {value}")

    def end(self) -> None:
        """Stop it as SIGTERM does, and wait for its end."""
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive(), "the service does not stop"


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
    with open_ledger(sqlite_url(folder / "hook.db")) as opened, CountingDecoder() as decoder:
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
        listening, stop = threading.Event(), threading.Event()
        hook = Hook(0, opened, decoder, stop, threading.current_thread(), [])

        def note(_host: str, port: int) -> None:
            hook.port = port
            listening.set()

        def run() -> None:
            try:
                serve(
                    make_engine=lambda meters: Validator(
                        inspector=inspector, ledger=used, options=options, meters=meters
                    ),
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
                    stop=stop,
                    listening=note,
                )
            except BaseException as error:  # noqa: BLE001 - for the test to look at
                hook.ended_with.append(error)
                listening.set()

        hook.thread = threading.Thread(target=run, name="hook", daemon=True)
        hook.thread.start()
        assert listening.wait(20)
        if wait_until_ready:
            pause = threading.Event()
            while get(hook.port, "/ready").status != 200:
                pause.wait(0.01)
        try:
            yield hook
        finally:
            hook.end()
