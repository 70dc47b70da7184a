"""Passes, and the parts of a pass for bytes that are sent to us."""

from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from lemmy_safety.wiring.acting import build_action_plan, build_runner
from lemmy_safety.wiring.decoding import decode_workers, max_bytes, memory_bytes, start_decoder
from lemmy_safety.wiring.detection import build_detectors, build_policy
from lemmy_safety.wiring.ledger import open_ledger
from lemmy_safety.wiring.pausing import build_pauses
from lemmy_safety.wiring.pictrs import open_variant_finder
from lemmy_safety.wiring.storage import build_storage

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from lemmy_safety.scan import EngineLimits, ProgressListener, RateLimit, Scanner
    from lemmy_safety.scan.inspection import Inspector
    from lemmy_safety.settings import Settings
    from lemmy_safety.wiring.storage import AskPassphrase

_BYTES_PER_MBIT = 1_000_000 / 8

#: Megabits a second that each simultaneous read should get at least. Servers cut off clients that take nothing for long
#: (nginx: 60 s); and fewer reads are enough to use such a line.
_MBIT_PER_THREAD = 0.5
_FEWEST_THREADS = 2


@contextmanager
def open_scanner(
    settings: Settings,
    *,
    stop: threading.Event,
    listener: ProgressListener | None = None,
    ask_passphrase: AskPassphrase | None = None,
) -> Iterator[Scanner]:
    """For sweeps and the daemon: ledger and detectors opened; each pass opens the storage itself.

    The order matters: a wrong setting or database is reported before gigabytes of weights are loaded.

    :raises LemmySafetyError: a pass cannot run with everything that was requested.
    """
    from lemmy_safety.scan import Scanner, ScanOptions, ThreadsEngine
    from lemmy_safety.storage.names import typed_key

    storage = build_storage(settings, ask_passphrase=ask_passphrase)
    pauses = build_pauses(settings)
    with ExitStack() as stack:
        ledger = stack.enter_context(open_ledger(settings))
        if settings.all:
            ledger.passes.ensure_no_sweep_runs(storage.name)
        stack.callback(storage.close)
        variants_among = stack.enter_context(open_variant_finder(settings, ask_passphrase=ask_passphrase))
        decoder = stack.enter_context(start_decoder(settings))
        # A daemon may be idle for hours before it sees a picture.
        unopened = build_detectors(settings, lazy=not settings.all, stop=stop)
        detectors = [stack.enter_context(detector) for detector in unopened]
        yield Scanner(
            storage=storage,
            ledger=ledger,
            engine=ThreadsEngine(
                storage=storage,
                detectors=detectors,
                policy=build_policy(settings),
                decoder=decoder,
                limits=engine_limits(settings),
                skip_plain=settings.skip_plain,
                rate=rate_limit(settings),
            ),
            runner=build_runner(settings, storage, ledger, stack, ask_passphrase=ask_passphrase),
            options=ScanOptions(
                dry_run=settings.dry_run,
                plan=build_action_plan(settings),
                prefix=typed_key(settings.prefix),
                pauses=pauses,
            ),
            stop=stop,
            listener=listener,
            variants_among=variants_among,
        )


@contextmanager
def open_inspector(settings: Settings) -> Iterator[Inspector]:
    """For media that are sent to us (hook, worker): a pass without a storage. Its detectors are not open yet."""
    from lemmy_safety.scan.inspection import Inspector as Inspection

    with start_decoder(settings) as decoder:
        yield Inspection(
            detectors=build_detectors(settings),
            policy=build_policy(settings),
            decoder=decoder,
            frame_bytes=memory_bytes(settings),
            skip_plain=settings.skip_plain,
        )


def engine_limits(settings: Settings) -> EngineLimits:
    """How much a pass processes, and holds in memory, at a time."""
    from lemmy_safety.scan import EngineLimits

    return EngineLimits(
        threads=_threads(settings),
        decode_workers=decode_workers(settings),
        max_bytes=max_bytes(settings),
        memory_bytes=memory_bytes(settings),
    )


def _threads(settings: Settings) -> int:
    if settings.max_mbit is None:
        return settings.threads
    return min(settings.threads, max(_FEWEST_THREADS, math.ceil(settings.max_mbit / _MBIT_PER_THREAD)))


def rate_limit(settings: Settings) -> RateLimit | None:
    """The limit on reading, for all passes together; None without one."""
    from lemmy_safety.scan import RateLimit

    bytes_per_s = most_bytes_per_s(settings)
    return None if bytes_per_s is None else RateLimit(bytes_per_s)


def most_bytes_per_s(settings: Settings) -> float | None:
    """The rate at which passes may read; None without a limit."""
    return None if settings.max_mbit is None else settings.max_mbit * _BYTES_PER_MBIT
