"""What decoding in worker processes costs, against the same decoder in as many threads of one process.

Healthy files as in a pict-rs store, made in memory: photos cropped, mirrored and scaled to a log-normal spread of sizes
(median 1.3, 0.15 to 8 megapixels), WebP 56, JPEG 25, PNG 14, AVIF 5 %, and for nine of ten a 256 px WebP thumbnail.
Threads and processes take turns (A B A B); the shares of the turns are compared pair by pair, because neighbours on the
machine come and go. Processor time is of this process and its workers together.

    python benchmarks/decode_isolation.py --files 500 --workers 2 --repeat 5
"""

from __future__ import annotations

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import psutil  # type: ignore[import-untyped]
import suite  # noqa: F401
from decoders import inline_decoder, process_decoder
from machine import print_header
from store_files import store_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lemmy_safety.media import Decoder

_ROW = "{:<22}{:>10}{:>12}{:>14}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--workers", type=int, default=psutil.cpu_count(), help="threads, and processes")
    parser.add_argument("--repeat", type=int, default=5, help="turns of each")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print_header("Decoding in processes against threads", vars(options))
    files = list(islice(store_files(options.seed), options.files))
    print(f"corpus:   {len(files)} files, {sum(map(len, files)) / 1e6:.1f} MB")

    with inline_decoder() as threads, process_decoder(workers=options.workers) as processes:
        inline_decoder().decode(files[0])  # what is imported with the first picture is no part of a turn
        print(
            f"start of {options.workers} processes, up to the first picture: {start_seconds(processes, files[0]):.2f} s"
        )
        pixels = warm_up(processes, files, options.workers)
        print(f"a picture in pixels: {pixels / len(files) / 1e6:.2f} MB on average\n")
        print(_ROW.format("", "files/s", "ms a file", "CPU ms a file"))
        turns = [
            (turn("threads", threads, files, options.workers), turn("processes", processes, files, options.workers))
            for _ in range(options.repeat)
        ]
    speed = [isolated.files_s / plain.files_s for plain, isolated in turns]
    cpu = [isolated.cpu_ms / plain.cpu_ms for plain, isolated in turns]
    print(f"\nprocesses / threads, files per second: {spread(speed)}")
    print(f"processes / threads, processor time:   {spread(cpu)}")


class Turn(NamedTuple):
    files_s: float
    cpu_ms: float


def turn(name: str, decoder: Decoder, files: Sequence[bytes], workers: int) -> Turn:
    """Decode every file once."""
    with ThreadPoolExecutor(workers) as pool:
        cpu, began = cpu_seconds(), time.perf_counter()
        for _ in pool.map(lambda data: decoder.decode(data).info, files):
            pass
        took, cpu = time.perf_counter() - began, cpu_seconds() - cpu
    made = Turn(len(files) / took, 1000 * cpu / len(files))
    print(_ROW.format(name, f"{made.files_s:.1f}", f"{1000 / made.files_s:.2f}", f"{made.cpu_ms:.2f}"), flush=True)
    return made


def start_seconds(decoder: Decoder, data: bytes) -> float:
    began = time.perf_counter()
    decoder.decode(data)
    return time.perf_counter() - began


def warm_up(decoder: Decoder, files: Sequence[bytes], workers: int) -> int:
    """Let every process decode something first; the bytes of all frames of all files."""
    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(lambda data: sum(frame.pixels.nbytes for frame in decoder.decode(data).frames), files))


def cpu_seconds() -> float:
    """Used by this process and its children so far."""
    this = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (this, *this.children()))


def spread(values: Sequence[float]) -> str:
    return f"median {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f}, n={len(values)})"


if __name__ == "__main__":
    main()
