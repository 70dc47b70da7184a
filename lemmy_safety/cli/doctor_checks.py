"""What ``doctor`` checks. Each check stands for itself: a fault in one never keeps the others from being made."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from lemmy_safety import __version__
from lemmy_safety.cli.asking import asker
from lemmy_safety.cli.database import as_it_is, is_missing, shown_name
from lemmy_safety.cli.exposed_files import Changeable, Exposed, changeable, exposed, private_files, steering_files
from lemmy_safety.cli.service_checks import HOOK_CHECKS, WORKER_CHECKS, faults, key_of_workers
from lemmy_safety.cli.text import iso, plural
from lemmy_safety.errors import (
    ActionRefused,
    BreakerTripped,
    LedgerError,
    LedgerFull,
    LedgerReadOnly,
    LemmySafetyError,
    MissingExtra,
    ObjectsUnchecked,
    SettingsError,
    StorageError,
)
from lemmy_safety.packages import DECODING_PACKAGES, check_whole
from lemmy_safety.settings import OPTIONS, UnknownSetting, choose_storage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from lemmy_safety.cli.service_checks import ServiceCheck, Written
    from lemmy_safety.detectors.base import Detector
    from lemmy_safety.ledger import GarbledRequests, Ledger
    from lemmy_safety.settings import Reading, Settings

#: Below this much free space beside the database doctor complains: a row takes about half a KiB, so this is room for
#: some 400,000 objects more.
_LEAST_FREE_MB = 200

_DAY_S = 24 * 60 * 60

#: A pass carries out at once what is due, and the next one what was left: an hour is many passes of a daemon.
_OVERDUE = timedelta(hours=1)

#: The name of the check which storage the settings mean.
_CHOSEN = "chosen"

#: An object that could not be read in this many passes in a row needs a person; once or twice is an outage of a server.
_MANY_PASSES = 3

#: So many of them are named; 'lemmy-safety unreadable' lists all.
_NAMED_FAILING = 3

_HINT_STUCK = (
    "See why: lemmy-safety flagged. Give the account the right to delete, or end the object lock; then: "
    "lemmy-safety delete-flagged. To keep one: lemmy-safety review clear KEY"
)

#: Extras that are sums of others or for developers.
_NOT_FOR_USERS = {"all", "test", "dev"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at. ``ok`` is None where there was nothing to judge; ``exit_code`` counts only for faults."""

    area: str
    name: str
    ok: bool | None
    detail: str
    fix: str = ""
    exit_code: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return dataclasses.asdict(self)


def _fault(area: str, name: str, error: LemmySafetyError) -> Check:
    return Check(area=area, name=name, ok=False, detail=error.message, fix=error.hint, exit_code=error.exit_code)


def check_all(reading: Reading, *, env_file: Path, load: bool) -> Iterator[Check]:
    """Everything, in the order in which a person would fix it. ``load`` also loads the detectors' models."""
    yield Check(
        area="Program",
        name="version",
        ok=True,
        detail=f"lemmy-safety {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
    )
    yield from check_extras()
    yield from _check_libraries()
    settings = reading.settings
    yield from _permissions(settings)
    for line in "\n".join(reading.faults).splitlines():
        where = "" if line.startswith(f"{env_file}, line ") else " or the environment"
        yield _fault("Settings", "fault", SettingsError(line, hint=f"Correct it in {env_file}{where}."))
    if not reading.faults:
        yield Check(area="Settings", name="values", ok=True, detail="all names are known and all values allowed")
    yield _at_once(settings)
    yield from _check_hook(reading)
    yield from _check_worker(reading)
    yield from _unless_unknown("Storage", _check_chosen_storage(reading))
    yield from _unless_unknown("Database", check_database(_section_of(reading, "database_url")))
    yield from _unless_unknown("Detectors", check_detectors(_section_of(reading, "detectors"), load=load))


def _section_of(reading: Reading, option: str) -> Settings:
    return reading.strict(OPTIONS[option].section)


def _unless_unknown(area: str, checks: Iterator[Check]) -> Iterator[Check]:
    """The checks, until one needs a setting that has a fault: it would be about the wrong thing."""
    try:
        yield from checks
    except UnknownSetting as unknown:
        yield _not_checked(area, unknown)


def _not_checked(area: str, unknown: UnknownSetting) -> Check:
    return Check(area=area, name="not checked", ok=None, detail=f"first correct {unknown}")


def _check_hook(reading: Reading) -> Iterator[Check]:
    """Who may ask the hook, and which workers a relay believes; ``serve`` refuses to start with these faults."""
    settings = _section_of(reading, "hook_secret")
    found = list(_check_service("Upload hook", (*HOOK_CHECKS, key_of_workers), settings, reading.written))
    yield from found
    if not found and {"hook_secret", "hook_networks", "relay_apikey"} & reading.sources.keys():
        yield Check(area="Upload hook", name="access", ok=True, detail="only those may ask who are meant to")


def _check_worker(reading: Reading) -> Iterator[Check]:
    """``worker`` refuses to start with these faults. A machine that is not a worker has no such settings."""
    if "pictrs_safety_url" in reading.sources:
        settings = _section_of(reading, "pictrs_safety_url")
        found = list(_check_service("Worker", WORKER_CHECKS, settings, reading.written))
        yield from found or [Check(area="Worker", name="server", ok=True, detail="its address and a key are set")]


def _check_service(area: str, checks: Iterable[ServiceCheck], settings: Settings, written: Written) -> Iterator[Check]:
    unknown = None
    for check in checks:
        try:
            for error in faults((check,), settings, written):
                yield _fault(area, "access", error)
        except UnknownSetting as error:
            unknown = error
    if unknown:
        yield _not_checked(area, unknown)


def _check_chosen_storage(reading: Reading) -> Iterator[Check]:
    for check in check_storage(_section_of(reading, "storage")):
        # A line of .env that cannot be read may hold the storage that is missing here.
        is_missing = check.name == _CHOSEN and check.ok is False and check.exit_code == SettingsError.exit_code
        yield dataclasses.replace(check, ok=None, exit_code=0) if reading.faults and is_missing else check


def _check_libraries() -> Iterator[Check]:
    try:
        check_whole(*DECODING_PACKAGES, needed_for="Decoding")
    except MissingExtra as error:
        yield _fault("Program", "libraries", error)


def check_extras() -> Iterator[Check]:
    """Which optional parts are installed. None is a fault in itself: a detector that needs one says so."""
    wanted: dict[str, list[str]] = {}
    for requirement in importlib.metadata.requires("lemmy-safety") or ():
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
    """A warning for each file that is open to other accounts: it breaks nothing, so it is no fault."""
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy

    private = private_files(settings, wiring.database_file(settings))
    found: list[Exposed | Changeable] = [*exposed(private)]
    found += changeable(steering_files(settings), private=private)
    for each in found:
        yield Check(area="Settings", name="permissions", ok=None, detail=each.detail, fix=each.fix)


def _at_once(settings: Settings) -> Check:
    """What was chosen for this machine, or by the person, about how much is done at the same time."""
    from lemmy_safety import wiring  # noqa: PLC0415 - as below

    return Check(
        area="Settings",
        name="at once",
        ok=True,
        detail=(
            f"{plural(settings.threads, 'object')} fetched, {wiring.decode_workers(settings):,} decoded in processes "
            f"({plural(os.cpu_count() or 1, 'core')}), {settings.memory_mb:,.0f} MB of files and as much of pictures waiting"
        ),
    )


def check_storage(settings: Settings) -> Iterator[Check]:
    """Choose, connect, then the storage's own steps."""
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy

    area = "Storage"
    try:
        kind = choose_storage(settings)
        storage = wiring.build_storage(settings, ask_passphrase=asker())
    except LemmySafetyError as error:
        yield _fault(area, _CHOSEN, error)
        return
    yield Check(area=area, name=_CHOSEN, ok=True, detail=f"{kind}, {storage.name}")
    try:
        with storage:
            for step in storage.probe():
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
        yield _fault(area, "connect", error)


def check_database(settings: Settings) -> Iterator[Check]:
    """Schema, what it holds, whether it can be written, who can read it, and room to grow."""
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy
    from lemmy_safety.ledger import check_locks  # noqa: PLC0415 - SQLAlchemy is heavy

    area = "Database"
    name = shown_name(settings)
    database = wiring.database_file(settings)
    try:
        if settings.database_url is None and is_missing(wiring.database_path(settings)):
            _check_can_be_made(wiring.database_path(settings))
            check_locks(wiring.database_path(settings))
            yield Check(area=area, name="open", ok=True, detail=f"{name} is not there yet; the first pass makes it")
        else:
            with as_it_is(settings) as ledger:
                if database is not None:
                    check_locks(database)
                present, needed = ledger.schema_version()
                ledger.check_whole()
                if present == needed:
                    ledger.check_writable()
                    yield from _unchecked_uploads(ledger.uploads.count_unchecked())
                    yield from _stuck_actions(ledger, settings)
                    yield from _failing_objects(ledger)
                    garbled = ledger.garbled.get()
                    if settings.hook_secret and garbled is None and not ledger.uploads.has_any():
                        yield _never_asked()
                    yield from _garbled_requests(garbled)
            schema = f"at schema {present}" if present == needed else f"will be upgraded to schema {needed}"
            yield Check(area=area, name="open", ok=True, detail=f"{name}, {schema}")
    except LemmySafetyError as error:
        yield _fault(area, "open", error)
    if settings.database_url is None:
        yield from _check_space(settings)


def _unchecked_uploads(count: int) -> Iterator[Check]:
    if count:
        detail = f"{count:,} uploads were accepted without a verdict and are not judged yet"
        yield Check(area="Database", name="uploads", ok=None, detail=f"{detail}; run the daemon or --all")


def _never_asked() -> Check:
    # Where pict-rs cannot reach the hook every upload fails, and the hook sees nothing of it.
    return Check(
        area="Database",
        name="uploads",
        ok=None,
        detail="HOOK_SECRET is set, and pict-rs has not asked about any upload yet",
        fix=(
            "If uploads fail with 500 http-client-error, give pict-rs the hook's IP address instead of a host name "
            "(docs/upload-hook.md)."
        ),
    )


def _garbled_requests(known: GarbledRequests | None) -> Iterator[Check]:
    if known is None:
        return
    area, name = "Database", "requests at the upload hook"
    detail = (
        f"{plural(known.total, 'request')} since {iso(known.first_at)} that pict-rs cannot have made so, "
        f"{known.in_a_row:,} in a row, the last at {iso(known.last_at)} ({known.last_what})"
    )
    if not known.too_many:
        yield Check(area=area, name=name, ok=None, detail=detail)
        return
    yield Check(
        area=area,
        name=name,
        ok=False,
        detail=f"{detail}: uploads are not judged",
        fix=(
            "See what is between pict-rs and the hook, and whether this pict-rs is newer than this program "
            '("Garbled requests" in docs/upload-hook.md).'
        ),
        exit_code=SettingsError.exit_code,
    )


def _stuck_actions(ledger: Ledger, settings: Settings) -> Iterator[Check]:
    """Deletions that nobody would hear of otherwise: refused by the storage, refused again and again, or never done."""
    stuck = ledger.actions.stuck(due_before=datetime.now(UTC) - _OVERDUE)
    breaker = ledger.breaker.state()
    if breaker.is_tripped:
        message = f"The circuit breaker tripped at {iso(breaker.tripped_at)}: {breaker.reason}."
        yield _fault("Database", "circuit breaker", BreakerTripped(message))
    acts = settings.action == "delete" and not settings.dry_run and not breaker.is_tripped
    counted = [
        (stuck.failed, "refused by the storage"),
        (stuck.refused_again, "refused again and again as changed, though the bytes are the same"),
        (stuck.overdue if acts else 0, "due for more than an hour and not carried out"),
    ]
    detail = ", ".join(f"{number:,} {words}" for number, words in counted if number)
    if detail:
        yield _fault("Database", "actions", ActionRefused(f"Deletions: {detail}.", hint=_HINT_STUCK))


def _failing_objects(ledger: Ledger) -> Iterator[Check]:
    """What no pass can judge, however often it is tried: each pass but the first looks like the one before."""
    failing = ledger.objects.failing(_MANY_PASSES, most=_NAMED_FAILING)
    if failing.number:
        named = "; ".join(f"{one.key!r} in {one.passes:,} ({one.reason})" for one in failing.first)
        more = f"; and {failing.number - len(failing.first):,} more" if failing.number > len(failing.first) else ""
        detail = f"{plural(failing.number, 'object')} could not be checked in {_MANY_PASSES} or more passes in a row"
        yield _fault("Database", "objects", ObjectsUnchecked(f"{detail}: {named}{more}."))


def _check_can_be_made(file: Path) -> None:
    folder = file.absolute().parent
    if not folder.is_dir():
        raise LedgerError(
            f"The folder {folder} of the database does not exist.", hint="Make it, or set SQLITE_FILENAME."
        )
    if not os.access(folder, os.W_OK):
        raise LedgerReadOnly(f"The database cannot be made in {folder}: no permission.")


def _check_space(settings: Settings) -> Iterator[Check]:
    folder = settings.sqlite_filename.absolute().parent
    try:
        free_mb = shutil.disk_usage(folder).free // 1_000_000
    except OSError:
        return  # no such folder: the check before has said so
    detail = f"{free_mb:,} MB free in {folder}"
    if free_mb >= _LEAST_FREE_MB:
        yield Check(area="Database", name="disk space", ok=True, detail=detail)
    else:
        yield _fault("Database", "disk space", LedgerFull(f"Only {detail}."))


def check_detectors(settings: Settings, *, load: bool) -> Iterator[Check]:
    """Each chosen detector by itself, so that all that are missing something are named."""
    for name in settings.detectors:
        yield from _unless_unknown("Detectors", _check_detector(name, settings, load=load))


def _check_detector(name: str, settings: Settings, *, load: bool) -> Iterator[Check]:
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy

    try:
        for detector in wiring.build_detectors(settings, (name,)):
            if not load:
                detail = f"{detector.version}; model not loaded (--quick)"
                yield Check(area="Detectors", name=name, ok=True, detail=detail)
                continue
            found = [_fault("Detectors", name, error) for error in detector.faults()]
            yield from found
            if found:
                continue
            with detector:
                detail = f"{detector.version}; loaded{_where(detector)}"
                yield Check(area="Detectors", name=name, ok=True, detail=detail)
                yield from _speed(name, detector.try_speed())
    except LemmySafetyError as error:
        yield _fault("Detectors", name, error)


def _where(detector: Detector) -> str:
    screen = detector.screen_statistics
    screens = (
        ", then ".join(f"{stage.name} within {stage.error_bound:.4f}" for stage in screen.stages) if screen else ""
    )
    where = f" on {detector.device}" if detector.device else ""
    at_once = f", {detector.batch_size} at once" if detector.batch_size > 1 else ""
    return f"{where}{at_once}{f'; screened by {screens}' if screens else ''}"


def _speed(name: str, rates: Mapping[str, float]) -> Iterator[Check]:
    """For whoever asks how long a sweep will take."""
    if rates:
        fastest, *others = rates.items()
        confirming = "".join(f"; what it cannot clear, {model} at {rate:.3g}" for model, rate in others)
        per_day = f"at most {_two_digits(fastest[1] * _DAY_S):,} frames a day"
        detail = f"{fastest[1]:.3g} frames/s by {fastest[0]}{confirming}: {per_day}; a file has one frame or more"
        yield Check(area="Detectors", name=f"{name} speed", ok=True, detail=detail)


def _two_digits(number: float) -> int:
    return int(float(f"{number:.1e}"))
