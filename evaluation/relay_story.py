"""Lemmy on a VPS, the graphics card at home: a relay and workers as processes that share no folder, and what happens to them.

Uploads are asked about as pict-rs does it: a third of them quietly; a sixth while the worker was killed (SIGKILL) and
another one starts, a sixth after that; a sixth while the relay is ended and started again, and the rest after that. What pict-rs was told to keep is put into a folder that plays its
store, and a pass goes over it with the worker's ledger, as the daemon at home would. Then everything must add up:

- every upload was answered within its budget, or pict-rs could not connect and refuses it by itself;
- no canary was let in by a verdict;
- what was let in unchecked is listed on both machines, is read first, judged, and then listed on neither;
- what was judged at the door is not decoded again.

    python evaluation/relay_story.py --uploads 200 --rate 5
    python evaluation/relay_story.py --uploads 200 --rate 5 --trace /tmp/trace    # with strace, if it is installed

The verdicts are those of the detector ``hashes``; the canary is the harmless picture that every installation flags.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import suite  # noqa: F401
from machine import print_header
from PIL import Image
from support.scan.passes import minutes_ago, put, scanner_over
from support.web.pictrs_client import ask

from lemmy_safety.access.rules import Access
from lemmy_safety.detectors.hashes.canary import canary_image
from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.media import InlineDecoder, MediaLimits
from lemmy_safety.policy import build_policy
from lemmy_safety.relay.server.engine import RelayOptions
from lemmy_safety.relay.server.service import Relay
from lemmy_safety.relay.worker import service as worker
from lemmy_safety.scan import PassRequest
from lemmy_safety.scan.inspection import Inspector
from lemmy_safety.uploads.bodies import BodyLimits
from lemmy_safety.uploads.metrics import Meters
from lemmy_safety.web.server import ServerOptions, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lemmy_safety.ledger import Ledger, UploadRow

_KEY = "key-of-the-story-0123456789"
_MAX_BYTES = 20_000_000
_MEMORY = 200_000_000
_START_S = 120.0
_CANARY_EVERY = 10

#: Seconds beyond the budget: the record of "accepted unchecked", and a machine that does other things as well.
_GRACE_S = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--rate", type=float, default=5.0, help="uploads a second")
    parser.add_argument("--budget", type=float, default=8.0, help="seconds for an answer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--mirror", type=float, default=5.0, help="seconds between a worker's looks at the relay's list"
    )
    parser.add_argument("--trace", type=Path, help="folder for what strace sees of relay and workers")
    parser.add_argument("--child", choices=["relay", "worker"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        be_child(options)
        return
    print_header("Relay and worker", vars(options))
    with tempfile.TemporaryDirectory(prefix="relay.story.") as folder:
        sys.exit(Story(Path(folder), options).run())


# The two machines.


def be_child(options: argparse.Namespace) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def ready(*_: object) -> None:
        print(f"ready {os.getpid()}", flush=True)

    with open_ledger(sqlite_url(options.folder / "ledger.db")) as ledger:
        if options.child == "relay":
            relay = Relay(
                ledger=ledger,
                key=_KEY,
                options=RelayOptions(accept_unchecked=True, queue=256, budget_s=options.budget),
            )
            serve(
                make_engine=relay.engine,
                make_routers=relay.routes,
                ledger=ledger,
                access=Access(),
                options=ServerOptions(
                    host="127.0.0.1",
                    port=options.port,
                    budget_s=options.budget,
                    max_uploads=256,
                    body=BodyLimits(max_bytes=_MAX_BYTES, memory_bytes=_MEMORY, timeout_s=5.0),
                ),
                stop=stop,
                listening=ready,
            )
        else:
            be_worker(ledger, options, stop, ready)


def be_worker(ledger: Ledger, options: argparse.Namespace, stop: threading.Event, ready) -> None:
    worker._MIRROR_EVERY_S = options.mirror  # noqa: SLF001 - 30 s in earnest
    with InlineDecoder(MediaLimits(max_bytes=_MAX_BYTES, max_pixels=40_000_000)) as decoder:
        worker.work(
            inspector=Inspector(
                detectors=[HashesDetector()],
                policy=build_policy(nudenet_flags=False),
                decoder=decoder,
                frame_bytes=_MEMORY,
            ),
            ledger=ledger,
            options=worker.WorkerOptions(
                url=f"http://127.0.0.1:{options.port}",
                key=_KEY,
                max_bytes=_MAX_BYTES,
                memory_bytes=_MEMORY,
                decode_workers=2,
                accept_unchecked=True,
            ),
            meters=Meters(),
            stop=stop,
            working=ready,
        )


class Machine:
    """A relay or worker in a process of its own, with a folder that no one else sees."""

    def __init__(self, role: str, folder: Path, port: int, options: argparse.Namespace, number: int) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        traced = []
        if options.trace:
            options.trace.mkdir(exist_ok=True)
            calls = "open,openat,creat,rename,renameat,renameat2,memfd_create"
            output = str(options.trace / f"{role}-{number}")
            traced = ["strace", "-f", "-s", "4096", "-e", f"trace={calls}", "-o", output]
        # A file is opened for writing only by what we want to see, not by the interpreter's cache.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, __file__, "--child", role, "--folder", str(folder), "--port", str(port)]
        self.process = subprocess.Popen(
            [*traced, *command, "--budget", str(options.budget), "--mirror", str(options.mirror)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=folder,
        )
        self.pid = 0

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        word, pid = self.process.stdout.readline().split()
        assert word == "ready"
        self.pid = int(pid)

    def send(self, number: signal.Signals) -> None:
        """To the program itself, not to its tracer."""
        os.kill(self.pid, number)

    def join(self) -> int:
        return self.process.wait(_START_S)

    def close(self) -> None:
        if self.process.poll() is None:
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)
            else:
                self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


# What is uploaded.


@dataclass
class Asked:
    number: int
    data: bytes
    bad: bool
    status: int | None = None
    seconds: float = 0.0

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def make_uploads(count: int, seed: int) -> list[Asked]:
    """Different small pictures; each tenth is the canary at another size."""
    rng = random.Random(seed)
    uploads = []
    for number in range(count):
        bad = number % _CANARY_EVERY == _CANARY_EVERY - 1
        if bad:
            image = canary_image().convert("RGB").resize((300 + number, 225 + number * 3 // 4))
        else:
            image = Image.effect_mandelbrot((96, 72), (-2.0, -1.0, 0.5 + rng.random(), 1.0), 20 + number).convert("RGB")
            image.putpixel((0, 0), (number % 256, number // 256, 7))
        out = io.BytesIO()
        image.save(out, "PNG")
        uploads.append(Asked(number, out.getvalue(), bad))
    return uploads


def has_verdict(row: UploadRow) -> bool:
    return row.assessment is not None and row.assessment.verdict is not None


class Story:
    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.options = options
        self.uploads = make_uploads(options.uploads, options.seed)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.numbers = {"relay": 0, "worker": 0}
        self.faults: list[str] = []
        self.began = 0.0

    def run(self) -> int:
        with ExitStack() as stack:
            relay = self.start(stack, "relay")
            home = self.start(stack, "worker")
            relay.wait_until_ready()
            home.wait_until_ready()
            sixth = len(self.uploads) // 6
            self.began = time.monotonic()
            with self.asking() as ask_about:
                self.tell("worker at work")
                ask_about(0, 2 * sixth).join()
                home.send(signal.SIGKILL)
                self.tell("worker killed")
                meanwhile = ask_about(2 * sixth, 3 * sixth)
                home = self.start(stack, "worker")
                home.wait_until_ready()
                self.tell("another worker is there")
                meanwhile.join()
                ask_about(3 * sixth, 4 * sixth).join()
                relay.send(signal.SIGTERM)
                meanwhile = ask_about(4 * sixth, 5 * sixth)
                self.tell(f"relay ended with {relay.join()}")
                relay = self.start(stack, "relay")
                relay.wait_until_ready()
                self.tell("relay is back")
                meanwhile.join()
                ask_about(5 * sixth, len(self.uploads)).join()
            self.tell("all answered\n")
            self.tell_answers()
            self.judge_what_was_let_in(home, relay)
            for machine in (home, relay):
                machine.send(signal.SIGTERM)
            self.check(home.join() == 0, "the worker ends well")
            self.check(relay.join() == 0, "the relay ends well")
        print("\n" + ("FAULTS: " + "; ".join(self.faults) if self.faults else "everything adds up"))
        return 1 if self.faults else 0

    def start(self, stack: ExitStack, role: str) -> Machine:
        self.numbers[role] += 1
        machine = Machine(role, self.folder / role, self.port, self.options, self.numbers[role])
        stack.callback(machine.close)
        return machine

    def check(self, condition: bool, what: str) -> None:
        print(f"{'ok    ' if condition else 'FAULT '} {what}")
        if not condition:
            self.faults.append(what)

    def tell(self, what: str) -> None:
        print(f"{time.monotonic() - self.began:6.1f} s  {what}", flush=True)

    @contextmanager
    def asking(self) -> Iterator[Callable[[int, int], threading.Thread]]:
        """Gives a function that starts asking about some uploads at the rate, each in a thread, as pict-rs's tasks would.

        Its thread ends when the last of them was sent; at the end all are answered.
        """
        threads: list[threading.Thread] = []

        def one(upload: Asked) -> None:
            asked = time.monotonic()
            try:
                upload.status = ask(self.port, upload.data).status
            except OSError:
                upload.status = None
            upload.seconds = time.monotonic() - asked

        def some(first: int, end: int) -> None:
            began, pause = time.monotonic(), threading.Event()
            for upload in self.uploads[first:end]:
                pause.wait(max(0.0, began + (upload.number - first) / self.options.rate - time.monotonic()))
                threads.append(threading.Thread(target=one, args=(upload,)))
                threads[-1].start()
            pause.wait(1 / self.options.rate)

        def start(first: int, end: int) -> threading.Thread:
            thread = threading.Thread(target=some, args=(first, end))
            thread.start()
            return thread

        yield start
        for thread in threads:
            thread.join()

    def tell_answers(self) -> None:
        rows = {
            "accepted": [one for one in self.uploads if one.status == 200],
            "refused": [one for one in self.uploads if one.status == 406],
            "no connection, or cut off (pict-rs refuses)": [one for one in self.uploads if one.status is None],
            "busy or stopping (pict-rs refuses)": [one for one in self.uploads if one.status not in (200, 406, None)],
        }
        print(f"{'answer':<46}{'uploads':>8}{'canaries':>10}{'p50 s':>8}{'p99 s':>8}{'max s':>8}")
        for name, found in rows.items():
            times = sorted(one.seconds for one in found) or [0.0]
            p50, p99 = times[len(times) // 2], times[int(0.99 * (len(times) - 1))]
            bad = sum(one.bad for one in found)
            print(f"{name:<46}{len(found):>8}{bad:>10}{p50:>8.2f}{p99:>8.2f}{times[-1]:>8.2f}")
        print()
        slowest = max(one.seconds for one in self.uploads)
        self.check(
            slowest <= self.options.budget + _GRACE_S, f"every answer within the budget (slowest {slowest:.2f} s)"
        )
        self.check(not any(one.status == 406 and not one.bad for one in self.uploads), "nothing harmless was refused")

    def judge_what_was_let_in(self, home: Machine, relay: Machine) -> None:
        kept = [one for one in self.uploads if one.status == 200]
        with open_ledger(sqlite_url(relay.folder / "ledger.db")) as ledger:
            listed = {row.sha256 for row in ledger.uploads.unchecked()}
            by_hash = {one.sha256: ledger.uploads.get(one.sha256) for one in kept}
        unknown = [sha256 for sha256, row in by_hash.items() if row is None]
        self.check(not unknown, "of everything that was accepted there is a record")
        let_in = [one for one in kept if one.bad]
        unrecorded = [
            one
            for one in let_in
            if one.sha256 not in listed and by_hash[one.sha256] and not has_verdict(by_hash[one.sha256])
        ]
        self.check(not unrecorded, "no canary was let in without being listed or judged late")
        print(
            f"       accepted unchecked and not judged since: {len(listed)}, canaries among all accepted: {len(let_in)}"
        )

        store = self.folder / "store"
        for one in kept:
            put(store, f"{one.number % 7}/{one.number:04}", one.data, modified_at=minutes_ago(5))
        database = home.folder / "ledger.db"
        with open_ledger(sqlite_url(database)) as ledger:
            self.wait_for(lambda: all(ledger.uploads.get(sha256) for sha256 in listed), "the list at home")
        decoded: list[str] = []

        class Watched(InlineDecoder):
            def decode(self, data: bytes):
                decoded.append(hashlib.sha256(data).hexdigest())
                return super().decode(data)

        limits = MediaLimits(max_bytes=_MAX_BYTES, max_pixels=40_000_000)
        with (
            Watched(limits) as decoder,
            scanner_over(store, database, max_bytes=_MAX_BYTES, action="delete") as scanner,
        ):
            scanner.engine.decoder = decoder  # the same, and it says what it is given
            summary = scanner.run(PassRequest(kind="sweep"))
            self.check(summary.complete, "the pass is complete")
            rows = [scanner.ledger.uploads.get(sha256) for sha256 in listed]
            self.check(all(has_verdict(row) for row in rows), "what was let in unchecked has a verdict")
            # Where a pass has found an upload stands in its row; a worker that was late knows no place. He may tell his
            # verdict until the pass gets there.
            by_pass = {row.sha256 for row in rows if row.found_key is not None}
            self.check(set(decoded) >= by_pass, "and was looked at by the pass, unless a late worker had done it")
            print(
                f"       pass: {summary.checked} checked, {summary.reused} reused from the door, "
                f"{len(decoded)} decoded, {summary.flagged} flagged, {summary.acted} deleted; "
                f"let in unchecked: {len(by_pass)} judged by the pass, {len(listed - by_pass)} by late workers"
            )
            left = [one for one in let_in if (store / f"{one.number % 7}/{one.number:04}").exists()]
            self.check(not left, "no canary is left in the store")
            self.check(summary.flagged == len(let_in), "every canary that was let in was flagged")
            self.check(scanner.ledger.uploads.count_unchecked() == 0, "nothing is left on the list at home")
        with open_ledger(sqlite_url(relay.folder / "ledger.db")) as ledger:
            self.wait_for(lambda: ledger.uploads.count_unchecked() == 0, "the empty list of the relay")

    def wait_for(self, condition, what: str) -> None:
        pause = threading.Event()
        for _ in range(900):
            if condition():
                self.check(True, f"{what} is there")
                return
            pause.wait(0.1)
        self.check(False, f"{what} is there")


if __name__ == "__main__":
    main()
