"""What a pass takes from the line under LEMMY_SAFETY_MAX_MBIT, counted on the line.

    python benchmarks/rate_limit.py --store s3 --mbit 1 5 20

A sweep reads a real server of the test suite through a relay on this machine, which notes the time of every byte to the
client: bytes that the system received for a connection from which nothing was read yet count too. The overhead of the
protocols is in the figures. The listings, which are not limited, are in the sums, and not in the busiest windows: these
begin 3 s after the pass.

Objects are 70 % of 20 KB, 25 % of 300 KB and 5 % of 4 MB, of random bytes.
"""

from __future__ import annotations

import argparse
import random
import socket
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import suite  # noqa: F401
from machine import print_header
from stores import filled_store

from lemmy_safety.ledger import SWEEP
from lemmy_safety.scan import PassRequest
from lemmy_safety.settings import Settings
from lemmy_safety.wiring import open_scanner

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 4096
_SEND_BUFFER = 16_384
_SIZES, _WEIGHTS = (20_000, 300_000, 4_000_000), (70, 25, 5)
_WINDOWS_S = (1.0, 5.0, 10.0)
#: The store is listed by then, twice: for the pass, and to count.
_LISTING_S = 3.0


class CountingLine:
    """A relay to a port of this machine. ``arrivals`` has (seconds, bytes) towards the client."""

    def __init__(self, to: int) -> None:
        self._to = to
        self.arrivals: list[tuple[float, int]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                target.sendall(data)
                if counted:
                    self.arrivals.append((time.monotonic(), len(data)))
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@contextmanager
def through(line: CountingLine, settings: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """The settings of a store, by way of the line."""
    if "s3_endpoint" in settings:
        yield settings | {"s3_endpoint": f"http://127.0.0.1:{line.port}"}
    else:
        lines = Path(settings["ssh_known_hosts"]).read_text().replace(f":{settings['ssh_port']} ", f":{line.port} ")
        known = folder / "known_hosts"
        known.write_text(lines)
        yield settings | {"ssh_port": line.port, "ssh_known_hosts": known}


def port_of(settings: dict[str, Any]) -> int:
    return int(settings["ssh_port"] if "ssh_port" in settings else settings["s3_endpoint"].rpartition(":")[2])


def busiest(arrivals: list[tuple[float, int]], window_s: float) -> float:
    """Megabits a second in the busiest window."""
    most = total = first = 0
    for at_s, number in arrivals:
        total += number
        while arrivals[first][0] <= at_s - window_s:
            total -= arrivals[first][1]
            first += 1
        most = max(most, total)
    return most * 8 / window_s / 1e6


def measure(store: dict[str, Any], mbit: float | None, seconds: float) -> str:
    line = CountingLine(port_of(store))
    stop = threading.Event()
    with tempfile.TemporaryDirectory(prefix="lemmy-safety-") as name:
        folder = Path(name)
        with through(line, store, folder) as reached:
            settings = Settings(
                **reached,
                all=True,
                dry_run=True,
                detectors=("hashes",),
                sqlite_filename=folder / "ledger.db",
                max_mbit=mbit,
            )
            with open_scanner(settings, stop=stop) as scanner:
                began = time.monotonic()
                timer = threading.Timer(seconds, stop.set)
                timer.start()
                summary = scanner.run(PassRequest(kind=SWEEP))
                timer.cancel()
                took = min(time.monotonic() - began, seconds)
    line.close()
    arrivals = sorted(entry for entry in line.arrivals if entry[0] <= began + took)
    on_the_line = sum(number for _, number in arrivals)
    after_listing = [entry for entry in arrivals if entry[0] > began + _LISTING_S]
    figures = [f"{busiest(after_listing, window_s):.2f}" for window_s in _WINDOWS_S]
    return (
        f"{mbit or 'none':>6} {took:>6.1f} {summary.bytes_read:>12,} {on_the_line:>12,} "
        f"{on_the_line * 8 / took / 1e6:>8.2f} {figures[0]:>8} {figures[1]:>8} {figures[2]:>8}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=["s3", "ssh"], default="s3")
    parser.add_argument("--mbit", type=float, nargs="+", default=[1.0, 5.0, 20.0], help="Limits, one after the other.")
    parser.add_argument("--seconds", type=float, default=20.0, help="Of each measurement.")
    parser.add_argument("--megabytes", type=float, default=60.0, help="In the store.")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print_header("a pass under a limit, counted on the line", vars(options))
    drawn = random.Random(options.seed)
    objects = []
    left = int(options.megabytes * 1e6)
    while left > 0:
        (size,) = drawn.choices(_SIZES, _WEIGHTS)
        objects.append((f"{len(objects) % 97:02d}/{len(objects):06d}.png", drawn.randbytes(size)))
        left -= size
    with filled_store(options.store, objects) as store:
        print("  Mbit      s       read B       line B   Mbit/s  busiest: 1 s     5 s     10 s", flush=True)
        for mbit in options.mbit:
            print(measure(store, mbit, options.seconds), flush=True)


if __name__ == "__main__":
    main()
