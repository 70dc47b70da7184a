"""What a pass is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from lemmy_safety.pauses import Pauses

if TYPE_CHECKING:
    from datetime import datetime

    from lemmy_safety.records import ActionPlan


class InPause(Enum):
    """What a pass does in the hours in which long work pauses."""

    GO_ON = "go on"
    WAIT = "wait"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOptions:
    """What does not change from pass to pass. A ``dry_run`` has the empty plan. ``pauses`` apply to passes that observe them.

    :raises ValueError: a dry run has a plan with actions.
    """

    dry_run: bool
    plan: ActionPlan
    prefix: str = ""
    pauses: Pauses = Pauses()

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

    ``in_pause``: a pass that waits keeps its lease and continues after the pause. One that ends is not complete.
    """

    kind: str
    since: datetime | None = None
    exhaustive: bool = True
    keys: tuple[str, ...] | None = None
    hold: bool = False
    in_pause: InPause = InPause.GO_ON
