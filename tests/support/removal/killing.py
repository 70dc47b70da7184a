"""Sweeps that are killed at random moments, over and over on one database, while they have pict-rs remove pictures."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.removal.look import look_when_done
from support.removal.uploads import Picture, upload_all
from support.storage.sample_store import sample_pictures

from lemmy_safety.detectors.hashes.canary import canary_png

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from support.removal.instance import Instance

#: Of ``Instance.admin``'s own folder.
_DATABASE = "lemmy_safety.db"

#: Seconds from the start of a sweep to its death; every other sweep dies so long after its first purge.
_SOONEST, _LATEST = 0.2, 3.0
_IN_PURGES = 1.0

#: More than a person would let it remove without a look.
_LIMITS = {
    "LEMMY_SAFETY_MAX_FIRST_ACTIONS": "100000",
    "LEMMY_SAFETY_MAX_ACTIONS_PER_DAY": "100000",
    "LEMMY_SAFETY_MAX_ACTION_SHARE": "100",
}


@dataclass
class Kills:
    """How it went."""

    kills: int = 0
    #: Kills after a sweep had sent its first purge.
    in_purges: int = 0
    #: Sweeps that were done before they were killed; then there are new pictures.
    ended: int = 0
    pictures: int = 0
    actions: int = 0
    #: Requests, with those that were sent again because it was not known whether they had arrived.
    purges: int = 0
    faults: list[str] = field(default_factory=list)


def kill_sweeps(instance: Instance, kills: int, rng: random.Random, *, flagged: int, others: int) -> Kills:
    """Kill ``--all`` so often, each time at a random moment, then let one end.

    There are ``flagged`` canaries with bytes of their own, and as many new ones whenever all are removed.
    """
    done = Kills()
    instance.admin.env |= _LIMITS
    kept = [Picture(data, "image/png", canary=False) for data in _others(others)]
    upload_all(instance, kept, sides=())
    removed = _new_canaries(instance, flagged, done)
    while done.kills < kills:
        instance.watch.forget()
        process = instance.admin.start("--all", "--yes")
        try:
            if rng.random() < 0.5:
                process.wait(rng.uniform(_SOONEST, _LATEST))
            else:
                _wait_for_a_purge(instance, process)
                process.wait(rng.uniform(0, _IN_PURGES))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            done.kills += 1
            done.in_purges += bool(instance.watch.counts()["POST /internal/purge"])
        else:
            done.ended += 1
            if process.returncode:
                done.faults.append(f"a sweep ended with {process.returncode}: {instance.admin.log()[-500:]}")
                break
            removed += _new_canaries(instance, flagged, done)
        done.purges += instance.watch.counts()["POST /internal/purge"]
    instance.watch.forget()
    instance.admin.run("--all", "--yes")
    done.purges += instance.watch.counts()["POST /internal/purge"]
    done.pictures = len(removed)
    done.faults += look_when_done(instance, removed, kept).faults
    done.actions, faults = _actions(
        instance.admin.folder / _DATABASE, {picture.keys["original"] for picture in removed}
    )
    done.faults += faults
    return done


def _wait_for_a_purge(instance: Instance, process: subprocess.Popen[str]) -> None:
    """Until a sweep sends its first one, or ends."""
    pause = threading.Event()
    while not instance.watch.counts()["POST /internal/purge"] and process.poll() is None:
        pause.wait(0.02)


def _new_canaries(instance: Instance, count: int, done: Kills) -> list[Picture]:
    canary, first = canary_png(), done.pictures
    done.pictures += count
    # Trailing bytes: other digests, so that none is a known copy. Every fifth is uploaded twice.
    new = [
        Picture(canary + b"%d" % number, "image/png", canary=True, copies=1 + (number % 5 == 0))
        for number in range(first, first + count)
    ]
    upload_all(instance, new, sides=())
    return new


def _others(count: int) -> list[bytes]:
    return [data for _, data in sample_pictures(count, seed=11, max_side=96)]


def recorded(instance: Instance) -> Counter[str]:
    """The states of all actions on record."""
    with closing(sqlite3.connect(instance.admin.folder / _DATABASE)) as db:
        return Counter(state for (state,) in db.execute("SELECT state FROM actions"))


def _actions(database: Path, flagged: set[str]) -> tuple[int, list[str]]:
    """How many actions are on record, and what is wrong with them."""
    with closing(sqlite3.connect(database)) as db:
        rows = db.execute(
            "SELECT key, actions.state FROM actions JOIN images ON images.id = actions.image_id"
        ).fetchall()
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        purges = db.execute("SELECT sha256, state FROM purges").fetchall() if "purges" in tables else []
    faults = [f"the action on {key} is {state}" for key, state in rows if state != "done"]
    keys = [key for key, _ in rows]
    if len(keys) != len(set(keys)):
        faults.append(f"{len(keys) - len(set(keys))} actions are recorded twice")
    if set(keys) != flagged:
        faults.append(
            f"{len(flagged - set(keys))} flagged objects have no action, {len(set(keys) - flagged)} others have"
        )
    if len(purges) != len({sha256 for sha256, _ in purges}):
        faults.append("a picture has two purges on record")
    return len(rows), faults
