"""Load on a running upload hook, asked as pict-rs asks: a steady rate for a while, then many at once.

Latencies are the caller's, from the connection to the answer, each upload on a connection of its own as pict-rs makes
them. Uploads come at their times whether earlier ones were answered or not (an open loop): a slow service is not spared.
All pictures are made before the clock starts, or this program would take the processors from the service: photos in the
sizes that people upload, each with bytes of its own, so that none is answered from what is known; a share of them comes
again (``--repeat``). Memory is that of the service and its children, once a second. Batch sizes and the causes of
unchecked answers are read from ``/metrics``, before and after.

    python benchmarks/hook_load.py --detectors nudenet --rate 5 --minutes 5 --burst 50
    python benchmarks/hook_load.py --detectors clip --work /path/for/weights --rate 5 --minutes 5 --burst 50

start a service of their own with an empty ledger, and end it. ``clip`` is the full-size model with random weights and
words that no picture resembles, screened in int8. One that is running already is asked with ``--port`` and ``--pid``.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import suite  # noqa: F401
from machine import print_header
from own_hook import own_hook
from PIL import Image
from support.media.pictures import encode, photo
from support.web.pictrs_client import ask, get

_MIB = 1024 * 1024
_PREFIX = "lemmy_safety_hook_"


#: Photos, screenshots of telephones and desktops, thumbnails. Of those longer than 1.4:1 the ends are looked at as well.
SIZES = (
    (1200, 900), (900, 1200), (1600, 1200), (1500, 1000), (1080, 1080), (800, 600), (512, 512), (512, 288),
    (1920, 1080), (1080, 1920), (1080, 2340),
)  # fmt: skip
_SCENES = 3


@dataclass(frozen=True)
class Asked:
    at: float
    seconds: float
    status: int
    """0 where no answer came."""


class Pictures:
    """Uploads as they come, seeded: parts of photos, scaled to usual sizes."""

    def __init__(self, seed: int, repeat: float) -> None:
        self._random = random.Random(seed)
        self._repeat = repeat
        self._scenes = [self._scene(size) for size in SIZES for _ in range(_SCENES)]
        self._sent: list[tuple[bytes, str]] = []

    def some(self, count: int) -> list[tuple[bytes, str]]:
        return [self._next() for _ in range(count)]

    def _next(self) -> tuple[bytes, str]:
        if self._sent and self._random.random() < self._repeat:
            return self._random.choice(self._sent)
        image = self._random.choice(self._scenes)
        place = self._random.randrange(image.width), self._random.randrange(image.height)
        image.putpixel(place, tuple(self._random.randrange(256) for _ in range(3)))  # no two are the same bytes
        name = self._random.choice(("jpeg", "webp", "png"))
        self._sent.append((encode(image, name), f"image/{name}"))
        return self._sent[-1]

    def _scene(self, size: tuple[int, int]) -> Image.Image:
        whole = photo(self._random.choice(("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "retina")))
        scale = max(size[0] / whole.width, size[1] / whole.height) * self._random.uniform(1, 1.5)
        part = size[0] / scale, size[1] / scale
        left, top = self._random.uniform(0, whole.width - part[0]), self._random.uniform(0, whole.height - part[1])
        return whole.resize(size, Image.Resampling.BICUBIC, (left, top, left + part[0], top + part[1]))


class MemoryWatch(threading.Thread):
    """The service's resident memory, once a second, its worker processes included."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(daemon=True)
        self._process = None if pid is None else psutil.Process(pid)
        self._ended = threading.Event()
        self.samples: list[int] = []

    def run(self) -> None:
        while self._process is not None and not self._ended.wait(1):
            with suppress(psutil.NoSuchProcess):  # a decoding process that was replaced at this moment
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


def steady(options: argparse.Namespace, pictures: list[tuple[bytes, str]]) -> list[Asked]:
    began = time.perf_counter()
    pause = threading.Event()
    with ThreadPoolExecutor(256) as pool:
        sent = []
        for number, picture in enumerate(pictures):
            pause.wait(max(0.0, began + number / options.rate - time.perf_counter()))
            sent.append(pool.submit(one, options, picture, began))
        return [future.result() for future in sent]


def burst(options: argparse.Namespace, pictures: list[tuple[bytes, str]]) -> list[Asked]:
    gate = threading.Barrier(len(pictures))

    def go(picture: tuple[bytes, str]) -> Asked:
        gate.wait()
        return one(options, picture, time.perf_counter())

    with ThreadPoolExecutor(len(pictures)) as pool:
        return list(pool.map(go, pictures))


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
    for answer in ("accepted", "unchecked_accepted"):
        label = f'{{answer="{answer}"}}'
        if count := change.get(f"latency_seconds_count{label}", 0.0):
            mean = change[f"latency_seconds_sum{label}"] / count
            print(f"  {answer}: {count:g}, {count / len(asked):.0%}, after {mean:.3f} s on average")
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
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--detectors", choices=("hashes", "nudenet", "clip"), help="start a service with these")
    which.add_argument("--port", type=int, help="the port on 127.0.0.1 of a service that is running")
    parser.add_argument("--pid", type=int, help="the process of that service, for its memory")
    parser.add_argument("--secret", default="", help="its secret, where one is set")
    parser.add_argument("--work", type=Path, help="clip: folder for weights and quantised models (2 GB)")
    parser.add_argument("--screen", default="openvino-int8", help="clip: CLIP_SCREEN")
    parser.add_argument("--budget", type=float, default=8.0, help="HOOK_BUDGET_S")
    parser.add_argument("--rate", type=float, default=5.0, help="uploads a second")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--burst", type=int, default=50, help="uploads at once, at the end")
    parser.add_argument("--repeat", type=float, default=0.0, help="share of uploads that were sent before")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.detectors == "clip" and options.work is None:
        parser.error("clip needs --work")
    return options


def main() -> None:
    options = parsed()
    unsaid = ("secret", "pid", "port", "work")
    print_header("load on the upload hook", {k: v for k, v in vars(options).items() if k not in unsaid})
    pictures = Pictures(options.seed, options.repeat)
    steadily = pictures.some(round(options.rate * options.minutes * 60))
    at_once = pictures.some(options.burst)
    with ExitStack() as stack:
        if options.detectors:
            options.port, options.pid = stack.enter_context(own_hook(options))
        put_under_load(options, steadily, at_once)


def put_under_load(
    options: argparse.Namespace, steadily: list[tuple[bytes, str]], at_once: list[tuple[bytes, str]]
) -> None:
    watch = MemoryWatch(options.pid)
    watch.start()
    start = metrics(options)
    if steadily:
        asked = steady(options, steadily)
        report(f"{options.rate:g}/s for {options.minutes:g} min", asked, start, metrics(options))
    if at_once:
        before = metrics(options)
        asked = burst(options, at_once)
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
