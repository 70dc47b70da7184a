"""Which of many objects are variants, for passes that judge a picture once: asked of pict-rs's database, in batches."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from lemmy_safety.errors import LemmySafetyError
from lemmy_safety.pictrs.repo.checks import check_tables
from lemmy_safety.pictrs.repo.lookups import variants_among
from lemmy_safety.pictrs.variants import Variant, exact_variant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lemmy_safety.pictrs.repo.database import Repo
    from lemmy_safety.pictrs.repo.lookups import VariantRow

log = logging.getLogger(__name__)

#: Seconds without a question after one that failed: a database that is down must not slow down a pass.
_REST_S: Final = 300.0


class VariantFinder:
    """Never raises for what is wrong with the database: then no object counts as a variant, and all are judged."""

    def __init__(self, repo: Repo, *, only_exact: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """``only_exact``: variants that might show something else than their original are left out."""
        self._repo = repo
        self._only_exact = only_exact
        self._clock = clock
        self._rests_until: float | None = None
        self._are_tables_known = False

    def __call__(self, keys: Sequence[str]) -> dict[str, Variant]:
        """The variants of still pictures among these keys; one question for all of them."""
        if not keys or (self._rests_until is not None and self._clock() < self._rests_until):
            return {}
        try:
            with self._repo.reading() as connection:
                if not self._are_tables_known:
                    check_tables(connection)
                rows = variants_among(connection, keys)
        except LemmySafetyError as error:  # also of the way through SSH
            self._rest(error.message)
            return {}
        except ValueError:
            self._rest("one of its hashes is damaged.")
            return {}
        self._are_tables_known = True
        if self._rests_until is not None:
            log.info("pict-rs's database answers again: sizes of pictures that are judged clear are skipped")
            self._rests_until = None
        found = {key: self._variant(several) for key, several in rows.items()}
        return {key: variant for key, variant in found.items() if variant is not None and variant.original != key}

    def _rest(self, reason: str) -> None:
        log.warning(
            "each size of a picture is judged for now, because pict-rs's database does not tell them: %s", reason
        )
        self._rests_until = self._clock() + _REST_S
        self._are_tables_known = False

    def _variant(self, rows: Sequence[VariantRow]) -> Variant | None:
        if len(rows) != 1 or not rows[0].hash.is_still:
            return None
        (row,) = rows
        if not self._only_exact:
            return Variant(original=row.original)
        return exact_variant(row.operation, original=row.original, original_format=row.hash.format)
