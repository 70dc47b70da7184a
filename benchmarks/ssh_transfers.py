"""Listing and reading over SSH, from a real OpenSSH server on this machine, near and a round trip away.

    python benchmarks/ssh_transfers.py --round-trips 0 30

Ours is ``SshStorage`` as a pass uses it. Beside it, on the same files in the same run: paramiko's own SFTP client as its
documentation shows it, the same without Nagle's algorithm, the same with as many sessions as we have threads, and one tar
stream, which is what the line and the server can give. Every row logs in, reads to memory and compares the number of bytes.

Listing is by ``find`` where the account has a shell and by SFTP where it has none (that takes root, who makes such an account).
Two trees: 256 folders, as the tools of others have them, and pict-rs's own, which has seven folders for nearly every file.
"""

from __future__ import annotations

import argparse
import random
import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import paramiko
import suite  # noqa: F401
from delayed_line import delayed_line
from machine import print_header
from support.servers.sshd import open_backend

from lemmy_safety.pictrs import keys as pictrs_keys
from lemmy_safety.settings import Settings
from lemmy_safety.storage.ssh import SshStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from support.servers.sshd import SshBackend

_ROW = "{:<44}{:>10}{:>10}{:>22}{:>10}"
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
#: Of the files, rows that read one after the other read this share: they take thirty times as long.
_SERIAL_SHARE = 20


@dataclass(frozen=True, slots=True)
class Line:
    """How a server is reached; ``port`` is its own or that of a delayed line."""

    backend: SshBackend
    port: int

    @property
    def known_hosts(self) -> Path:
        """With the server's key under this port."""
        server = self.backend.server
        path = server.folder / f"known_hosts_{self.port}"
        path.write_text(
            "".join(line.replace(f":{server.port} ", f":{self.port} ") for line in server.known_hosts_lines())
        )
        return path

    def storage(self, folder: str) -> SshStorage:
        server = self.backend.server
        return SshStorage(
            server.host,
            self.port,
            self.backend.username,
            private_key=self.backend.key,
            passphrase=None,
            known_hosts=self.known_hosts,
            root=f"{self.backend.seen_root}/{folder}",
        )

    @contextmanager
    def client(self, *, no_delay: bool) -> Iterator[paramiko.SSHClient]:
        """paramiko's own; ``no_delay`` turns Nagle's algorithm off, which it leaves on."""
        server = self.backend.server
        with ExitStack() as stack:
            client = stack.enter_context(paramiko.SSHClient())
            client.load_host_keys(str(self.known_hosts))
            line = stack.enter_context(socket.create_connection((server.host, self.port)))
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(no_delay))
            client.connect(
                server.host,
                self.port,
                self.backend.username,
                key_filename=str(self.backend.key),
                sock=line,
                allow_agent=False,
                look_for_keys=False,
            )
            yield client


def main() -> None:
    options = parse()
    print_header("SSH transfers", vars(options))
    for kind in options.accounts:
        with open_backend(kind) as backend:
            fill(backend.root, options)
            for round_trip in options.round_trips:
                with ExitStack() as stack:
                    port = backend.server.port
                    line = Line(backend, stack.enter_context(delayed_line(port, round_trip)) if round_trip else port)
                    show_listing(line, kind, round_trip, options)
                    if kind == "ssh":
                        show_reading(line, round_trip, options)


def fill(root: Path, options: argparse.Namespace) -> None:
    """``files`` to read; ``folders`` and ``pict-rs`` to list, empty ones. Seeded."""
    draw = random.Random(options.seed)
    for number in range(options.files):
        write(root / "files" / f"{number % 256:02x}" / f"{number}.webp", draw.randbytes(options.kilobytes * 1000))
    for number in range(options.listed):
        write(root / "folders" / f"{number % 256:02x}" / f"{number}.webp", b"")
    for number in range(options.listed_pictrs):
        key = pictrs_keys.make_key(_FIRST + timedelta(minutes=3 * number), draw.getrandbits(74), ".webp")
        write(root / "pict-rs" / key, b"")


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def show_listing(line: Line, kind: str, round_trip: float, options: argparse.Namespace) -> None:
    for tree, number in (("folders", options.listed), ("pict-rs", options.listed_pictrs)):
        with line.storage(tree) as storage:
            seconds = []
            for _ in range(options.rounds):
                started = time.perf_counter()
                found = sum(1 for _ in storage.list())
                seconds.append(time.perf_counter() - started)
                assert found == number, f"{found} of {number} files were listed"
        how = "find" if kind == "ssh" else "SFTP"
        print(f"{round_trip:>3g} ms: listing {number:,} files in {tree} by {how}: {spread(seconds)} s", flush=True)


def show_reading(line: Line, round_trip: float, options: argparse.Namespace) -> None:
    with line.storage("files") as storage:
        paths = [obj.key for obj in storage.list()]
    few = paths[:: _SERIAL_SHARE if round_trip else 1]
    threads = options.threads
    ways: dict[str, tuple[Sequence[str], Callable[[Sequence[str]], int]]] = {
        "paramiko, as it comes, 1 session": (few, lambda some: by_paramiko(line, some, 1, no_delay=False)),
        "paramiko, TCP_NODELAY, 1 session": (few, lambda some: by_paramiko(line, some, 1, no_delay=True)),
        f"paramiko, TCP_NODELAY, {threads} sessions": (
            paths,
            lambda some: by_paramiko(line, some, threads, no_delay=True),
        ),
        f"lemmy-safety, {threads} threads": (paths, lambda some: by_storage(line, some, threads)),
        "tar, one stream": (paths, lambda _: by_tar(line)),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):  # in turns
        for name, (some, read) in ways.items():
            started = time.perf_counter()
            size = read(some)
            rates[name].append(len(some) / (time.perf_counter() - started))
            assert size >= len(some) * options.kilobytes * 1000, f"{name} read {size} bytes of {len(some)} files"
    base = statistics.median(rates[f"paramiko, TCP_NODELAY, {threads} sessions"])
    print(
        _ROW.format(
            f"{round_trip:g} ms: reading {len(paths)} x {options.kilobytes} KB",
            "files/s",
            "MB/s",
            "(least to most)",
            "ratio",
        )
    )
    for name, found in rates.items():
        middle = statistics.median(found)
        print(
            _ROW.format(
                name,
                f"{middle:.1f}",
                f"{middle * options.kilobytes / 1000:.1f}",
                f"{min(found):.1f} to {max(found):.1f}",
                f"{middle / base:.2f}",
            ),
            flush=True,
        )


def by_paramiko(line: Line, paths: Sequence[str], sessions: int, *, no_delay: bool) -> int:
    """Read with prefetch, each session in a thread of its own: one that is shared hangs."""
    root = f"{line.backend.seen_root}/files"
    with line.client(no_delay=no_delay) as client:

        def read(share: Sequence[str]) -> int:
            size = 0
            with client.open_sftp() as sftp:
                for path in share:
                    with sftp.open(f"{root}/{path}", "rb") as file:
                        file.prefetch()
                        size += len(file.read())
            return size

        return in_threads(read, [paths[number::sessions] for number in range(sessions)])


def by_storage(line: Line, paths: Sequence[str], threads: int) -> int:
    with line.storage("files") as storage:
        return in_threads(lambda path: len(storage.read(path, max_bytes=1 << 26)), paths, threads)


def by_tar(line: Line) -> int:
    with line.client(no_delay=True) as client:
        _, out, _ = client.exec_command(f"tar cf - -C {line.backend.seen_root} files")
        size = 0
        while piece := out.channel.recv(1 << 20):
            size += len(piece)
        return size


def in_threads(read: Callable[[Any], int], shares: Sequence[Any], threads: int = 0) -> int:
    with ThreadPoolExecutor(threads or len(shares)) as pool:
        return sum(pool.map(read, shares))


def spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--accounts", nargs="*", default=["ssh", "sftp"], choices=("ssh", "sftp"), help="sftp needs root"
    )
    parser.add_argument("--round-trips", type=float, nargs="*", default=[0, 30], help="milliseconds")
    parser.add_argument("--files", type=int, default=1000, help="to read")
    parser.add_argument("--kilobytes", type=int, default=100, help="size of each")
    parser.add_argument("--listed", type=int, default=20_000, help="files in 256 folders")
    parser.add_argument("--listed-pictrs", type=int, default=2_000, help="files in pict-rs's folders")
    parser.add_argument("--threads", type=int, default=Settings().threads)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
