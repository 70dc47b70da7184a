"""The ledger with very many rows: file size, look-up, insert, ``flagged``, verdict by hash, as the passes ask for them.

One batch of each kind goes through our code; their rows are then copied past it, which is faster, with other keys, times
and hashes: one in 10,000 is flagged, one in 100 unreadable, the rest clear. What is measured goes through our code.

    python benchmarks/ledger_scale.py --rows 100000,10000000 --folder /var/tmp
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machine import print_header

from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.pictrs import keys as pictrs_keys
from lemmy_safety.records import (
    ActionPlan,
    Assessment,
    Finding,
    ItemResult,
    ItemStatus,
    MediaInfo,
    Outcome,
    Pdq,
    Ruleset,
    StoredObject,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lemmy_safety.ledger import Ledger

STORAGE = "s3:https://example.com/pictrs"
DETECTORS = frozenset({"hashes", "clip"})
RULES = Ruleset(detectors=DETECTORS, decoder="media-2", rules_version="1-aaaaaaaaaaaa+bbbbbbbbbbbb")
NEWEST = datetime(2026, 11, 1, tzinfo=UTC)
DAYS = 700
CHUNK = 50_000


class MadeUp:
    """Objects by number, the same for the same seed."""

    def __init__(self, rows: int, seed: int) -> None:
        self.rows = rows
        self._seed = seed

    def key(self, number: int) -> str:
        made = NEWEST - timedelta(days=DAYS) * (1 - number / self.rows)
        return pictrs_keys.make_key(made, random.Random(number * 31 + self._seed).getrandbits(74), ".webp")

    def sha256(self, number: int) -> str:
        return random.Random(number * 37 + self._seed).randbytes(32).hex()

    def size(self, number: int) -> int:
        return 100_000 + number % 77_777

    def object(self, number: int) -> StoredObject:
        return StoredObject(
            key=self.key(number), size=100_000 + number % 77_777, modified_at=NEWEST, etag=f"{number:032x}"
        )

    def result(self, number: int, outcome: Outcome | None) -> ItemResult:
        return ItemResult(obj=self.object(number), assessment=self.assessment(number, outcome))

    def assessment(self, number: int, outcome: Outcome | None) -> Assessment:
        sha256 = self.sha256(number)
        if outcome is None:
            return Assessment(status=ItemStatus.UNREADABLE, reason="not a picture: looks like a text", sha256=sha256)
        findings = ()
        if outcome is Outcome.FLAGGED:
            findings = (Finding(detector="hashes", version="1", label="pdq-list", score=0.9, threshold=0.8),)
        return Assessment(
            sha256=sha256,
            status=ItemStatus.CHECKED,
            verdict=Verdict(outcome=outcome, nsfw=False, findings=findings, rules_version=RULES.rules_version),
            detectors=DETECTORS,
            pdq=Pdq(hex=self.sha256(number + 1), quality=90),
            info=MediaInfo(media_type="image/webp", width=1200, height=900),
        )


def record(ledger: Ledger, run: int, results: list[ItemResult]) -> None:
    ledger.objects.record(STORAGE, results, run_id=run, dry_run=False, plan=ActionPlan(), decoder="media-2")


def fill(database: Path, made_up: MadeUp) -> None:
    kinds = (Outcome.CLEAR, Outcome.FLAGGED, None)
    with open_ledger(sqlite_url(database)) as ledger:
        run = ledger.passes.start(STORAGE, "sweep", dry_run=False, detectors=DETECTORS)
        record(ledger, run, [made_up.result(number, kind) for number, kind in enumerate(kinds)])
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA cache_size=-2000000")
    names = [row[1] for row in connection.execute("PRAGMA table_info(images)")]
    templates = [list(row) for row in connection.execute("SELECT * FROM images ORDER BY id")]
    place = {name: names.index(name) for name in ("id", "key", "size", "sha256", "pdq", "etag")}

    def rows(start: int, end: int) -> Iterator[list[Any]]:
        for number in range(start, end):
            kind = 1 if number % 10_000 == 1 else 2 if number % 100 == 2 else 0
            row = list(templates[kind])
            row[place["id"]] = number + 1
            row[place["key"]] = made_up.key(number)
            row[place["size"]] = made_up.size(number)
            row[place["sha256"]] = bytes.fromhex(made_up.sha256(number))
            row[place["etag"]] = f"{number:032x}"
            if row[place["pdq"]] is not None:
                row[place["pdq"]] = bytes.fromhex(made_up.sha256(number + 1))
            yield row

    insert = f"INSERT INTO images VALUES ({','.join('?' * len(names))})"
    for start in range(len(kinds), made_up.rows, CHUNK):
        connection.executemany(insert, rows(start, min(start + CHUNK, made_up.rows)))
        connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def milliseconds(work: Callable[[], object], times: int) -> str:
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        spent.append((time.perf_counter() - started) * 1000)
    return f"median {statistics.median(spent):.1f} ms, worst {max(spent):.1f} ms of {times}"


def measure(database: Path, made_up: MadeUp, seed: int) -> None:
    draw = random.Random(seed)
    started = time.perf_counter()
    with open_ledger(sqlite_url(database)) as ledger:
        print(f"  open                                  {(time.perf_counter() - started) * 1000:.0f} ms")

        def look_up(numbers: list[int]) -> None:
            objects = [made_up.object(number) for number in numbers]
            begun = time.perf_counter()
            found = ledger.objects.known(STORAGE, objects, RULES)
            look_ups.append((time.perf_counter() - begun) * 1000)
            if len(found) != len(objects):
                raise SystemExit(f"{len(objects) - len(found)} of {len(objects)} rows were not found")

        for name, choose in (
            ("neighbours, as a listing gives them", lambda: _neighbours(draw, made_up.rows)),
            ("anywhere", lambda: draw.sample(range(made_up.rows), 500)),
        ):
            look_ups: list[float] = []
            for _ in range(20):
                look_up(choose())
            print(
                f"  known(), 500 keys, {name:<35} median {statistics.median(look_ups):.1f} ms, worst {max(look_ups):.1f} ms of 20"
            )
        hashes = iter([made_up.sha256(draw.randrange(made_up.rows)) for _ in range(200)])
        print(
            f"  verdict_for(), 1 hash                 {milliseconds(lambda: ledger.objects.verdict_for(next(hashes), RULES), 200)}"
        )
        print(
            f"  flagged(), first 500                  {milliseconds(lambda: _take(ledger.reviews.flagged(), 500), 5)}"
        )
        started = time.perf_counter()
        number = sum(1 for _ in ledger.reviews.flagged())
        print(f"  flagged(), all {number:,} open rows        {time.perf_counter() - started:.2f} s")
        print(f"  stats()                               {milliseconds(ledger.maintenance.stats, 2)}")
        run = ledger.passes.start(STORAGE, "sweep", dry_run=False, detectors=DETECTORS)
        fresh = [made_up.result(made_up.rows + place, Outcome.CLEAR) for place in range(6_400)]
        started = time.perf_counter()
        for start in range(0, len(fresh), 64):
            record(ledger, run, fresh[start : start + 64])
        spent = time.perf_counter() - started
        print(f"  record(), groups of 64 as in a pass   {len(fresh) / spent:,.0f} rows/s")


def _neighbours(draw: random.Random, rows: int) -> list[int]:
    start = draw.randrange(max(1, rows - 500))
    return list(range(start, min(start + 500, rows)))


def _take(rows: Any, number: int) -> None:
    for _, _ in zip(range(number), rows, strict=False):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="100000,1000000", help="numbers of rows, with a comma between them")
    parser.add_argument("--folder", help="where the database is made and removed; about 0.8 GB per million rows")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print_header("Ledger", {"rows": options.rows, "seed": options.seed, "database": f"SQLite {sqlite3.sqlite_version}"})
    for rows in (int(text) for text in options.rows.split(",")):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            database, made_up = Path(folder) / "ledger.db", MadeUp(rows, options.seed)
            started = time.perf_counter()
            fill(database, made_up)
            size = database.stat().st_size
            print(
                f"{rows:,} rows: {size / 1e6:,.0f} MB, {size / rows:.0f} bytes a row (filled in {time.perf_counter() - started:.0f} s)"
            )
            measure(database, made_up, options.seed)


if __name__ == "__main__":
    main()
