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
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence

    from lemmy_safety.records import StoredObject
    from lemmy_safety.scan.variants import VariantsAmong

#: Objects per look-up of what is known, as in a pass.
_BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """``objects`` of ``size`` bytes are listed, of which ``too_large`` of ``size_too_large`` exceed the limit and will
    not be read. ``variants`` of ``size_variants``, of the others, are other sizes of pictures, which are not read if the
    picture is judged clear. ``known`` of ``size_known``, of the rest, were judged before; None if that was not looked up.

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
    variants: int = 0
    size_variants: int = 0

    @property
    def readable(self) -> int:
        """How many objects a first pass reads."""
        return self.objects - self.too_large - self.variants

    @property
    def size_readable(self) -> int:
        return self.size - self.size_too_large - self.size_variants


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
    variants_among: VariantsAmong | None = None,
    show: Callable[[int], None] = lambda _: None,
) -> Survey:
    """Count a listing and draw ``sample`` objects that a first pass reads from all of it, each with the same chance.

    Memory does not grow with the listing (reservoir sampling). The same listing and seed give the same sample.
    Objects over ``max_bytes`` are not read, nor variants that follow any clear original. ``known`` returns the keys of a batch that need not be read again; ``show`` receives the count so far.

    :raises Stopped: ``stop`` was set.
    :raises StorageError: the listing failed.
    """
    draw = random.Random(seed)  # noqa: S311 - a sample, not a secret
    chosen: list[StoredObject] = []
    objects = size = too_large = size_too_large = variants = size_variants = drawn_from = found = size_known = 0
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
        following = _following(readable, variants_among)
        variants += len(following)
        size_variants += sum(obj.size for obj in readable if obj.key in following)
        read = [obj for obj in readable if obj.key not in following]
        for obj in read:
            drawn_from += 1
            if len(chosen) < sample:
                chosen.append(obj)
            elif (place := draw.randrange(drawn_from)) < sample:
                chosen[place] = obj
        objects += len(batch)
        too_large += len(batch) - len(readable)
        size += sum(obj.size for obj in batch)
        size_too_large += sum(obj.size for obj in batch) - sum(obj.size for obj in readable)
        if known is not None:
            keys = known(read)
            found += sum(obj.key in keys for obj in read)
            size_known += sum(obj.size for obj in read if obj.key in keys)
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
        variants=variants,
        size_variants=size_variants,
    )


def _following(objects: Sequence[StoredObject], variants_among: VariantsAmong | None) -> set[str]:
    """The variants that follow an original of any size, if it is judged clear."""
    if variants_among is None:
        return set()
    found = variants_among([obj.key for obj in objects])
    return {key for key, variant in found.items() if variant.fits_in is None}
