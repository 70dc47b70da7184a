"""What ``doctor`` checks. The checks are independent: an error in one never prevents the others."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lemmy_safety import __version__
from lemmy_safety.cli.checks.check import Check, fault
from lemmy_safety.cli.checks.database import check_database
from lemmy_safety.cli.checks.exposed_files import (
    Changeable,
    Exposed,
    changeable,
    exposed,
    private_files,
    steering_files,
)
from lemmy_safety.cli.checks.libraries import library_faults
from lemmy_safety.cli.checks.pictrs import check_pictrs
from lemmy_safety.cli.checks.process_limits import too_few_files, too_few_threads
from lemmy_safety.cli.checks.services import HOOK_CHECKS, WORKER_CHECKS, faults, key_of_workers
from lemmy_safety.cli.input.asking import asker
from lemmy_safety.cli.output.failures import understood
from lemmy_safety.cli.output.text import plural
from lemmy_safety.errors import (
    LemmySafetyError,
    MissingExtra,
    SettingsError,
    StorageError,
    WorkerDied,
)
from lemmy_safety.installing import how_to_install_again
from lemmy_safety.packages import imported
from lemmy_safety.settings import OPTIONS, UnknownSetting, choose_storage, filled_storages
from lemmy_safety.shortages import shortage
from lemmy_safety.storage.probing import probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from lemmy_safety.cli.checks.process_limits import TooLow
    from lemmy_safety.cli.checks.services import ServiceCheck, Written
    from lemmy_safety.detectors.base import Detector
    from lemmy_safety.settings import Reading, Settings

_DAY_S = 24 * 60 * 60

#: The name of the check which storage the settings choose.
_CHOSEN = "chosen"

_FIRST_CORRECT = "First correct the settings above."

#: Extras that combine others or are for developers.
_NOT_FOR_USERS = {"all", "test", "release", "dev"}


def check_all(reading: Reading, *, env_file: Path, load: bool) -> Iterator[Check]:
    """All checks, in the order in which you would fix them. ``load`` also loads the detectors' models."""
    told: set[str] = set()
    for check in _all(reading, env_file=env_file, load=load):
        if check.ok is False and check.exit_code == MissingExtra.exit_code and check.fix in told:
            # One damaged package is one error, however many checks it stops.
            yield dataclasses.replace(check, ok=None, fix="", exit_code=0)
            continue
        told.add(check.fix)
        yield check


def _all(reading: Reading, *, env_file: Path, load: bool) -> Iterator[Check]:
    yield Check(
        area="Program",
        name="version",
        ok=True,
        detail=f"lemmy-safety {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
    )
    yield from check_extras()
    fatal = ""
    for found in library_faults():
        fatal = fatal or found.ends_a_process
        yield Check(
            area="Program",
            name="libraries",
            ok=False,
            detail=found.message,
            fix=found.hint,
            exit_code=MissingExtra.exit_code,
        )
    settings = reading.settings
    for line in "\n".join(reading.faults).splitlines():
        where = "" if line.startswith(f"{env_file}, line ") else " or the environment"
        yield fault("Settings", "values", SettingsError(line, hint=f"Correct it in {env_file}{where}."))
    if not reading.faults:
        yield Check(area="Settings", name="values", ok=True, detail="all names are known and all values allowed")
    if fatal:
        for area in ("Upload hook", "Worker", "Storage", "pict-rs", "Database", "Detectors"):
            yield Check(area=area, name="not checked", ok=None, detail=f"first install {fatal} again")
        return
    yield from _unless_damaged("Settings", _permissions(settings))
    yield from _unless_damaged("Settings", _at_once(settings))
    yield from _unless_damaged("Settings", _pauses(settings))
    yield from _unless_damaged("Limits", _limit(settings, too_few_files))
    yield from _unless_damaged("Upload hook", _check_hook(reading))
    yield from _unless_damaged("Worker", _check_worker(reading))
    for area, checks in (
        ("Storage", _check_chosen_storage(reading)),
        ("pict-rs", _check_pictrs(reading)),
        ("Database", check_database(_section_of(reading, "database_url"))),
        ("Detectors", check_detectors(_section_of(reading, "detectors"), load=load)),
    ):
        yield from _unless_damaged(area, _unless_unknown(area, checks))
    yield from _unless_damaged("Limits", _limit(settings, too_few_threads))  # with everything loaded


def _unless_damaged(area: str, checks: Iterator[Check]) -> Iterator[Check]:
    """The checks; ends with a failed check instead of an exception if a package is missing or damaged, or memory, files
    or threads ran out.
    """
    try:
        yield from checks
    except Exception as error:
        if short := shortage(error):
            code = WorkerDied.exit_code
            yield Check(area=area, name="not checked", ok=False, detail=f"{short[0]}.", fix=short[1], exit_code=code)
            return
        reason = understood(error)
        if not isinstance(reason, MissingExtra):
            raise
        yield fault(area, "libraries", reason)


def _section_of(reading: Reading, option: str) -> Settings:
    return reading.strict(OPTIONS[option].section)


def _unless_unknown(area: str, checks: Iterator[Check]) -> Iterator[Check]:
    """The checks, until one needs an invalid setting: it would check the wrong thing."""
    try:
        yield from checks
    except UnknownSetting as unknown:
        yield _not_checked(area, unknown)


def _not_checked(area: str, unknown: UnknownSetting) -> Check:
    return Check(area=area, name="not checked", ok=None, detail=f"first correct {unknown}")


def _check_hook(reading: Reading) -> Iterator[Check]:
    """Who may call the hook, and which workers a relay trusts; ``serve`` refuses to start with these errors."""
    settings = _section_of(reading, "hook_secret")
    found = list(_check_service("Upload hook", (*HOOK_CHECKS, key_of_workers), settings, reading.written))
    yield from found
    if not found and {"hook_secret", "hook_networks", "relay_apikey"} & reading.sources.keys():
        yield Check(area="Upload hook", name="access", ok=True, detail="only those may ask who are meant to")


def _check_pictrs(reading: Reading) -> Iterator[Check]:
    hook_in_use = bool({"hook_secret", "hook_networks"} & reading.sources.keys())
    return check_pictrs(_section_of(reading, "pictrs_url"), hook_in_use=hook_in_use)


def _check_worker(reading: Reading) -> Iterator[Check]:
    """``worker`` refuses to start with these errors. A machine that is not a worker has no such settings."""
    if "pictrs_safety_url" in reading.sources:
        settings = _section_of(reading, "pictrs_safety_url")
        found = list(_check_service("Worker", WORKER_CHECKS, settings, reading.written))
        yield from found or [Check(area="Worker", name="server", ok=True, detail="its address and a key are set")]


def _check_service(area: str, checks: Iterable[ServiceCheck], settings: Settings, written: Written) -> Iterator[Check]:
    unknown = None
    for check in checks:
        try:
            for error in faults((check,), settings, written):
                yield fault(area, "access", error)
        except UnknownSetting as error:
            unknown = error
    if unknown:
        yield _not_checked(area, unknown)


def _check_chosen_storage(reading: Reading) -> Iterator[Check]:
    for check in check_storage(_section_of(reading, "storage")):
        # The storage or SSH user that is missing here may be in an unreadable line of .env.
        is_missing = check.name in {_CHOSEN, "ssh"} and check.ok is False and check.exit_code == SettingsError.exit_code
        is_hidden = reading.faults and is_missing
        yield dataclasses.replace(check, ok=None, fix=_FIRST_CORRECT, exit_code=0) if is_hidden else check


def check_extras() -> Iterator[Check]:
    """Which optional parts are installed. A missing one is not an error: a detector that needs it reports that."""
    wanted: dict[str, list[str]] = {}
    try:
        requirements = importlib.metadata.requires("lemmy-safety") or ()
    except importlib.metadata.PackageNotFoundError:
        detail = "not known: there is no record of how lemmy-safety was installed"
        yield Check(area="Program", name="extras", ok=None, detail=detail, fix=how_to_install_again("lemmy-safety"))
        return
    for requirement in requirements:
        match = re.match(r"([\w.-]+).*extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        if match and match[2] not in _NOT_FOR_USERS and match[1].lower() != "lemmy-safety":
            wanted.setdefault(match[2], []).append(match[1])
    for extra, packages in sorted(wanted.items()):
        missing = [name for name in packages if not _installed(name)]
        detail = f"not installed: {', '.join(missing)}" if missing else "installed"
        yield Check(area="Program", name=f"extra {extra}", ok=None if missing else True, detail=detail)


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _permissions(settings: Settings) -> Iterator[Check]:
    """A warning for each file that is open to other accounts: it breaks nothing, so it is not an error."""
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy

    private = private_files(settings, wiring.database_file(settings))
    found: list[Exposed | Changeable] = [*exposed(private)]
    found += changeable(steering_files(settings), private=private)
    for each in found:
        yield Check(area="Settings", name="permissions", ok=None, detail=each.detail, fix=each.fix)


def _limit(settings: Settings, too_low: Callable[..., TooLow | None]) -> Iterator[Check]:
    """If a limit of this process is too low, a pass fails in various ways, or leaves objects to the next one."""
    from lemmy_safety import wiring  # noqa: PLC0415 - as below

    limit = too_low(threads=settings.threads, decoders=wiring.decode_workers(settings))
    if limit is not None:
        code = WorkerDied.exit_code
        yield Check(area="Limits", name=limit.name, ok=False, detail=limit.detail, fix=limit.fix, exit_code=code)


def _at_once(settings: Settings) -> Iterator[Check]:
    """How much is done at the same time, as chosen for this machine or by the admin."""
    from lemmy_safety import wiring  # noqa: PLC0415 - as below

    yield Check(
        area="Settings",
        name="at once",
        ok=True,
        detail=(
            f"{plural(settings.threads, 'object')} fetched, {wiring.decode_workers(settings):,} decoded in processes "
            f"({plural(os.cpu_count() or 1, 'core')}), {settings.memory_mb:,.0f} MB of files and as much of pictures waiting"
        ),
    )


def _pauses(settings: Settings) -> Iterator[Check]:
    """The time that it is here, too: in a container or with another TZ it may not be the admin's."""
    from lemmy_safety import wiring  # noqa: PLC0415 - as below

    if not settings.pause:
        return
    try:
        pauses = wiring.build_pauses(settings)
    except SettingsError as error:
        yield fault("Settings", "pauses", error)
        return
    here = datetime.now(UTC).astimezone(pauses.zone)
    until = pauses.until(here)
    now = "no pause lasts" if until is None else f"paused until {until:%H:%M}"
    detail = f"{', '.join(settings.pause)}; it is {here:%H:%M} here ({now})"
    yield Check(area="Settings", name="pauses", ok=True, detail=detail)


def check_storage(settings: Settings) -> Iterator[Check]:
    """Choose the storage, connect, then run its own checks."""
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy

    area = "Storage"
    try:
        kind = choose_storage(settings)
    except LemmySafetyError as error:
        yield fault(area, _CHOSEN, error)
        for each in filled_storages(settings):
            try:
                wiring.build_storage(settings, kind=each)
            except LemmySafetyError as wrong:
                if str(wrong) != str(error):
                    yield fault(area, each, wrong)
        return
    try:
        storage = wiring.build_storage(settings, ask_passphrase=asker())
    except LemmySafetyError as error:
        yield fault(area, kind, error)
        return
    yield Check(area=area, name=_CHOSEN, ok=True, detail=f"{kind}, {storage.name}")
    try:
        with storage:
            for step in probe(storage):
                yield Check(
                    area=area,
                    name=step.name,
                    ok=step.ok,
                    detail=step.detail,
                    fix=step.fix,
                    exit_code=0 if step.ok else StorageError.exit_code,
                )
            for note in storage.learned.notes:
                yield Check(area=area, name="server", ok=None, detail=note)
    except LemmySafetyError as error:
        yield fault(area, "connect", error)


def check_detectors(settings: Settings, *, load: bool) -> Iterator[Check]:
    """Each chosen detector separately, so that all incomplete ones are reported."""
    for name in settings.detectors:
        yield from _unless_unknown("Detectors", _check_detector(name, settings, load=load))


def _check_detector(name: str, settings: Settings, *, load: bool) -> Iterator[Check]:
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy

    try:
        for detector in wiring.build_detectors(settings, (name,)):
            if not load:
                with imported(*detector.packages, extra=name, needed_for=f"The {name} detector"):
                    pass  # no imports: torch alone takes seconds
                detail = f"{detector.version}; model not loaded (--quick)"
                yield Check(area="Detectors", name=name, ok=True, detail=detail)
                continue
            found = [fault("Detectors", name, error) for error in detector.faults()]
            yield from found
            if found:
                continue
            with detector:
                detail = f"{detector.version}; loaded{_where(detector)}"
                yield Check(area="Detectors", name=name, ok=True, detail=detail)
                yield from _speed(name, detector.try_speed())
    except LemmySafetyError as error:
        yield fault("Detectors", name, error)


def _where(detector: Detector) -> str:
    report = detector.report()
    screens = (
        ", then ".join(f"{stage.name} within {stage.error_bound:.4f}" for stage in report.screen.stages)
        if report.screen
        else ""
    )
    where = f" on {report.device}" if report.device else ""
    at_once = f", {detector.batch_size} at once" if detector.batch_size > 1 else ""
    return f"{where}{at_once}{f'; screened by {screens}' if screens else ''}"


def _speed(name: str, rates: Mapping[str, float]) -> Iterator[Check]:
    """Shows how long a sweep will take."""
    if rates:
        fastest, *others = rates.items()
        confirming = "".join(f"; what it cannot clear, {model} at {rate:.3g}" for model, rate in others)
        per_day = f"at most {_two_digits(fastest[1] * _DAY_S):,} frames a day"
        detail = f"{fastest[1]:.3g} frames/s by {fastest[0]}{confirming}: {per_day}; a file has one frame or more"
        yield Check(area="Detectors", name=f"{name} speed", ok=True, detail=detail)


def _two_digits(number: float) -> int:
    return int(float(f"{number:.1e}"))
