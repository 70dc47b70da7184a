"""What listing costs: requests of a daemon's pass against those of a whole listing, seconds, memory by number of objects.

Passes are real ones (``Scanner``, ``S3Storage``, SQLite ledger, hashes detector) over a made-up bucket
(``made_up_bucket.py``); each is measured in a process of its own. Every object of the bucket is in the ledger first, as
after a sweep; then ``--new`` appear before each pass of the daemon. A pass reads what is new, so many GET there must be;
what a listing costs are the LIST.

    python benchmarks/listing.py --sizes 10000,1000000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Self
from urllib.request import Request, urlopen

import psutil
from machine import print_header
from made_up_bucket import BUCKET

from lemmy_safety.actions import ActionLimits, ActionRunner, CircuitBreaker
from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.media import InlineDecoder, MediaLimits
from lemmy_safety.policy import build_policy
from lemmy_safety.records import ActionPlan, Assessment, ItemResult, ItemStatus, Outcome, Verdict
from lemmy_safety.scan import EngineLimits, PassRequest, Scanner, ScanOptions, ThreadsEngine
from lemmy_safety.storage.s3 import S3Storage

HERE = Path(__file__).parent


@contextmanager
def bucket_of(objects: int, seed: int):
    server = subprocess.Popen(
        [sys.executable, HERE / "made_up_bucket.py", "--objects", str(objects), "--seed", str(seed)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait()


def requests_to(endpoint: str) -> dict[str, int]:
    with urlopen(f"{endpoint}/requests") as answer:
        return json.load(answer)


def add_objects(endpoint: str, number: int) -> None:
    urlopen(Request(endpoint, data=b"", headers={"X-Number": str(number)})).close()


def storage_at(endpoint: str) -> S3Storage:
    return S3Storage(endpoint, BUCKET, "key", "secret", region="us-east-1", connections=12)


def fill_ledger(storage: S3Storage, url: str) -> None:
    """As a sweep would have left it; the pictures themselves are of no matter here."""
    clear = Verdict(outcome=Outcome.CLEAR, nsfw=None, findings=(), rules_version="made up")
    assessment = Assessment(status=ItemStatus.CHECKED, verdict=clear, detectors=frozenset({"hashes"}))
    with open_ledger(url) as ledger:
        run = ledger.passes.start(storage.name, "sweep", dry_run=False, detectors=("hashes",))
        listed = iter(storage.list())
        while batch := list(islice(listed, 20_000)):
            results = [ItemResult(obj=obj, assessment=assessment) for obj in batch]
            ledger.objects.record(
                storage.name, results, run_id=run, dry_run=False, plan=ActionPlan(), decoder="made up"
            )
        ledger.passes.finish(run, {}, complete=True)


def measured(job: str, endpoint: str, database: Path, *, new: int = 0) -> dict[str, Any]:
    """The job in a new process: what it printed last, which is its own account."""
    told = subprocess.run(
        [sys.executable, __file__, "--job", job, "--endpoint", endpoint, "--database", database, "--new", str(new)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(told.stdout.splitlines()[-1])


def run_job(job: str, endpoint: str, database: Path, new: int) -> None:
    storage = storage_at(endpoint)
    if job == "fill":
        storage.open()
        fill_ledger(storage, sqlite_url(database))
        print(json.dumps({}))
        return
    url = sqlite_url(database)
    with open_ledger(url) as ledger, HashesDetector() as detector:
        scanner = Scanner(
            storage=storage,
            ledger=ledger,
            engine=ThreadsEngine(
                storage=storage,
                detectors=[detector],
                policy=build_policy(nudenet_flags=False),
                decoder=InlineDecoder(MediaLimits(max_bytes=1 << 26, max_pixels=100_000_000)),
                limits=EngineLimits(threads=10, decode_workers=2, max_bytes=1 << 26, memory_bytes=1 << 29),
            ),
            runner=ActionRunner(
                storage=storage, ledger=ledger, actions={}, guard=CircuitBreaker(ledger, ActionLimits())
            ),
            options=ScanOptions(dry_run=True, plan=ActionPlan()),
            stop=threading.Event(),
        )
        since = datetime.now(UTC) - timedelta(minutes=20)
        request = PassRequest(kind="daemon", since=since, exhaustive=False)
        if job == "sweep":
            request = PassRequest(kind="sweep")
        elif job == "later-cycle":
            scanner.run(request)  # learns that the bucket is large, once per start
            requests_to(endpoint)
        add_objects(endpoint, new)
        peak = PeakMemory()
        started = time.perf_counter()
        with peak:
            summary = scanner.run(request)
        account = {"seconds": time.perf_counter() - started, "peak_mb": peak.megabytes, "seen": summary.seen}
    print(json.dumps({**account, "checked": summary.checked, "skipped": summary.skipped}))


class PeakMemory:
    """The largest resident size while the block runs, looked at 50 times a second."""

    def __enter__(self) -> Self:
        self._ended = threading.Event()
        self._most = 0
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        me = psutil.Process()
        while True:
            self._most = max(self._most, me.memory_info().rss)
            if self._ended.wait(0.02):
                return

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def megabytes(self) -> float:
        return self._most / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,1000000", help="numbers of objects, with a comma between them")
    parser.add_argument("--new", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--endpoint", help=argparse.SUPPRESS)
    parser.add_argument("--database", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        run_job(options.job, options.endpoint, options.database, options.new)
        return
    print_header("Listing", {"sizes": options.sizes, "new": options.new, "seed": options.seed})
    print(f"{'objects':>9} {'pass':<26} {'LIST':>6} {'GET':>5} {'seconds':>8} {'objects/s':>10} {'peak RSS':>9}")
    for size in (int(text) for text in options.sizes.split(",")):
        with tempfile.TemporaryDirectory() as folder, bucket_of(size, options.seed) as endpoint:
            database = Path(folder) / "ledger.db"
            measured("fill", endpoint, database)
            requests_to(endpoint)
            whole = show(size, "sweep, all known", measured("sweep", endpoint, database), requests_to(endpoint))
            account = measured("first-cycle", endpoint, database, new=options.new)
            first = show(size, "daemon, first after start", account, requests_to(endpoint))
            account = measured("later-cycle", endpoint, database, new=options.new + 1)
            later = show(size, "daemon, later", account, requests_to(endpoint))
            print(f"{'':>9} later pass / sweep = {later / whole:.2%} of the LIST requests; first {first / whole:.2%}")


def show(size: int, name: str, account: dict[str, Any], requests: dict[str, int]) -> int:
    lists, gets = requests.get("list", 0), requests.get("get", 0)
    rate = account["seen"] / account["seconds"]
    print(
        f"{size:>9,} {name:<26} {lists:>6,} {gets:>5,} {account['seconds']:>8.1f} {rate:>10,.0f} "
        f"{account['peak_mb']:>6.0f} MB",
        flush=True,
    )
    return lists


if __name__ == "__main__":
    main()
