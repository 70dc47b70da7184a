"""Mutated files of every format through the decoder in its worker processes, the hashes detector and the policy.

File number n is a function of the seed and n alone, so that a run can be continued (``--start``) and one file repeated
(``--start N --files 1``). Nothing is written to disk unless ``--keep`` names a folder for the inputs that hurt: those
that broke a worker, took longer than ``--slow-ms``, raised something unexpected, or were flagged.

    python evaluation/fuzz_media.py --files 50000
    python evaluation/fuzz_media.py --seconds 120 --only gif --inline

Exits with 1 when something was flagged, something other than a MediaError came out of the decoder, or the run broke.
"""

from __future__ import annotations

import argparse
import logging
import sys
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import suite  # noqa: F401
from decoders import inline_decoder, process_decoder
from machine import print_header
from peak_memory import PeakMemory, mebibytes
from support.media.judging import MediaJudge, is_flagged
from support.media.mutations import Mutator, seed_files

from lemmy_safety.records import ItemStatus

if TYPE_CHECKING:
    from lemmy_safety.records import Assessment

_STATUSES = (ItemStatus.CHECKED, ItemStatus.UNREADABLE, ItemStatus.UNSUPPORTED, ItemStatus.TOO_LARGE)
_ROW = "{:<44.44}{:>8}{:>9}{:>12}{:>13}{:>11}{:>9}{:>10}{:>9}"
#: What ``decode`` says when something other than a MediaError left the decoder.
_FAULT = "fault in the decoder"


@dataclass
class Tally:
    """What became of the files of one form."""

    statuses: Counter[ItemStatus] = field(default_factory=Counter)
    broke: int = 0
    total_ms: float = 0.0
    worst_ms: float = 0.0

    def add(self, result: Assessment, took_ms: float) -> None:
        self.statuses[result.status] += 1
        self.broke += result.decoder_broke
        self.total_ms += took_ms
        self.worst_ms = max(self.worst_ms, took_ms)


class Run:
    """The state of one run, shared by its threads."""

    def __init__(self, options: argparse.Namespace, judge: MediaJudge, mutator: Mutator) -> None:
        self._options = options
        self._judge = judge
        self._mutator = mutator
        self._numbers = iter(range(options.start, options.start + options.files))
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self.forms: dict[str, Tally] = defaultdict(Tally)
        self.hurt: list[str] = []
        self.reasons: Counter[str] = Counter()
        self.flagged = 0
        self.faults = 0
        self.next_number: int = options.start

    def work(self) -> None:
        """One thread's share: file after file until there are no more or the time is over."""
        while (number := self._next()) is not None:
            form, data = self._mutator.file(number)
            began = time.perf_counter()
            item = self._judge.examine(form, data)
            took_ms = (time.perf_counter() - began) * 1000
            with self._lock:
                self._note(number, form, data, self._judge.judge(item), took_ms)

    def _next(self) -> int | None:
        if self._options.seconds and self.seconds > self._options.seconds:
            return None
        with self._lock:
            number = next(self._numbers, None)
            if number is not None:
                self.next_number = number + 1
            return number

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def _note(self, number: int, form: str, data: bytes, result: Assessment, took_ms: float) -> None:
        """Count one file; print and keep it when it hurt."""
        self.forms[form].add(result, took_ms)
        fault, flagged = result.reason.startswith(_FAULT), is_flagged(result)
        self.faults += fault
        self.flagged += flagged
        if result.decoder_broke:
            self.reasons[result.reason] += 1
        if not (fault or flagged or result.decoder_broke or took_ms > self._options.slow_ms):
            return
        what = f"{'FLAGGED ' * flagged}{result.reason or result.status}"
        self.hurt.append(f"number {number}: {form}, {len(data)} bytes, {took_ms:.0f} ms, {what}")
        print(self.hurt[-1], flush=True)
        if self._options.keep:
            self._options.keep.mkdir(parents=True, exist_ok=True)
            (self._options.keep / f"{self._options.seed}-{number}.bin").write_bytes(data)


def main() -> int:
    options = parsed()
    logging.disable(logging.CRITICAL)  # thousands of lines about damaged files would drown the result
    files = [file for file in seed_files() if options.only in file.form]
    print_header("Fuzzing of the media room", vars(options) | {"forms": len(files)})
    threads = 1 if options.inline else options.workers
    with (
        inline_decoder() if options.inline else process_decoder(workers=options.workers) as decoder,
        PeakMemory() as memory,
        ThreadPoolExecutor(threads) as pool,
    ):
        run = Run(options, MediaJudge(decoder), Mutator(files, seed=options.seed))
        broken = [each.exception() for each in [pool.submit(run.work) for _ in range(threads)]]
        memory.look()
    crashes = [error for error in broken if error is not None]
    print_report(run, memory, crashes)
    return 1 if run.flagged or run.faults or crashes else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--start", type=int, default=0, help="number of the first file")
    parser.add_argument("--seconds", type=float, default=0, help="stop after this time; 0: after --files")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="forms whose name contains this")
    parser.add_argument("--slow-ms", type=float, default=2000)
    parser.add_argument("--keep", type=Path, help="folder for the inputs that hurt")
    parser.add_argument("--inline", action="store_true", help="in this process: a crash of a library ends the run")
    return parser.parse_args()


def print_report(run: Run, memory: PeakMemory, crashes: list[BaseException]) -> None:
    print("\n" + _ROW.format("form", "files", *_STATUSES, "broke", "mean ms", "worst ms"))
    whole = Tally()
    for form, tally in sorted(run.forms.items()):
        print_tally(form, tally)
        whole.statuses += tally.statuses
        whole.broke += tally.broke
        whole.total_ms += tally.total_ms
        whole.worst_ms = max(whole.worst_ms, tally.worst_ms)
    print_tally("all", whole)
    count = whole.statuses.total()
    print(
        f"\n{count} files in {run.seconds:.0f} s, {count / run.seconds:.0f} a second; next: --start {run.next_number}"
    )
    print(f"peak memory: worker {mebibytes(memory.worker)}, parent {mebibytes(memory.parent)}")
    print(f"decoder broke on: {whole.broke} {dict(run.reasons) or ''}")
    print(f"crashes of the run: {len(crashes)} {crashes or ''}")
    print(f"flagged: {run.flagged}, unexpected exceptions: {run.faults}, inputs that hurt: {len(run.hurt)}")


def print_tally(form: str, tally: Tally) -> None:
    count = max(1, tally.statuses.total())
    statuses = [tally.statuses[status] for status in _STATUSES]
    mean = f"{tally.total_ms / count:.1f}"
    print(_ROW.format(form, tally.statuses.total(), *statuses, tally.broke, mean, f"{tally.worst_ms:.0f}"))


if __name__ == "__main__":
    sys.exit(main())
