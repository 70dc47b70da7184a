"""What is left of pictures that were removed, and what became of the others: asked of pict-rs, its database and the storage."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.removal.instance import Instance
    from support.removal.uploads import Picture

#: Longer than pict-rs needs to remove what it has accepted to remove, on a busy machine.
_PATIENCE_S = 30.0

#: Rows of pictures in pict-rs's database, by table: their hashes as it writes them, their aliases, their keys.
_ROWS = {
    "hashes": "SELECT count(*) FROM hashes WHERE left(encode(decode(hash, 'base64'), 'hex'), 64) = ANY(:sha256s)",
    "aliases": "SELECT count(*) FROM aliases WHERE alias = ANY(:names)",
    "variants": "SELECT count(*) FROM variants WHERE left(encode(decode(hash, 'base64'), 'hex'), 64) = ANY(:sha256s)",
    "proxies": "SELECT count(*) FROM proxies WHERE url = ANY(:urls)",
    "details": "SELECT count(*) FROM details WHERE identifier = ANY(:keys)",
}


@dataclass
class Look:
    """What was seen at one moment."""

    #: What pict-rs answered to the URLs of removed pictures, at every size.
    answers: Counter[int] = field(default_factory=Counter)
    #: Keys of their files that are still in the storage.
    files: set[str] = field(default_factory=set)
    #: Their aliases that pict-rs knows, and their SHA-256 that it lists.
    aliases: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)
    #: Their rows in pict-rs's database, by table.
    rows: dict[str, int] = field(default_factory=dict)
    #: What is wrong with the others.
    harmed: list[str] = field(default_factory=list)

    @property
    def rows_left(self) -> int:
        """In the database, or where pict-rs has none, what it says itself."""
        return sum(self.rows.values()) if self.rows else len(self.aliases) + len(self.listed)

    @property
    def faults(self) -> list[str]:
        """One sentence for each promise that is not kept; empty if exactly the removed pictures are gone."""
        said = []
        if wrong := {status: count for status, count in self.answers.items() if status != 404}:
            said.append(f"URLs of removed pictures do not answer 404: {wrong}")
        if self.files:
            said.append(f"files of removed pictures are left: {len(self.files)}")
        if self.aliases:
            said.append(f"aliases of removed pictures are known: {len(self.aliases)}")
        if self.listed:
            said.append(f"removed pictures are listed: {len(self.listed)}")
        if left := {table: count for table, count in self.rows.items() if count}:
            said.append(f"rows of removed pictures are left: {left}")
        return said + self.harmed


def look(instance: Instance, removed: Sequence[Picture], kept: Sequence[Picture]) -> Look:
    """Ask for everything once."""
    seen = Look()
    pictrs, stored, listed = instance.pictrs, instance.stored(), Counter(instance.listed())
    for picture in removed:
        seen.answers.update(pictrs.get(path).status_code for path in picture.shown)
        seen.aliases.update(
            name for name in picture.aliases if pictrs.internal("GET", "aliases", alias=name).status_code != 404
        )
        seen.files |= stored & set(picture.keys.values())
    seen.listed = {picture.sha256 for picture in removed} & set(listed)
    seen.rows = rows_of(instance, removed)
    for picture in kept:
        for path, digest in picture.shown.items():
            answer = pictrs.get(path)
            if (answer.status_code, hashlib.sha256(answer.content).hexdigest()) != (200, digest):
                seen.harmed.append(f"{path} of a picture that stays answers {answer.status_code}")
        if listed[picture.sha256] != 1:
            seen.harmed.append(f"a picture that stays is listed {listed[picture.sha256]} times")
    expected = {key for picture in kept for key in picture.keys.values()}
    if missing := expected - stored:
        seen.harmed.append(f"files of pictures that stay are missing: {len(missing)}")
    if unknown := stored - expected - seen.files:
        seen.harmed.append(f"files of no known picture are in the storage: {len(unknown)}")
    return seen


def look_when_done(instance: Instance, removed: Sequence[Picture], kept: Sequence[Picture]) -> Look:
    """As ``look``, when pict-rs has removed what it was asked to: in the background, some time after its answer."""
    deadline, pause = time.monotonic() + _PATIENCE_S, threading.Event()
    while (seen := look(instance, removed, kept)).faults and time.monotonic() < deadline:
        pause.wait(0.5)
    return seen


def rows_of(instance: Instance, pictures: Sequence[Picture]) -> dict[str, int]:
    """Rows of these pictures in pict-rs's database by table; nothing where it has none."""
    if instance.database is None:
        return {}
    wanted = {
        "sha256s": [picture.sha256 for picture in pictures],
        "names": [name for picture in pictures for name in picture.aliases],
        "urls": [picture.url for picture in pictures if picture.url is not None],
        "keys": [key for picture in pictures for key in picture.keys.values()],
    }
    engine = create_engine(instance.database, poolclass=NullPool)
    with engine.connect() as connection:
        return {
            table: connection.execute(
                text(query), {name: wanted[name] for name in wanted if f":{name}" in query}
            ).scalar_one()
            for table, query in _ROWS.items()
        }
