"""The result of one check of ``doctor``: good, an error, or a remark."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lemmy_safety.shortages import shortage

if TYPE_CHECKING:
    from lemmy_safety.errors import LemmySafetyError


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check. ``ok`` is None if there was nothing to judge; ``exit_code`` counts only for errors."""

    area: str
    name: str
    ok: bool | None
    detail: str
    fix: str = ""
    exit_code: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return dataclasses.asdict(self)


def fault(area: str, name: str, error: LemmySafetyError) -> Check:
    """The error as a failed check. If a resource ran out, the fix is about that."""
    short = shortage(error)
    fix = f"{short[0]}. {short[1]}" if short else error.hint
    return Check(area=area, name=name, ok=False, detail=error.message, fix=fix, exit_code=error.exit_code)
