"""Load on a running upload hook, asked as pict-rs asks: a steady rate for a while, then many at once.

Latencies are the caller's, from the connection to the answer, each upload on a connection of its own as pict-rs makes
them. Uploads come at their times whether earlier ones were answered or not (an open loop): a slow service is not spared.
Pictures are generated from the seed, each with bytes of its own, so that none is answered from what is known; a share of
them comes again (``--repeat``). Memory is that of the process given by ``--pid`` and its children, once a second. Batch
sizes and the causes of unchecked answers are read from ``/metrics``, before and after.

    python benchmarks/hook_load.py --port 8087 --pid 4711 --rate 5 --minutes 5 --burst 50

Start the service with a ledger of its own: it remembers what this sends.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil
import suite  # noqa: F401
from machine import print_header
from support.pictrs_client import ask, get
from support.pictures import encode, gradient, photo, plasma

_MIB = 1024 * 1024
_PREFIX = "lemmy_safety_hook_"


@dataclass(frozen=True)
class Asked:
    at: float
    seconds: float
    status: int
    """0 where no answer came."""


class Pictures:
    """A seeded stream of pictures as they are uploaded: photos scaled and cropped to usual sizes, and drawn ones."""

    def __init__(self, seed: int, repeat: float) -> None:
        self._random = random.Random(seed)
        self._repeat = repeat
        self._sent: list[tuple[bytes, str]] = []
        self._lock = threading.Lock()

    def next(self) -> tuple[bytes, str]:
        with self._lock:
            if self._sent and self._random.random() < self._repeat:
                return self._random.choice(self._sent)
            made = self._make()
            self._sent.append(made)
            return made

    def _make(self) -> tuple[bytes, str]:
        pick = self._random
        width = pick.choice((320, 640, 1080, 1600))
        height = pick.choice((240, 480, 1080, 1200))
        seed = pick.randrange(1 << 30)
        kind = pick.randrange(3)
        if kind == 0:
            image = photo(pick.choice(("astronaut", "chelsea", "coffee", "rocket"))).resize((width, height))
        else:
            image = (gradient if kind == 1 else plasma)(width, height, seed=seed)
        image.putpixel((seed % width, seed % height), (seed % 256, 0, 0))  # no two are the same bytes
        name = pick.choice(("jpeg", "webp", "png"))
        return encode(image, name), f"image/{name}"


class MemoryWatch(threading.Thread):
    """The service's resident memory, once a second, its worker processes included."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(daemon=True)
        self._process = None if pid is None else psutil.Process(pid)
        self._ended = threading.Event()
        self.samples: list[int] = []

    def run(self) -> None:
        while self._process is not None and not self._ended.wait(1):
            family = [self._process, *self._process.children(recursive=True)]
            self.samples.append(sum(one.memory_info().rss for one in family))

    def end(self) -> None:
        self._ended.set()
        self.join()


def one(options: argparse.Namespace, picture: tuple[bytes, str], began: float) -> Asked:
    data, media_type = picture
    started = time.perf_counter()
    more = {"x_api_key": options.secret} if options.secret else {}
    try:
        status = ask(options.port, data, media_type=media_type, **more).status
    except OSError:
        status = 0
    ended = time.perf_counter()
    return Asked(at=started - began, seconds=ended - started, status=status)


def steady(options: argparse.Namespace, pictures: Pictures) -> list[Asked]:
    count = round(options.rate * options.minutes * 60)
    began = time.perf_counter()
    pause = threading.Event()
    with ThreadPoolExecutor(256) as pool:
        sent = []
        for number in range(count):
            picture = pictures.next()
            pause.wait(max(0.0, began + number / options.rate - time.perf_counter()))
            sent.append(pool.submit(one, options, picture, began))
        return [future.result() for future in sent]


def burst(options: argparse.Namespace, pictures: Pictures) -> list[Asked]:
    ready = [pictures.next() for _ in range(options.burst)]
    gate = threading.Barrier(options.burst)

    def go(picture: tuple[bytes, str]) -> Asked:
        gate.wait()
        return one(options, picture, time.perf_counter())

    with ThreadPoolExecutor(options.burst) as pool:
        return list(pool.map(go, ready))


def metrics(options: argparse.Namespace) -> dict[str, float]:
    more = {"x_api_key": options.secret} if options.secret else {}
    lines = get(options.port, "/metrics", **more).body.decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if line.startswith(_PREFIX) and "_created" not in line)
    return {name.removeprefix(_PREFIX): float(value) for name, _, value in pairs}


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def report(title: str, asked: list[Asked], before: dict[str, float], after: dict[str, float]) -> None:
    times = [item.seconds for item in asked]
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(Counter(a.status for a in asked).items()))
    shown = "  ".join(f"p{share * 100:g} {quantile(times, share):.3f} s" for share in (0.5, 0.9, 0.99))
    print(f"\n{title}: {len(asked)} uploads, {statuses}")
    print(f"  latency   {shown}  max {max(times):.3f} s")
    change = {name: after[name] - before.get(name, 0.0) for name in after}
    batches = change["batch_size_count"]
    if batches:
        edges = [(name, value) for name, value in change.items() if name.startswith("batch_size_bucket")]
        below, parts = 0.0, []
        for name, value in edges:
            if value > below:
                parts.append(f"<={name.split(chr(34))[1]}: {value - below:g}")
            below = value
        mean = change["batch_size_sum"] / batches
        print(f"  batches   {batches:g} of {mean:.2f} media on average; {', '.join(parts)}")
    for name in ("answers_total", "unchecked_total", "reused_verdicts_total", "joined_total", "late_verdicts_total"):
        parts = [
            f"{key.removeprefix(name)} {value:g}" for key, value in change.items() if key.startswith(name) and value
        ]
        if parts:
            print(f"  {name.removesuffix('_total'):<9} {', '.join(parts)}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True, help="the hook's port on 127.0.0.1")
    parser.add_argument("--pid", type=int, help="the hook's process, for its memory")
    parser.add_argument("--secret", default="", help="the hook's secret, where one is set")
    parser.add_argument("--rate", type=float, default=5.0, help="uploads a second")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--burst", type=int, default=50, help="uploads at once, at the end")
    parser.add_argument("--repeat", type=float, default=0.0, help="share of uploads that were sent before")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--setup", default="", help="what the service runs with, for the header: detectors, model, queue"
    )
    return parser.parse_args()


def main() -> None:
    options = parsed()
    shown = {name: value for name, value in vars(options).items() if name not in ("secret", "pid", "port")}
    print_header("load on the upload hook", shown)
    pictures = Pictures(options.seed, options.repeat)
    watch = MemoryWatch(options.pid)
    watch.start()
    start = metrics(options)
    if options.rate * options.minutes > 0:
        asked = steady(options, pictures)
        report(f"{options.rate:g}/s for {options.minutes:g} min", asked, start, metrics(options))
    if options.burst:
        before = metrics(options)
        asked = burst(options, pictures)
        report(f"{options.burst} at once", asked, before, metrics(options))
    watch.end()
    if watch.samples:
        first, peak, last = watch.samples[0], max(watch.samples), watch.samples[-1]
        print(
            f"\nmemory      {first / _MIB:.0f} MiB at the start, {peak / _MIB:.0f} at most, {last / _MIB:.0f} at the end"
        )
    print(f"open        {metrics(options)['unchecked_open']:g} accepted unchecked and not judged since")


if __name__ == "__main__":
    main()
