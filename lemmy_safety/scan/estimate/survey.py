"""What a storage holds, and a random sample of it, from one listing. Nothing is read and nothing is recorded."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from lemmy_safety.errors import AccessDenied, ListingIncomplete
from lemmy_safety.pictrs.keys import is_health_check

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Container, Iterable, Iterator

    from lemmy_safety.records import StoredObject

#: Objects per look-up of what is known, as in a pass.
_BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """``objects`` of ``size`` bytes are listed, of which ``too_large`` of ``size_too_large`` exceed the limit and will
    not be read. ``known`` of ``size_known``, of the others, were judged before; None if that was not looked up.

    ``sample`` is in random order. ``refused`` says why some of the storage could not be listed; None if all was.
    """

    objects: int
    size: int
    too_large: int
    size_too_large: int
    known: int | None
    size_known: int
    sample: tuple[StoredObject, ...]
    refused: AccessDenied | ListingIncomplete | None = None

    @property
    def readable(self) -> int:
        """How many objects a first pass reads."""
        return self.objects - self.too_large

    @property
    def size_readable(self) -> int:
        return self.size - self.size_too_large


class Stopped(Exception):
    """The stop event was set."""


def survey(
    listing: Iterable[StoredObject],
    *,
    sample: int,
    seed: int,
    max_bytes: int,
    stop: threading.Event,
    known: Callable[[list[StoredObject]], Container[str]] | None = None,
    show: Callable[[int], None] = lambda _: None,
) -> Survey:
    """Count a listing and draw ``sample`` objects of at most ``max_bytes`` from all of it, each with the same chance.

    Memory does not grow with the listing (reservoir sampling). The same listing and seed give the same sample.
    ``known`` returns the keys of a batch that need not be read again; ``show`` receives the count so far.

    :raises Stopped: ``stop`` was set.
    :raises StorageError: the listing failed.
    """
    draw = random.Random(seed)  # noqa: S311 - a sample, not a secret
    chosen: list[StoredObject] = []
    objects = size = too_large = size_too_large = found = size_known = 0
    refused: AccessDenied | ListingIncomplete | None = None

    def listed() -> Iterator[StoredObject]:
        nonlocal refused
        try:
            yield from (obj for obj in listing if not is_health_check(obj.key, obj.size))
        except (AccessDenied, ListingIncomplete) as error:  # raised by storages after everything else
            refused = error

    remaining = listed()
    while batch := list(islice(remaining, _BATCH)):
        if stop.is_set():
            raise Stopped
        readable = [obj for obj in batch if obj.size <= max_bytes]
        for obj in readable:
            number = objects - too_large + 1
            objects += 1
            if len(chosen) < sample:
                chosen.append(obj)
            elif (place := draw.randrange(number)) < sample:
                chosen[place] = obj
        objects += len(batch) - len(readable)
        too_large += len(batch) - len(readable)
        size += sum(obj.size for obj in batch)
        size_too_large += sum(obj.size for obj in batch) - sum(obj.size for obj in readable)
        if known is not None:
            keys = known(readable)
            found += sum(obj.key in keys for obj in readable)
            size_known += sum(obj.size for obj in readable if obj.key in keys)
        show(objects)
    draw.shuffle(chosen)
    return Survey(
        objects=objects,
        size=size,
        too_large=too_large,
        size_too_large=size_too_large,
        known=None if known is None else found,
        size_known=size_known,
        sample=tuple(chosen),
        refused=refused,
    )
