"""The actions on flagged objects, and their limits."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lemmy_safety.records import ActionPlan
from lemmy_safety.wiring.ledger import open_ledger
from lemmy_safety.wiring.storage import build_storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.actions import ActionRunner
    from lemmy_safety.ledger import Ledger
    from lemmy_safety.settings import Settings
    from lemmy_safety.storage.base import Storage
    from lemmy_safety.wiring.storage import AskPassphrase


def build_runner(settings: Settings, storage: Storage, ledger: Ledger) -> ActionRunner:
    """The runner with every action it may meet in an intent, behind the circuit breaker."""
    from lemmy_safety.actions import ActionLimits, ActionRunner, CircuitBreaker, DeleteAction

    limits = ActionLimits(
        first=settings.max_first_actions, per_day=settings.max_actions_per_day, share=settings.max_action_share
    )
    actions = {DeleteAction.name: DeleteAction()}
    return ActionRunner(storage=storage, ledger=ledger, actions=actions, guard=CircuitBreaker(ledger, limits))


@contextmanager
def open_runner(settings: Settings, *, ask_passphrase: AskPassphrase | None = None) -> Iterator[ActionRunner]:
    """For ``delete-flagged``: ledger and storage opened, no detector, so that no object can be read or judged."""
    with open_ledger(settings) as ledger, build_storage(settings, ask_passphrase=ask_passphrase) as storage:
        yield build_runner(settings, storage, ledger)


def build_action_plan(settings: Settings) -> ActionPlan:
    """With ``--action report`` or in a dry run, unreadable objects are only reported too."""
    if settings.dry_run or settings.action == "report":
        return ActionPlan()
    unreadable = None if settings.skip_unreadable else _unless_report(settings.unreadable_action)
    return ActionPlan(flagged=settings.action, unreadable=unreadable)


def _unless_report(action: str) -> str | None:
    return None if action == "report" else action
