"""The actions on flagged objects, and their limits."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from lemmy_safety.errors import SettingsError
from lemmy_safety.records import ActionPlan
from lemmy_safety.wiring.ledger import open_ledger
from lemmy_safety.wiring.pictrs import build_pictrs_api, build_pictrs_repo
from lemmy_safety.wiring.storage import build_storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.actions import Action, ActionRunner, CircuitBreaker
    from lemmy_safety.actions.caches import Caches
    from lemmy_safety.actions.repair import Repairer
    from lemmy_safety.ledger import Ledger
    from lemmy_safety.removed_hook import RemovedHook
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
    from lemmy_safety.actions import ActionRunner

    removal = _removal(settings, storage, ledger, stack, ask_passphrase)
    return ActionRunner(
        storage=storage,
        ledger=ledger,
        actions={removal.name: removal},
        guard=_guard(settings, ledger),
        caches=_caches(settings, storage, ledger, stack),
    )


def build_removed_hook(settings: Settings) -> RemovedHook | None:
    """What is done for each removed name; None if nothing is set. To be closed.

    :raises SettingsError: REMOVED_HOOK is neither a URL nor a program, or the names are not known without PICTRS_URL.
    """
    from lemmy_safety.media.workers.environment import for_a_decoder
    from lemmy_safety.removed_hook import removed_hook

    if settings.removed_hook is None:
        return None
    hook = removed_hook(settings.removed_hook, for_a_decoder())
    if not settings.pictrs_url:
        raise SettingsError(
            "REMOVED_HOOK is set, and PICTRS_URL is not.",
            hint="Only pict-rs knows the names of a picture: set PICTRS_URL and PICTRS_API_KEY, or unset REMOVED_HOOK.",
        )
    return hook


def _caches(settings: Settings, storage: Storage, ledger: Ledger, stack: ExitStack) -> Caches | None:
    from lemmy_safety.actions.caches import Caches as News

    hook = build_removed_hook(settings)
    if hook is None:
        return None
    stack.callback(hook.close)
    return News(ledger=ledger, storage=storage.name, hook=hook)


def _guard(settings: Settings, ledger: Ledger) -> CircuitBreaker:
    from lemmy_safety.actions import ActionLimits
    from lemmy_safety.actions import CircuitBreaker as Breaker

    limits = ActionLimits(
        first=settings.max_first_actions, per_day=settings.max_actions_per_day, share=settings.max_action_share
    )
    return Breaker(ledger, limits)


def _removal(
    settings: Settings, storage: Storage, ledger: Ledger, stack: ExitStack, ask_passphrase: AskPassphrase | None
) -> Action:
    """How flagged pictures are removed: through pict-rs if its address is set, else as files."""
    from lemmy_safety.actions import DeleteAction

    if not settings.pictrs_url:
        return DeleteAction()

    from lemmy_safety.actions.purge import PurgeAction
    from lemmy_safety.actions.purging import Purger
    from lemmy_safety.actions.whole_pictures import WholePictures
    from lemmy_safety.pictrs.pictures.belonging import ensure_shown
    from lemmy_safety.pictrs.pictures.by_api import ApiFinder
    from lemmy_safety.pictrs.pictures.by_database import DatabaseFinder

    api = stack.enter_context(build_pictrs_api(settings, ask_passphrase=ask_passphrase))
    finder = (
        DatabaseFinder(stack.enter_context(build_pictrs_repo(settings, ask_passphrase=ask_passphrase)))
        if settings.pictrs_database_url
        else ApiFinder(api)
    )
    return PurgeAction(
        purger=Purger(api=api, finder=finder, ledger=ledger, max_aliases=settings.pictrs_max_aliases),
        pictures=WholePictures(finder=finder, ledger=ledger),
        ledger=ledger,
        check_belonging=lambda is_stored: ensure_shown(
            api,
            is_stored,
            known_gone=ledger.purges.deleted_files(storage.name),
            database=finder if isinstance(finder, DatabaseFinder) else None,
        ),
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


@contextmanager
def open_repairer(settings: Settings, *, ask_passphrase: AskPassphrase | None = None) -> Iterator[Repairer]:
    """For ``repair``: ledger, storage and pict-rs opened; nothing can be read or judged.

    :raises SettingsError: what is set for pict-rs is incomplete or impossible.
    """
    from lemmy_safety.actions.missing_originals import MissingOriginals
    from lemmy_safety.actions.purging import Purger
    from lemmy_safety.actions.repair import Repairer as Repairs
    from lemmy_safety.pictrs.pictures.belonging import check_belonging
    from lemmy_safety.pictrs.pictures.by_api import ApiFinder
    from lemmy_safety.pictrs.pictures.by_database import DatabaseFinder
    from lemmy_safety.pictrs.pictures.originals import all_by_api, all_by_database

    with ExitStack() as stack:
        api = stack.enter_context(build_pictrs_api(settings, ask_passphrase=ask_passphrase))
        repo = None
        if settings.pictrs_database_url:
            repo = stack.enter_context(build_pictrs_repo(settings, ask_passphrase=ask_passphrase))
        ledger = stack.enter_context(open_ledger(settings))
        storage = stack.enter_context(build_storage(settings, ask_passphrase=ask_passphrase))
        finder = ApiFinder(api) if repo is None else DatabaseFinder(repo)
        purger = Purger(api=api, finder=finder, ledger=ledger, max_aliases=settings.pictrs_max_aliases)
        missing = MissingOriginals(
            storage=storage,
            ledger=ledger,
            api=api,
            finder=finder,
            all_originals=partial(all_by_api, api) if repo is None else partial(all_by_database, repo),
            check_belonging=partial(check_belonging, api),
            purger=purger,
            knows_all_keys=repo is not None,
        )
        yield Repairs(
            storage=storage,
            ledger=ledger,
            purger=purger,
            guard=_guard(settings, ledger),
            missing=missing,
            caches=_caches(settings, storage, ledger, stack),
        )


def build_action_plan(settings: Settings) -> ActionPlan:
    """With ``--action report`` or in a dry run, unreadable objects are only reported too."""
    if settings.dry_run or settings.action == "report":
        return ActionPlan()
    unreadable = None if settings.skip_unreadable else _unless_report(settings.unreadable_action)
    return ActionPlan(flagged=settings.action, unreadable=unreadable)


def _unless_report(action: str) -> str | None:
    return None if action == "report" else action
