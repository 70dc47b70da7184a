"""Picks out variants, the other sizes of pictures: they follow the verdict on their original if that is clear.

Originals and variants are often new at once, in any order. A variant whose original is not judged yet waits until that
is done, at most until everything else is. Whether an original is judged clear is looked up in the ledger at that moment
and in each pass: what is flagged later, or no longer judged by the present rules, has no followers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from lemmy_safety.errors import StorageError, is_about_one_object
from lemmy_safety.pictrs.variants import Variant
from lemmy_safety.records import Assessment, ItemResult, ItemStatus

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from lemmy_safety.ledger import Ledger, OriginalOnRecord
    from lemmy_safety.records import Ruleset, StoredObject
    from lemmy_safety.scan.items import RecordChannel
    from lemmy_safety.scan.progress import PassCounter
    from lemmy_safety.storage.base import Storage

log = logging.getLogger(__name__)

#: Tells which of these keys are variants, and of what. Never raises: what is not known to be a variant is judged.
VariantsAmong: TypeAlias = Callable[[Sequence[str]], Mapping[str, Variant]]

#: Most variants that wait, about 25 MB. When there are more, the first ones are judged, as if they were originals.
_MOST_WAITING: Final = 50_000

#: Objects per look-up in the ledger.
_LOOKUP_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class _Follower:
    """``is_recorded``: an earlier pass recorded it as a variant, and it did not change since."""

    obj: StoredObject
    variant: Variant
    is_recorded: bool


class VariantSorter:
    """For one pass; used by its listing alone."""

    def __init__(
        self,
        variants_among: VariantsAmong,
        *,
        storage: Storage,
        ledger: Ledger,
        ruleset: Ruleset,
        run_id: int,
        counter: PassCounter,
        most_waiting: int = _MOST_WAITING,
    ) -> None:
        self._variants_among = variants_among
        self._storage = storage
        self._ledger = ledger
        self._ruleset = ruleset
        self._run_id = run_id
        self._counter = counter
        self._most_waiting = most_waiting
        self._waiting: dict[str, _Follower] = {}

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)

    def to_be_read(
        self, objects: Sequence[StoredObject], recorded: Container[str], to_record: RecordChannel
    ) -> list[StoredObject]:
        """What has to be read now, of objects without a valid verdict. The others follow their original, or wait.

        ``recorded`` has the keys that an earlier pass recorded as variants. The result may contain objects that waited.

        :raises StorageError: it is about more than one object.
        """
        variants = self._variants_among([obj.key for obj in objects])
        if not variants:
            return list(objects)
        judged_alone = self._ledger.variants.with_a_past(self._storage.name, list(variants))
        followers = [
            _Follower(obj, variants[obj.key], obj.key in recorded)
            for obj in objects
            if obj.key in variants and obj.key not in judged_alone
        ]
        following = {follower.obj.key for follower in followers}
        wanted = [obj for obj in objects if obj.key not in following]
        wanted += self._decide(followers, to_record, may_wait=True)
        while len(self._waiting) > self._most_waiting:
            wanted += self._decide(self._no_longer_waiting(), to_record, may_wait=False)
        return wanted

    def settled(self, to_record: RecordChannel) -> Iterator[StoredObject]:
        """What has to be read of those that waited, once everything else is recorded.

        :raises StorageError: it is about more than one object.
        """
        while self._waiting:
            yield from self._decide(self._no_longer_waiting(), to_record, may_wait=False)

    def _no_longer_waiting(self) -> list[_Follower]:
        """The first of those that wait."""
        return [self._waiting.pop(key) for key in list(islice(self._waiting, _LOOKUP_BATCH))]

    def _decide(
        self, followers: Sequence[_Follower], to_record: RecordChannel, *, may_wait: bool
    ) -> list[StoredObject]:
        """Returns what has to be read."""
        keys = sorted({follower.variant.original for follower in followers})
        originals = self._ledger.variants.originals(self._storage.name, keys, self._ruleset)
        wanted: list[StoredObject] = []
        for follower in followers:
            original = originals.get(follower.variant.original)
            if original is None and may_wait:
                self._waiting[follower.obj.key] = follower
            elif original is not None and self._may_follow(follower, original):
                self._follow(follower, to_record)
            else:
                wanted.append(follower.obj)
        return wanted

    def _may_follow(self, follower: _Follower, original: OriginalOnRecord) -> bool:
        if not original.is_enough or not follower.variant.shows_the_same(original.longer_side):
            return False
        # Read in this pass, or there when the variant was recorded.
        return original.run_id == self._run_id or follower.is_recorded or self._is_there(original.obj)

    def _is_there(self, original: StoredObject) -> bool:
        """Whether the original is still what was judged."""
        try:
            return self._storage.stat(original.key).same_content_as(original)
        except StorageError as error:
            if not is_about_one_object(error):
                raise
            log.info("its sizes are judged, because it cannot be read key=%r reason=%s", original.key, error.message)
            return False

    def _follow(self, follower: _Follower, to_record: RecordChannel) -> None:
        if follower.is_recorded:
            self._counter.add("variants")
            return
        original = follower.variant.original
        assessment = Assessment(status=ItemStatus.VARIANT, reason=f"variant of {original}")
        to_record.put_result(ItemResult(obj=follower.obj, assessment=assessment, variant_of=original))
