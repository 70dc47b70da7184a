"""``lemmy-safety estimate``: how long ``--all`` would take on this machine, before anything starts."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import click

from lemmy_safety.cli.input.asking import asker
from lemmy_safety.cli.input.database import is_missing, without_upgrade
from lemmy_safety.cli.input.invocation import current, settings_options
from lemmy_safety.cli.output.estimate import Report, as_json, show
from lemmy_safety.cli.output.logs import forbid_core_dumps, set_up_logging
from lemmy_safety.cli.output.next_steps import DOCTOR, DRY_RUN, show_next
from lemmy_safety.cli.output.status import Status
from lemmy_safety.cli.output.text import plural, write_json
from lemmy_safety.cli.process.starting import INTERRUPTED
from lemmy_safety.cli.process.stopping import StopSignals
from lemmy_safety.errors import LemmySafetyError, MissingExtra
from lemmy_safety.settings import choose_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from lemmy_safety.ledger import Ledger
    from lemmy_safety.records import Ruleset, StoredObject
    from lemmy_safety.scan.estimate import Estimate, Estimator, Survey
    from lemmy_safety.settings import Settings

    Known = Callable[[list[StoredObject]], Container[str]]

log = logging.getLogger(__name__)

#: What is measured besides the configured detectors, if it is installed. Cheapest first: the first one also pays for
#: what the storage's own caches do not hold yet.
_SETS = (("hashes",), ("hashes", "nudenet"), ("hashes", "clip"), ("hashes", "nudenet", "clip"))

#: Most seconds for each set. A slow model then checks fewer objects, and the range is wider.
_MOST_S = 120.0

#: On Windows Ctrl-C cannot interrupt an endless wait.
_WAKE_S = 0.1


@click.command(short_help="Measure how long --all would take, before it starts.")
@settings_options("detectors", "device", "prefix", "threads", "max_mbit")
@click.option(
    "--objects",
    type=click.IntRange(10, 10_000),
    default=200,
    show_default=True,
    metavar="N",
    help="How many objects, drawn at random from all of them, are checked for each set of detectors.",
)
@click.option("--json", "json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def estimate(ctx: click.Context, *, objects: int, json: bool) -> None:
    """Count what is stored, check a random sample of it, and say how many hours and bytes all of it would take.

    It does so for the configured detectors, and for smaller and larger sets of those that are installed, for at most
    two minutes each. Nothing is recorded or deleted, and no database is needed. Weights are not downloaded:
    'lemmy-safety doctor' does that.
    """
    invocation = current()
    settings = invocation.settings()
    set_up_logging(debug=settings.debug, redaction=invocation.redaction, quiet=json or None)
    if not settings.debug:
        # What is found is not recorded, so it is not reported either; what fails is counted.
        logging.getLogger("lemmy_safety.scan.stages").setLevel(logging.ERROR)
    forbid_core_dumps()
    choose_storage(settings)  # before the heavy imports
    with StopSignals() as signals:
        report = _in_a_thread(lambda: _estimated(settings, objects, signals.event), signals.event)
    if report is None:
        ctx.exit(INTERRUPTED)
    if json:
        write_json(as_json(report))
    else:
        show(report, settings)
        if report.configured not in report.faults and report.counted.refused is None:
            show_next([DOCTOR if report.database_fault or report.saw_no_picture else DRY_RUN])
    if (fault := report.faults.get(report.configured)) is not None:
        ctx.exit(fault.exit_code)
    if report.counted.refused is not None:
        raise report.counted.refused


def _in_a_thread(work: Callable[[], Report], stop: threading.Event) -> Report | None:
    """The result of ``work``; None as soon as ``stop`` is set, whatever is under way: nothing of it must be finished."""
    ended = threading.Event()
    results: list[Report] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread that waits
            errors.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, name="estimate", daemon=True).start()
    while not ended.wait(_WAKE_S):
        if stop.is_set():
            return None
    if stop.is_set():
        return None
    if errors:
        raise errors[0]
    return results[0]


def _estimated(settings: Settings, objects: int, stop: threading.Event) -> Report:
    from lemmy_safety import wiring  # noqa: PLC0415 - brings in the storage and detector libraries

    names = tuple(dict.fromkeys([*(name for one in _SETS for name in one), *settings.detectors]))
    with (
        Status() as status,
        wiring.open_estimator(settings, names, stop=stop, ask_passphrase=asker()) as estimator,
    ):
        began_s = time.monotonic()
        log.info("counting what is stored")
        with _known(settings, estimator) as (known, database_fault):
            status.show("Counting")
            counted = estimator.count(
                sample=objects, known=known, show=lambda number: status.show(f"Counting: {number:,} objects")
            )
        counting_s = time.monotonic() - began_s
        configured = _sorted(settings.detectors)
        estimates: list[Estimate] = []
        faults: dict[tuple[str, ...], LemmySafetyError] = {}
        if counted.sample:
            log.info("%s, starting detectors", plural(counted.objects, "object"))
            estimator.start(counted.sample, show=lambda name: status.show(f"Starting {name}"))
            for one in _sets(configured):
                fault = next((estimator.faults[name] for name in one if name in estimator.faults), None)
                if fault is None:
                    estimates.append(_measured(estimator, one, counted, status))
                elif one == configured or not isinstance(fault, MissingExtra):
                    faults[one] = fault
        return Report(
            storage=estimator.storage.name,
            counted=counted,
            counting_s=counting_s,
            start_up_s=estimator.start_up_s,
            configured=configured,
            estimates=tuple(estimates),
            faults=faults,
            database_fault=database_fault,
        )


def _measured(estimator: Estimator, names: tuple[str, ...], counted: Survey, status: Status) -> Estimate:
    def show(number: int) -> None:
        status.show(f"Measuring {', '.join(names)}: {number:,} of {len(counted.sample):,} objects")

    log.info("measuring %s", ", ".join(names))
    return estimator.measure(names, counted, most_s=_MOST_S, show=show)


def _sets(configured: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The configured set among the others, cheapest first."""
    sets = [_sorted(one) for one in _SETS]
    if configured not in sets:
        sets.append(configured)
    return sorted(sets, key=lambda one: ("clip" in one, "nudenet" in one, len(one)))


def _sorted(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


@contextmanager
def _known(settings: Settings, estimator: Estimator) -> Iterator[tuple[Known | None, LemmySafetyError | None]]:
    """What is known about objects, if there is a database of this version; and why that is not known. It is only read."""
    from lemmy_safety import wiring  # noqa: PLC0415 - as above

    with ExitStack() as stack:
        known: Known | None = None
        fault: LemmySafetyError | None = None
        try:
            if settings.database_url or not is_missing(wiring.database_path(settings)):
                ledger = stack.enter_context(without_upgrade(settings))
                present, needed = ledger.maintenance.schema_version()
                if present == needed:
                    ruleset = estimator.ruleset(settings.detectors)
                    known = partial(_judged, ledger, estimator.storage.name, ruleset)
        except LemmySafetyError as error:  # an estimate needs no database
            fault = error
        yield known, fault


def _judged(ledger: Ledger, storage: str, ruleset: Ruleset, batch: list[StoredObject]) -> set[str]:
    """The keys with a verdict, or final without one. Variants have none, and are counted by themselves."""
    from lemmy_safety.ledger import Known  # noqa: PLC0415 - as above

    known = ledger.objects.known(storage, batch, ruleset)
    return {key for key, state in known.items() if state is not Known.VARIANT}
