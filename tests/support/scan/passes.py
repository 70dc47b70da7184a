"""A scanner over a folder, wired by hand from real parts, with faults added where a test wants one."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from support.ledger.created import new_ledger

from lemmy_safety.actions import ActionLimits, ActionRunner, CircuitBreaker, DeleteAction
from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.errors import StorageUnreachable
from lemmy_safety.media import InlineDecoder, MediaLimits
from lemmy_safety.pauses import Pauses
from lemmy_safety.policy import build_policy
from lemmy_safety.records import ActionPlan
from lemmy_safety.scan import EngineLimits, Scanner, ScanOptions, ThreadsEngine
from lemmy_safety.storage.local import LocalStorage

if TYPE_CHECKING:
    from pathlib import Path

    from lemmy_safety.records import StoredObject
    from lemmy_safety.storage.pace import Pace

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def put(root: Path, key: str, data: bytes, *, modified_at: datetime = LONG_AGO) -> None:
    """Write an object as pict-rs would have, some time ago."""
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (modified_at.timestamp(), modified_at.timestamp()))


def keys_in(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


class WatchedStorage(LocalStorage):
    """The real local storage, with a diary and with reads that fail as often as a test asks for."""

    settle_s = 0.2  # as the real rule, only shorter than a test's patience

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[str] = []
        self.deletes: list[str] = []
        self.failures_left: dict[str, int] = {}
        self.refused: dict[str, Exception] = {}
        self.down = False
        self._diary = threading.Lock()

    def _read(self, key: str, max_bytes: int, pace: Pace | None) -> bytes:
        with self._diary:
            self.reads.append(key)
            left = self.failures_left.get(key, 0)
            self.failures_left[key] = left - 1
        if self.down or left > 0:
            raise StorageUnreachable("the line is cut")
        if key in self.refused:
            raise self.refused[key]
        return super()._read(key, max_bytes, pace)

    def _list(self, **how):
        if self.down and self.reads:
            raise StorageUnreachable("the line is cut")
        return super()._list(**how)

    def _delete(self, key: str, expected: StoredObject | None) -> bool:
        if self.down:
            raise StorageUnreachable("the line is cut")
        if key in self.refused:
            raise self.refused[key]
        with self._diary:
            self.deletes.append(key)
        return super()._delete(key, expected)


#: For passes whose subject is not the circuit breaker.
UNLIMITED = ActionLimits(first=1_000_000, per_day=1_000_000, share=100.0)


NO_PAUSES = Pauses()


def deleting(storage, ledger, *, guard=None) -> ActionRunner:
    """A runner of actions whose circuit breaker admits everything, unless another guard is given."""
    return ActionRunner(
        storage=storage,
        ledger=ledger,
        actions={DeleteAction.name: DeleteAction()},
        guard=guard or CircuitBreaker(ledger, UNLIMITED),
    )


@contextmanager
def scanner_over(
    root: Path,
    database: Path,
    *,
    detectors=None,
    nudenet_flags: bool = False,
    anomaly_flags=(),
    stop: threading.Event | None = None,
    storage: LocalStorage | None = None,
    listener=None,
    ledger=None,
    limits: ActionLimits = UNLIMITED,
    policy=None,
    rate=None,
    pauses: Pauses = NO_PAUSES,
    clock=lambda: datetime.now(UTC),
    variants_among=None,
    **options,
):
    """A scanner with the hashes detector (unless others are given) on ``root`` and ``database``."""
    settings = {
        "threads": 4,
        "decode_workers": 2,
        "max_bytes": 20_000_000,
        "memory_bytes": 50_000_000,
        "dry_run": False,
    } | options
    skip_plain, prefix = settings.pop("skip_plain", True), settings.pop("prefix", "")
    action, unreadable = settings.pop("action", "delete"), settings.pop("unreadable_action", None)
    plan = ActionPlan() if (dry_run := settings.pop("dry_run")) else ActionPlan(action, unreadable)
    storage = storage or WatchedStorage(root)
    with new_ledger(database) as opened:
        ledger = ledger or opened
        detectors = detectors or [HashesDetector()]
        for detector in detectors:
            detector.open()
        yield Scanner(
            storage=storage,
            ledger=ledger,
            engine=ThreadsEngine(
                storage=storage,
                detectors=detectors,
                policy=policy or build_policy(nudenet_flags=nudenet_flags, anomaly_flags=anomaly_flags),
                decoder=InlineDecoder(MediaLimits(max_bytes=settings["max_bytes"], max_pixels=40_000_000)),
                limits=EngineLimits(**settings),
                skip_plain=skip_plain,
                rate=rate,
            ),
            runner=deleting(storage, ledger, guard=CircuitBreaker(ledger, limits)),
            options=ScanOptions(dry_run=dry_run, plan=plan, prefix=prefix, pauses=pauses),
            stop=stop or threading.Event(),
            listener=listener,
            clock=clock,
            variants_among=variants_among,
        )
        for detector in detectors:
            detector.close()
        storage.close()


def minutes_ago(minutes: float) -> datetime:
    return datetime.now(UTC) - timedelta(minutes=minutes)
