"""Finding the pictures of many keys in a real pict-rs: requests and seconds, over HTTP alone and with its database.

pict-rs runs in its dummy mode, where an upload takes milliseconds. Two stores are made of the uploads:

- sled, as they came: all within a minute or two, far more at a time than a real instance has (the worst case);
- PostgreSQL, with keys, rows and details spread over a year.

In each, the pictures of some keys are looked up: in one call; one by one, with nothing remembered; by a walk through the
whole list, which keys of old versions need; and with PostgreSQL by its database.

    python benchmarks/pictrs_lookup.py --pictures 20000 --keys 200
    python benchmarks/pictrs_lookup.py --pictures 2000 --keys 50 --store 0.5-sled
"""

from __future__ import annotations

import argparse
import hashlib
import random
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import suite  # noqa: F401
from machine import print_header
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool
from support.servers.pictrs_process import API_KEY, Pictrs, alias
from support.servers.pictrs_repos import DUMMY, pictrs_with

from lemmy_safety.pictrs.api.client import PER_SECOND, PictrsApi
from lemmy_safety.pictrs.keys import make_key
from lemmy_safety.pictrs.pictures.by_api import ApiFinder
from lemmy_safety.pictrs.pictures.by_database import DatabaseFinder
from lemmy_safety.pictrs.pictures.by_walk import find_all
from lemmy_safety.pictrs.pictures.records import Found
from lemmy_safety.pictrs.repo.database import Repo

if TYPE_CHECKING:
    from collections.abc import Callable

_AT_ONCE = 8
_UNLIMITED = 100_000.0
_YEAR = timedelta(days=365)

SPREAD = "0.5-postgres"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--store", action="append", choices=("0.5-sled", SPREAD))
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    print_header("Look-ups in pict-rs", vars(options))
    for kind in options.store or ("0.5-sled", SPREAD):
        rng = random.Random(options.seed)
        with (
            tempfile.TemporaryDirectory(prefix="lookup.") as folder,
            pictrs_with(kind, Path(folder), DUMMY) as (server, url),
        ):
            began = time.monotonic()
            names = upload(server, options.pictures)
            print(f"\n{kind}: {options.pictures:,} uploads in {time.monotonic() - began:.0f} s")
            if url is not None:
                spread_over_a_year(server, url, rng)
            keys = digests(server, rng.sample(names, options.keys))
            look_up(server, url, keys)


def upload(server: Pictrs, count: int) -> list[str]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda number: alias(server.upload(b"picture %d" % number)), range(count)))


def spread_over_a_year(server: Pictrs, url: str, rng: random.Random) -> None:
    """Give every picture another time, in its key, its row and its details; its row is written a little later."""
    server.stop(gently=True)
    engine = create_engine(url, poolclass=NullPool)
    now = datetime.now(UTC)
    with engine.begin() as connection:
        moved = []
        for hashed, old in connection.execute(text("SELECT hash, identifier FROM hashes ORDER BY hash")).all():
            at = now - timedelta(seconds=rng.uniform(60, _YEAR.total_seconds()))
            row_at, details_at = at + timedelta(seconds=rng.uniform(0.3, 4)), at + timedelta(seconds=0.2)
            moved.append(
                {
                    "hash": hashed,
                    "old": old,
                    "new": make_key(at, rng.getrandbits(74), ".png"),
                    "row_at": row_at.replace(tzinfo=None),
                    "details_at": details_at.isoformat().replace("+00:00", "Z"),
                }
            )
        connection.execute(text("UPDATE hashes SET identifier = :new, created_at = :row_at WHERE hash = :hash"), moved)
        details = "UPDATE details SET identifier = :new, json = jsonb_set(json, '{created_at}', to_jsonb(cast(:details_at AS text)))"
        connection.execute(text(f"{details} WHERE identifier = :old"), moved)
    for each in moved:
        path = server.files / each["new"]
        path.parent.mkdir(parents=True, exist_ok=True)
        (server.files / each["old"]).rename(path)
    server.start()


def digests(server: Pictrs, names: list[str]) -> dict[str, str]:
    keys = [server.internal("GET", "identifier", alias=name).json()["identifier"] for name in names]
    return {key: hashlib.sha256((server.files / key).read_bytes()).hexdigest() for key in keys}


def look_up(server: Pictrs, url: str | None, keys: dict[str, str]) -> None:
    print(f"{'':<46}{'found':>8}{'requests':>10}{'seconds':>9}", flush=True)

    def in_one_call(api: PictrsApi) -> int:
        return found(ApiFinder(api).by_keys(keys))

    def one_by_one(api: PictrsApi) -> int:
        return sum(found(ApiFinder(api).by_keys({key: sha256})) for key, sha256 in keys.items())

    def walk(api: PictrsApi) -> int:
        return sum(len(step.found) for step in find_all(api, keys.values()))

    timed(server, f"in one call, {PER_SECOND:g} requests/s", PER_SECOND, in_one_call)
    timed(server, "in one call, no limit", _UNLIMITED, in_one_call)
    timed(server, "one by one, nothing remembered, no limit", _UNLIMITED, one_by_one)
    timed(server, "a walk through the whole list, no limit", _UNLIMITED, walk)
    if url is not None:
        with Repo(make_url(url)) as repo:
            began = time.monotonic()
            there = found(DatabaseFinder(repo).by_keys(dict.fromkeys(keys)))
            show("by its database", there, "-", began)


def timed(server: Pictrs, name: str, per_second: float, ask: Callable[[PictrsApi], int]) -> None:
    with PictrsApi(url=f"http://127.0.0.1:{server.port}", key=API_KEY, per_second=per_second) as api:
        began = time.monotonic()
        there = ask(api)
        show(name, there, f"{api.sent:,}", began)


def show(name: str, there: int, requests: str, began: float) -> None:
    print(f"{name:<46}{there:>8}{requests:>10}{time.monotonic() - began:>9.2f}", flush=True)


def found(answers: dict[str, object]) -> int:
    return sum(isinstance(answer, Found) for answer in answers.values())


if __name__ == "__main__":
    main()
