"""How much of its slowest stage a whole pass reaches, on local files, over SSH and from S3.

    python benchmarks/pipeline_efficiency.py --objects 300 --work /path/for/weights

Efficiency is objects a second of a pass, divided by those of the slowest stage alone on the same objects. Stages and passes
take turns; medians count. Two encoders, one after the other:

- ``clip``: the real one (random-weight ViT-L-14, screened as on this machine, no frame to be confirmed). On a CPU it is the
  slowest stage. Needs --work.
- ``stand-in``: a detector of this program that imitates a graphics card faster than decoding. It waits for --rate frames a
  second and takes no processor time, as a program does that waits for a card; with --prepare it also cuts and scales each
  frame on the processor, as the real detector does for a card. Decoding is then the slowest stage.

Stages share the processor, and on one machine so do the storage's servers: together they cannot be faster than the
processor time of all of them allows. That is the second limit given; it counts the servers too, which are on someone
else's machine in real life. Processor time "here" is that of the main process alone, which one core's worth of interpreter
limits.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import suite  # noqa: F401
from machine import print_header
from stages_alone import STAGES, Bench, Turn
from store_files import SHAPES, store_objects
from stores import KINDS, filled_store

from lemmy_safety import wiring
from lemmy_safety.detectors.base import Detector
from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lemmy_safety.records import Finding, Sample

_ROW = "{:<10}{:>12}{:>20}{:>18}{:>14}"


class StandIn(Detector):
    """Imitates a graphics card: each frame takes its time and, unless it is prepared too, no processor."""

    name: ClassVar[str] = "stand-in"

    def __init__(self, frames_s: float, *, batch_size: int, prepare: bool) -> None:
        self.batch_size = batch_size
        self._frames_s = frames_s
        self._card = threading.Event()
        self._preparation: Any = None
        if prepare:
            from lemmy_safety.detectors.clip.encoders.preparation import PicturePreparation  # noqa: PLC0415 - torch

            self._preparation = PicturePreparation(SimpleNamespace(image_size=224), "ViT-L-14", device="a card")

    @property
    def version(self) -> str:
        return "stand-in"

    def open(self) -> None:
        pass

    def detect(self, batch: Sequence[Sample]) -> list[list[Finding]]:
        pixels = [frame.pixels for sample in batch for frame in sample.frames]
        if self._preparation is not None:
            self._preparation.prepare(pixels).squares(range(len(pixels)))
        self._card.wait(len(pixels) / self._frames_s)
        return [[] for _ in batch]

    def close(self) -> None:
        if self._preparation is not None:
            self._preparation.close()


def main() -> None:
    options = parse()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    described = {name: value for name, value in vars(options).items() if name != "work"}
    print_header("Pipeline efficiency", described)
    for encoder in options.encoders:
        number = options.clip_objects if encoder == "clip" else options.objects
        objects = list(store_objects(number, seed=options.seed, shapes=options.shapes))
        megabytes = sum(len(data) for _, data in objects) / 1e6
        print(f"\n{encoder}: {number} objects, {megabytes:.1f} MB", flush=True)
        with opened_detectors(encoder, options) as detectors:
            for kind in options.stores:
                with filled_store(kind, objects) as store:
                    settings = Settings(**store, all=True, threads=options.threads)
                    measure(f"{encoder}, {kind}", settings, detectors, number, options.rounds)


@contextmanager
def opened_detectors(encoder: str, options: argparse.Namespace) -> Iterator[Sequence[Detector]]:
    with ExitStack() as stack:
        hashes = stack.enter_context(HashesDetector())
        if encoder == "stand-in":
            made: Detector = StandIn(options.rate, batch_size=options.batch, prepare=options.prepare)
        else:
            made = clip_detector(options, stack)
        yield [hashes, stack.enter_context(made)]


def clip_detector(options: argparse.Namespace, stack: ExitStack) -> Detector:
    """The real one as it is after long use, with words that no frame resembles."""
    from planted_cache import PlantedCaches, as_after_long_use  # noqa: PLC0415 - torch
    from random_weights import random_checkpoint  # noqa: PLC0415 - same reason

    from lemmy_safety.detectors.clip.device import choose_device  # noqa: PLC0415 - same reason

    weights = random_checkpoint(options.work, options.seed)
    caches = PlantedCaches(options.work, weights, device=choose_device(options.device), screen=options.screen)
    cache = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".pipeline-", dir=options.work))) / "cache"
    caches.fill(cache, caches.unlike_anything(options.seed))
    settings = Settings(
        storage="local",
        detectors=("clip",),
        device=options.device,
        clip_weights=weights,
        clip_screen=options.screen,
        cache_dir=cache,
    )
    (detector,) = wiring.build_detectors(settings)
    with detector:  # measures its error bounds
        pass
    as_after_long_use(cache)
    return detector


def measure(title: str, settings: Settings, detectors: Sequence[Detector], number: int, rounds: int) -> None:
    storage = wiring.build_storage(settings)
    with storage, wiring.start_decoder(settings) as decoder:
        bench = Bench(settings, storage, detectors, decoder, number)
        bench.whole_pass()  # what the first pass pays once: connections, imports, caches
        stages: list[dict[str, Turn]] = []
        passes: list[Turn] = []
        for _ in range(rounds):
            passes.append(bench.whole_pass())
            stages.append(bench.stages())
    print(
        "\n" + _ROW.format(title.partition(", ")[2], "objects/s", "(least to most)", "CPU ms an object", "of it here")
    )
    rates, cpu_s = {}, 0.0
    for name in STAGES:
        rates[name], cpu = show(name, [turns[name] for turns in stages], number)
        cpu_s += cpu
    reached, _ = show("pass", passes, number)
    slowest = min(rates, key=rates.__getitem__)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = cores / cpu_s
    print(
        f"{title}: efficiency {reached / rates[slowest]:.3f} of {slowest} alone ({rates[slowest]:.2f}); "
        f"{cores} cores allow {limit:.2f} for all stages together, of which it is {reached / limit:.3f}",
        flush=True,
    )


def show(name: str, turns: Sequence[Turn], number: int) -> tuple[float, float]:
    """Print a line; the median of objects a second and of processor seconds an object."""
    rates = [number / turn.seconds for turn in turns]
    rate = statistics.median(rates)
    cpu, own = (statistics.median(each) / number for each in zip(*((t.cpu_s, t.own_s) for t in turns), strict=True))
    print(
        _ROW.format(
            name, f"{rate:.2f}", f"{min(rates):.2f} to {max(rates):.2f}", f"{1000 * cpu:.2f}", f"{1000 * own:.2f}"
        )
    )
    return rate, cpu


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="*", default=["clip", "stand-in"], choices=("clip", "stand-in"))
    parser.add_argument("--stores", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--objects", type=int, default=300, help="for the stand-in")
    parser.add_argument("--clip-objects", type=int, default=120, help="for the real encoder")
    parser.add_argument("--shapes", default="mixed", choices=list(SHAPES), help="see store_files.py")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=Settings().threads, help="objects fetched at the same time")
    parser.add_argument("--rate", type=float, default=1000, help="frames a second of the stand-in")
    parser.add_argument("--batch", type=int, default=128, help="samples in a batch of the stand-in")
    parser.add_argument("--prepare", action="store_true", help="let the stand-in cut and scale frames as for a card")
    parser.add_argument("--device", default="auto", help="of the real encoder")
    parser.add_argument("--screen", default="auto", help="of the real encoder")
    parser.add_argument("--work", type=Path, help="folder for weights and quantised models (2 GB)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if "clip" in options.encoders and options.work is None:
        parser.error("the real encoder needs --work")
    return options


if __name__ == "__main__":
    main()
