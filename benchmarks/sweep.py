"""A sweep, the ancestor's way and ours: the same objects on a real S3 server, the same random-weight ViT-L-14, one run.

    python benchmarks/sweep.py --objects 400 --work /path/for/weights

The ancestor's way: list with boto3, and for each object get, open with Pillow, shrink to 512 pixels, check (one picture, two
passes; ``ancestor_check.py``). It looks at every n-th object, before and after ours, to show what the machine varies by.

Ours is what ``--all`` does: settings, ``open_scanner``, one pass over everything into an empty ledger, with hashes and clip;
starting is timed apart. Words' features are planted so that about each of --shares of the frames has to be confirmed by the
reference. ``first`` is the first sweep that these weights ever do, in which the screen is watched more closely, ``later`` one
after the first thousand pictures. Of a picture longer than 1.4:1 we look at three parts and the ancestor at one, so rates
per frame are given too; --shapes compact or long shows the extremes.
"""

from __future__ import annotations

import argparse
import io
import logging
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import suite  # noqa: F401
import torch
from ancestor_check import AncestorCheck
from decoders import inline_decoder
from machine import print_header
from PIL import Image
from planted_cache import PlantedCaches, as_after_long_use, smallest_bound
from random_weights import random_checkpoint
from store_files import SHAPES, store_objects
from stores import filled_store

from lemmy_safety import wiring
from lemmy_safety.detectors.clip.device import choose_device
from lemmy_safety.errors import MediaError
from lemmy_safety.scan import PassRequest
from lemmy_safety.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from lemmy_safety.scan import PassSummary

_ROW = "{:>5} {:<6}{:>8}{:>9}{:>8}  {:<42}{:>14}{:>9}{:>10}{:>12}{:>10}{:>11}"


@dataclass(frozen=True, slots=True)
class Sweep:
    """Ours. ``started_s`` is from the settings to the first listing, ``seconds`` the pass itself."""

    started_s: float
    seconds: float
    summary: PassSummary


def main() -> None:
    options = parse()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    device = choose_device(options.device)
    described = {**vars(options), "device": device, "torch_threads": torch.get_num_threads()}
    described.pop("work")
    print_header("Sweep, the ancestor's way and ours", described)
    weights = random_checkpoint(options.work, options.seed)
    caches = PlantedCaches(options.work, weights, device=device, screen=options.screen)
    objects = list(store_objects(options.objects, seed=options.seed, shapes=options.shapes))
    features = caches.features(judged_frames([data for _, data in objects]))
    megabytes = sum(len(data) for _, data in objects) / 1e6
    print(
        f"objects:  {len(objects)}, {megabytes:.1f} MB; {len(features)} frames to judge, "
        f"{len(features) / len(objects):.2f} an object; screens to try: {', '.join(caches.screens) or 'none'}",
        flush=True,
    )
    with filled_store("s3", objects) as store:
        del objects
        ancestor = AncestorCheck(weights, device)
        ancestor.use_text_features(caches.unlike_anything(options.seed), device)
        looked_at = sorted({round(n * options.objects / options.ancestor) for n in range(options.ancestor)})
        before = ancestor_rate(ancestor, store, looked_at)
        print(f"ancestor: {before:.3f} images/s over {len(looked_at)} objects", flush=True)
        sweeps = []
        for share in options.shares:
            with tempfile.TemporaryDirectory(prefix=".sweep-", dir=options.work) as name:
                folder = Path(name)
                values = {**store, "device": device, "clip_weights": weights, "clip_screen": options.screen}
                values |= {"cache_dir": folder / "cache"}
                plant = partial(caches.plant, features, confirmed=share, seed=options.seed)
                caches.fill(folder / "cache", plant())
                measure_bounds(Settings(**values, all=True))
                for age in ("first", "later"):
                    # Bounds may have grown: then more is too near to a limit, unless words move away.
                    caches.fill(folder / "cache", plant(margin=smallest_bound(folder / "cache")))
                    sweeps.append((share, age, sweep_once(folder / f"{age}.db", values)))
                    as_after_long_use(folder / "cache")
        after = ancestor_rate(ancestor, store, looked_at)
    print(f"ancestor: {after:.3f} images/s afterwards; ratios are to the mean of both\n")
    show(sweeps, (before + after) / 2)


def judged_frames(files: Sequence[bytes]) -> Iterator[np.ndarray]:
    """The frames that a classifier is shown: all but those with nothing on them."""
    decoder = inline_decoder()
    for data in files:
        with suppress(MediaError):
            yield from (frame.pixels for frame in decoder.decode(data).frames if not frame.plain)


def ancestor_rate(ancestor: AncestorCheck, store: dict[str, Any], looked_at: Sequence[int]) -> float:
    """Objects a second; the first one is checked once more before, because it warms the model up."""
    client = boto3.session.Session(store["s3_access_key"], store["s3_secret_key"]).client(
        "s3", endpoint_url=store["s3_endpoint"], region_name=store["s3_region"]
    )
    bucket = store["s3_bucket"]

    def check(key: str) -> None:
        body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        with Image.open(io.BytesIO(body)) as image:
            ancestor.check(image)

    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
    check(keys[0])
    started = time.perf_counter()
    for place in looked_at:
        check(keys[place])
    seconds = time.perf_counter() - started
    client.close()
    return len(looked_at) / seconds


def measure_bounds(settings: Settings) -> None:
    """What the very first start with these weights does once: try every screen against the reference."""
    for detector in wiring.build_detectors(settings):
        with detector:
            pass


def sweep_once(ledger: Path, values: dict[str, Any]) -> Sweep:
    """One pass as ``--all --dry-run`` makes it, with an empty ledger."""
    settings = Settings(**values, all=True, dry_run=True, sqlite_filename=ledger)
    # Flagged keys are random ones here, and as many as were asked for.
    logging.getLogger("lemmy_safety.scan.stages.judge").setLevel(logging.ERROR)
    started = time.perf_counter()
    with wiring.open_scanner(settings, stop=threading.Event()) as scanner:
        opened = time.perf_counter()
        summary = scanner.run(PassRequest(kind="sweep"))
        ended = time.perf_counter()
    return Sweep(opened - started, ended - opened, summary)


def show(sweeps: Sequence[tuple[float, str, Sweep]], ancestor: float) -> None:
    print(
        _ROW.format(
            "share", "sweep", "start s", "objects", "frames", "cleared by", "confirmed", "watched",
            "images/s", "x ancestor", "frames/s", "x a frame",
        )
    )  # fmt: skip
    for share, age, sweep in sweeps:
        summary, screen = sweep.summary, sweep.summary.screen
        done = summary.checked + sum(summary.unreadable.values())
        images_s = done / sweep.seconds
        frames = screen.screened if screen else 0
        stages = screen.stages if screen else ()
        print(
            _ROW.format(
                f"{share:.0%}",
                age,
                f"{sweep.started_s:.1f}",
                done,
                frames or "?",
                ", ".join(f"{stage.name} {stage.cleared}/{stage.screened}" for stage in stages) or "no screen",
                f"{screen.confirmed} ({screen.confirmed / frames:.1%})" if screen else "all",
                screen.watched if screen else "",
                f"{images_s:.2f}",
                f"{images_s / ancestor:.1f}",
                f"{frames / sweep.seconds:.2f}" if screen else "?",
                f"{frames / sweep.seconds / ancestor:.1f}" if screen else "?",
            )
        )
        if summary.failed or summary.unreadable or done != summary.seen:
            print(f"       {summary.seen} seen, failed {dict(summary.failed)}, unreadable {dict(summary.unreadable)}")
    for share, age, sweep in sweeps:
        bounds = sweep.summary.screen.stages if sweep.summary.screen else ()
        for stage in bounds:
            state = "" if stage.in_use else ", left out before the end"
            print(
                f"{share:>6.0%} {age:<6} {stage.name}: error bound {stage.error_bound:.5f}, largest error "
                f"{stage.largest_error:.5f}, widened {stage.widenings} times, exceeded {stage.exceeded}{state}"
            )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for weights and quantised models (2 GB)")
    parser.add_argument("--objects", type=int, default=400)
    parser.add_argument("--shapes", default="mixed", choices=list(SHAPES), help="see store_files.py")
    parser.add_argument("--shares", type=float, nargs="*", default=[0.0, 0.05, 0.2], help="of frames to be confirmed")
    parser.add_argument("--ancestor", type=int, default=32, help="objects that the ancestor checks, each time")
    parser.add_argument("--device", default="auto", help="auto, cuda, mps, xpu or cpu")
    parser.add_argument("--screen", default="auto", help="auto, off or the name of one encoder")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
