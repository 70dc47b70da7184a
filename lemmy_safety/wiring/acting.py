"""The actions on flagged objects, and their limits."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from lemmy_safety.records import ActionPlan
from lemmy_safety.wiring.ledger import open_ledger
from lemmy_safety.wiring.pictrs import build_pictrs_api, build_pictrs_repo
from lemmy_safety.wiring.storage import build_storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.actions import Action, ActionRunner
    from lemmy_safety.ledger import Ledger
    from lemmy_safety.settings import Settings
    from lemmy_safety.storage.base import Storage
    from lemmy_safety.wiring.storage import AskPassphrase


def build_runner(
    settings: Settings,
    storage: Storage,
    ledger: Ledger,
    stack: ExitStack,
    *,
    ask_passphrase: AskPassphrase | None = None,
) -> ActionRunner:
    """The runner with every action it may meet in an intent, behind the circuit breaker.

    Connections to pict-rs are closed with the stack.

    :raises SettingsError: what is set for pict-rs is incomplete or impossible.
    """
    from lemmy_safety.actions import ActionLimits, ActionRunner, CircuitBreaker

    limits = ActionLimits(
        first=settings.max_first_actions, per_day=settings.max_actions_per_day, share=settings.max_action_share
    )
    removal = _removal(settings, ledger, stack, ask_passphrase)
    return ActionRunner(
        storage=storage, ledger=ledger, actions={removal.name: removal}, guard=CircuitBreaker(ledger, limits)
    )


def _removal(settings: Settings, ledger: Ledger, stack: ExitStack, ask_passphrase: AskPassphrase | None) -> Action:
    """How flagged pictures are removed: through pict-rs if its address is set, else as files."""
    from lemmy_safety.actions import DeleteAction

    if not settings.pictrs_url:
        return DeleteAction()

    from lemmy_safety.actions.purge import PurgeAction
    from lemmy_safety.actions.purging import Purger
    from lemmy_safety.actions.whole_pictures import WholePictures
    from lemmy_safety.pictrs.pictures.belonging import check_belonging
    from lemmy_safety.pictrs.pictures.by_api import ApiFinder
    from lemmy_safety.pictrs.pictures.by_database import DatabaseFinder

    api = stack.enter_context(build_pictrs_api(settings, ask_passphrase=ask_passphrase))
    finder = (
        DatabaseFinder(stack.enter_context(build_pictrs_repo(settings, ask_passphrase=ask_passphrase)))
        if settings.pictrs_database_url
        else ApiFinder(api)
    )
    return PurgeAction(
        purger=Purger(api=api, ledger=ledger, max_aliases=settings.pictrs_max_aliases),
        pictures=WholePictures(finder=finder, ledger=ledger),
        ledger=ledger,
        check_belonging=partial(check_belonging, api),
    )


@contextmanager
def open_runner(settings: Settings, *, ask_passphrase: AskPassphrase | None = None) -> Iterator[ActionRunner]:
    """For ``delete-flagged``: ledger and storage opened, no detector, so that no object can be read or judged."""
    with (
        open_ledger(settings) as ledger,
        build_storage(settings, ask_passphrase=ask_passphrase) as storage,
        ExitStack() as stack,
    ):
        yield build_runner(settings, storage, ledger, stack, ask_passphrase=ask_passphrase)


def build_action_plan(settings: Settings) -> ActionPlan:
    """With ``--action report`` or in a dry run, unreadable objects are only reported too."""
    if settings.dry_run or settings.action == "report":
        return ActionPlan()
    unreadable = None if settings.skip_unreadable else _unless_report(settings.unreadable_action)
    return ActionPlan(flagged=settings.action, unreadable=unreadable)


def _unless_report(action: str) -> str | None:
    return None if action == "report" else action
