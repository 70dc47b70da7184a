"""Flagged pictures are removed through pict-rs: what real servers say afterwards, on each repository and storage.

For each combination, a real pict-rs gets uploads with thumbnails of two sizes; some are re-encodings of the canary, some
of these have 2 to 4 aliases, and one is fetched from a second server. Real processes then do what an admin does:

1. sweep: exactly the canaries are gone, at every size, with every alias and row, and nothing else has changed;
2. the same bytes are uploaded again: pict-rs accepts them, and shows them;
3. sweep, and pict-rs is killed in the middle of the purges; started again, the next pass finishes;
4. the hook is set: the same bytes, and the remote picture at its next view, are refused.

    python evaluation/pictrs_removal.py
    python evaluation/pictrs_removal.py --uploads 12 --canaries 3 --only 0.5-sled+folder
    python evaluation/pictrs_removal.py --kills 200     # instead: kill -9 of sweeps, on a pict-rs in dummy mode

The builds of pict-rs are made by ``scripts/build_pictrs.sh``. The verdicts are those of the detector ``hashes``.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import suite  # noqa: F401
from machine import print_header
from support.removal.instance import COMBINATIONS, Instance, instance_on
from support.removal.killing import Kills, kill_sweeps
from support.removal.look import look, look_when_done
from support.removal.steps import answers_with_hook, stop_pictrs_at_purge
from support.removal.uploads import again, drawn, upload_all
from support.servers.pictrs_process import API_KEY
from support.servers.pictrs_repos import DUMMY
from support.servers.s3 import S3Server, running
from support.servers.swift import SwiftServer, SwiftUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A line of a summary: what, and the number that comes first.
_FIGURE = re.compile(r"^  (\S.*?) {2,}([\d,]+)", re.MULTILINE)

_REFUSED = (400, "failed-external-validation")


@dataclass
class Row:
    """A line of the table."""

    name: str
    figures: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--canaries", type=int, default=10)
    parser.add_argument("--only", action="append", help="such as 0.5-sled+folder; several times")
    parser.add_argument("--http-alone", action="store_true", help="do not tell us pict-rs's database")
    parser.add_argument("--kills", type=int, default=0, help="instead: so many times kill -9 during sweeps")
    parser.add_argument("--seed", type=int, default=16)
    options = parser.parse_args()
    print_header("Removal through pict-rs", vars(options))
    names = options.only or ["0.5-sled+folder"] if options.kills else options.only or list(map("+".join, COMBINATIONS))
    rows: list[Row] = []
    try:
        for name in names:
            rows.append(Row(name))
            _run(rows[-1], options)
    finally:  # also of what was done before Ctrl-C
        _show_table(rows)
    sys.exit(1 if any(row.faults for row in rows) else 0)


def _run(row: Row, options: argparse.Namespace) -> None:
    with _instance(row.name, options) as instance:
        step = _killed if options.kills else _removed
        try:
            step(instance, row, options)
        except AssertionError as error:
            row.faults.append(str(error))
        _check_for_the_key(instance, row)
    for fault in row.faults:
        print(f"FAULT  {row.name}: {fault}", flush=True)


@contextmanager
def _instance(name: str, options: argparse.Namespace) -> Iterator[Instance]:
    kind, store = name.split("+")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="removal.")))
        s3: S3Server | None = None
        if store == "bucket":
            s3 = stack.enter_context(contextmanager(running)(SwiftServer, "Swift", SwiftUnavailable))
        settings = DUMMY if options.kills else None
        made = instance_on(kind, store, folder, s3=s3, settings=settings, with_database=not options.http_alone)
        yield stack.enter_context(made)


def _removed(instance: Instance, row: Row, options: argparse.Namespace) -> None:
    pictures = drawn(options.uploads, options.canaries, seed=options.seed)
    began = time.monotonic()
    upload_all(instance, pictures)
    canaries = [picture for picture in pictures if picture.canary]
    others = [picture for picture in pictures if not picture.canary]
    row.figures |= {
        "uploads": sum(picture.copies for picture in pictures),
        "objects": len(instance.stored()),
        "filled s": time.monotonic() - began,
    }
    row.faults += look(instance, [], pictures).faults

    done = _sweep(instance, row, "sweep")
    row.figures |= {"flagged": done["flagged"], "acted": done["acted"], "sweep s": done["seconds"]}
    row.figures["requests"] = sum(instance.watch.counts().values())
    row.figures["purges"] = instance.watch.counts()["POST /internal/purge"]
    _say_requests(instance, "sweep")
    seen = look_when_done(instance, canaries, others)
    row.figures |= {
        "404": f"{seen.answers[404]}/{seen.answers.total()}",
        "aliases left": len(seen.aliases),
        "rows left": seen.rows_left,
        "files left": len(seen.files),
    }
    row.faults += [f"sweep: {fault}" for fault in seen.faults]
    if seen.faults:
        return  # what follows begins with a clean store

    later = again(canaries)
    upload_all(instance, later)
    stop_pictrs_at_purge(instance, max(2, len(later) // 2), gently=False, answered=False)
    instance.watch.forget()
    _sweep(instance, row, "pict-rs killed", may_fail=True)
    left = len({picture.sha256 for picture in later} & set(_listed_again(instance)))
    row.figures["left by kill"] = f"{left}/{len(later)}"
    if not left:
        row.faults.append("pict-rs was not killed in the middle: nothing was left")
    _sweep(instance, row, "pict-rs back")
    row.faults += [f"pict-rs back: {fault}" for fault in look_when_done(instance, later, others).faults]

    answers = answers_with_hook(instance, canaries)
    row.figures["refused"] = f"{answers.count(_REFUSED)}/{len(answers)}"
    row.faults += [f"the hook is set, and pict-rs answers {answer}" for answer in answers if answer != _REFUSED]


def _listed_again(instance: Instance) -> list[str]:
    instance.pictrs.start()
    return instance.listed()


def _sweep(instance: Instance, row: Row, name: str, *, may_fail: bool = False) -> dict[str, Any]:
    """``lemmy-safety --all --yes`` as a person runs it, for what it says, and the same as data."""
    began = time.monotonic()
    done = instance.admin.run("--all", "--yes", code=None)
    seconds = time.monotonic() - began
    (instance.admin.folder / f"{name}.out").write_text(done.stdout + done.stderr)
    said = "\n".join(f"    {line}" for line in done.stdout.splitlines())
    print(f"{row.name}: {name}: exit code {done.returncode}, {seconds:.1f} s\n{said}", flush=True)
    if done.returncode and not may_fail:
        row.faults.append(f"{name}: exit code {done.returncode}: {done.stderr.splitlines()[-1:]}")
    figures = dict(match.groups() for match in _FIGURE.finditer(done.stdout))
    return {"flagged": figures.get("flagged as possible"), "acted": figures.get("acted on"), "seconds": seconds}


def _say_requests(instance: Instance, name: str) -> None:
    counts = ", ".join(f"{count} {what}" for what, count in sorted(instance.watch.counts().items()))
    print(f"    requests to pict-rs in {name}: {counts or 'none'}", flush=True)


def _killed(instance: Instance, row: Row, options: argparse.Namespace) -> None:
    began = time.monotonic()
    killed: Kills = kill_sweeps(instance, options.kills, random.Random(options.seed), flagged=150, others=30)
    row.figures |= {
        "kills": killed.kills,
        "in the middle of purges": killed.in_purges,
        "sweeps that ended": killed.ended,
        "pictures": killed.pictures,
        "actions": killed.actions,
        "purges": killed.purges,
        "s": time.monotonic() - began,
    }
    row.faults += killed.faults


def _check_for_the_key(instance: Instance, row: Row) -> None:
    said = instance.everything_said()
    row.figures["KB of output"] = sum(map(len, said.values())) // 1000
    row.faults += [f"the key of pict-rs is in {name}" for name, text in said.items() if API_KEY in text]


def _show_table(rows: list[Row]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    lines = [["", *(row.name for row in rows)]]
    lines += [[name, *(_cell(row.figures.get(name)) for row in rows)] for name in names]
    lines.append(["faults", *(str(len(row.faults)) for row in rows)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    print()
    for line in lines:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
