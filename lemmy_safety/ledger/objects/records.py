"""What the ledger reports about objects, other than verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class FailingObject(NamedTuple):
    """An object that could not be read or judged in the last ``passes`` passes, and the latest reason."""

    key: str
    reason: str
    passes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingObjects:
    """How many objects fail pass after pass, and the first of them."""

    number: int
    first: tuple[FailingObject, ...]
