"""How long after its start the program has judged the first picture, and what memory that took.

    python benchmarks/startup.py --work /path/for/weights

Each start is a process of its own that does what the program does (settings, ``open_scanner``, one pass) over a folder with
one picture; seconds count from the birth of the process. ``--all`` loads the model at once, the daemon with the first
picture. ``own`` is memory that is not mapped from files: what is mapped the system may take back and share.

Every start finds its quantised model and error bounds, as all but the very first on a machine do, and files are in the
system's cache. Weights are random. The program fails when a text tower is loaded although the words' features are cached,
or when the daemon has loaded any tower before there was a picture.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import suite  # noqa: F401
from machine import print_header
from planted_cache import PlantedCaches
from random_weights import FORMS, random_checkpoint
from support.media.pictures import encode, photo
from support.storage.backends import LocalBackend

from lemmy_safety.detectors.clip.device import choose_device

_ROW = "{:<8}{:<10}{:<11}{:<15}{:>8}{:>17}{:>9}{:>8}{:>13}{:>12}"
_MEGA = 1e6


@dataclass(frozen=True, slots=True)
class Start:
    """What is started: ``form`` is the file of weights, one of ``FORMS``."""

    door: str
    words: str
    form: str
    screen: str


def main() -> None:
    options = parse()
    described = {name: value for name, value in vars(options).items() if name != "work"}
    print_header("Start-up", described)
    starts = [
        *(Start(door, words, "fp16", options.screen) for door in options.doors for words in options.words),
        *(Start("all", "cached", form, "off") for form in options.forms),
    ]
    print(
        "\n"
        + _ROW.format(
            "door", "words", "weights", "screen", "ready s", "first verdict s", "peak MB", "own MB", "idle own MB", "text tower"
        )
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix=".startup-", dir=options.work) as name:
        for start in starts:
            measure(start, options, Path(name))


def measure(start: Start, options: argparse.Namespace, folder: Path) -> None:
    weights = random_checkpoint(options.work, options.seed, start.form)
    cache = folder / f"{start.form}-{start.screen}"
    if not cache.exists():
        prepare_cache(cache, start, weights, options)
    # The first one is watched and not timed; it also brings the files into the system's cache.
    watched, *accounts = (
        run_once(folder, cache, start, weights, options, watch=number == 0) for number in range(options.rounds + 1)
    )
    check(start, watched)
    median = {
        key: statistics.median(each[key] for each in accounts)
        for key in accounts[0]
        if key.endswith(("_s", "own", "peak"))
    }
    print(
        _ROW.format(
            *asdict(start).values(),
            f"{median['ready_s']:.2f}",
            f"{median['verdict_s']:.2f}",
            f"{median['peak'] / _MEGA:.0f}",
            f"{median['own'] / _MEGA:.0f}",
            f"{median['idle_own'] / _MEGA:.0f}",
            "loaded" if "text" in watched["towers"] else "-",
        ),
        flush=True,
    )


def prepare_cache(cache: Path, start: Start, weights: Path, options: argparse.Namespace) -> None:
    """What a start finds that is not the first one on a machine. Words are made up, because computing them takes a minute."""
    caches = PlantedCaches(options.work, weights, device=choose_device(options.device), screen=start.screen)
    caches.fill(cache, caches.unlike_anything(options.seed))
    if start.screen != "off":  # measures the error bounds
        run_once(cache.parent, cache, replace(start, door="all", words="cached"), weights, options, own_cache=False)


def run_once(
    folder: Path,
    cache: Path,
    start: Start,
    weights: Path,
    options: argparse.Namespace,
    *,
    watch: bool = False,
    own_cache: bool = True,
) -> dict[str, Any]:
    """One start in a new process, with one picture in the storage, an empty ledger and, unless it is to fill ``cache``
    itself, a copy of it; the process's own account.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        if own_cache:
            cache = shutil.copytree(cache, place / "cache", symlinks=True)
        if start.words == "computed":
            for path in cache.glob("text-features-*"):
                path.unlink()
        picture = encode(photo("astronaut"), "webp", quality=80)
        LocalBackend(place / "files").put("picture.webp", picture, datetime.now(UTC) - timedelta(minutes=5))
        job = {
            "door": start.door,
            "files": str(place / "files"),
            "ledger": str(place / "ledger.db"),
            "cache": str(cache),
            "weights": str(weights),
            "screen": start.screen,
            "device": options.device,
            "watch": watch,
        }
        told = subprocess.run(
            [sys.executable, Path(__file__).with_name("startup_job.py"), json.dumps(job)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    account: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return account


def check(start: Start, account: dict[str, Any]) -> None:
    assert account["checked"] == 1, "the picture was not judged"
    assert ("text" in account["towers"]) == (start.words == "computed"), f"{start}: loaded {account['towers']}"
    assert "image" in account["towers"], f"{start}: loaded {account['towers']}"
    assert bool(account["towers_when_ready"]) == (start.door == "all"), f"{start}: {account['towers_when_ready']}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for weights and quantised models (up to 9 GB)")
    parser.add_argument("--rounds", type=int, default=3, help="timed starts of each kind; medians are printed")
    parser.add_argument("--doors", nargs="*", default=["all", "daemon"], choices=("all", "daemon"))
    parser.add_argument("--words", nargs="*", default=["cached", "computed"], choices=("cached", "computed"))
    parser.add_argument(
        "--forms", nargs="*", default=["fp16", "fp32", "torch-old"], choices=list(FORMS), help="of weights"
    )
    parser.add_argument("--screen", default="auto", help="for the starts that are not about the form of weights")
    parser.add_argument("--device", default="auto", help="auto, cuda, mps, xpu or cpu")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
