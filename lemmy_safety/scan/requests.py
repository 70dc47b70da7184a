"""What a pass is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from lemmy_safety.records import ActionPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOptions:
    """What does not change from pass to pass. A ``dry_run`` has the empty plan.

    :raises ValueError: a dry run has a plan with actions.
    """

    dry_run: bool
    plan: ActionPlan
    prefix: str = ""

    def __post_init__(self) -> None:
        if self.dry_run and self.plan:
            raise ValueError(f"a dry run acts on nothing, but its plan is {self.plan}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRequest:
    """``kind`` is ``SWEEP``, ``DAEMON`` or ``RECHECK`` of the ledger. ``since`` limits a pass to what was modified at or after
    that time; ``exhaustive`` lists every key for it.

    ``keys`` are judged again, and nothing else: even if unchanged, by the detectors themselves, and without any action.
    Such a pass is not exhaustive.

    With ``hold`` all wanted actions are recorded and none is carried out.
    """

    kind: str
    since: datetime | None = None
    exhaustive: bool = True
    keys: tuple[str, ...] | None = None
    hold: bool = False
