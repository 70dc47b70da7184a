"""The only place that turns settings into objects; what it opens it closes in reverse.

Heavy rooms are imported where they are needed, so that ``--help`` and the commands that need no model stay quick.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lemmy_safety.errors import LemmySafetyError, SettingsError
from lemmy_safety.home import expanded, why_no_home
from lemmy_safety.packages import DECODING_PACKAGES, check_whole
from lemmy_safety.records import ActionPlan
from lemmy_safety.settings import check_complete, choose_storage, variable

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Iterator

    from lemmy_safety.actions import ActionRunner
    from lemmy_safety.detectors.base import Detector
    from lemmy_safety.ledger import Ledger
    from lemmy_safety.media import Decoder, MediaLimits
    from lemmy_safety.policy import Policy
    from lemmy_safety.scan import EngineLimits, ProgressListener, Scanner
    from lemmy_safety.scan.inspection import Inspector
    from lemmy_safety.settings import Settings
    from lemmy_safety.storage.base import Storage

    AskPassphrase = Callable[[str], str]

_MIB = 1024 * 1024

#: More processes than this decode faster than any graphics card judges, and each may fill its share of memory.
_MOST_DECODE_WORKERS = 8
#: Of the time that decoding may take: after the last look what was seen is rendered, cut and handed over.
_LOOKING_SHARE = 2 / 3


def build_storage(
    settings: Settings, *, kind: str | None = None, ask_passphrase: AskPassphrase | None = None
) -> Storage:
    """The storage that the settings mean, or that of this ``kind``, not yet connected.

    :raises SettingsError: none or several are filled in, something is missing, or has a form that cannot be used.
    """
    if kind is None:
        kind = choose_storage(settings)
    else:
        check_complete(settings, kind)
    if kind == "s3":
        from lemmy_safety.storage.s3 import S3Storage

        return S3Storage(
            endpoint=settings.s3_endpoint or "",
            bucket=settings.s3_bucket,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
            session_token=settings.s3_session_token,
            region=settings.s3_region,
            addressing=settings.s3_addressing,
            connections=settings.threads + 2,  # the lister and the recorder talk to it beside the fetchers
        )
    root = settings.files_directory or ""
    if kind == "ssh":
        from lemmy_safety.storage.ssh import SshStorage, read_ssh_config

        return SshStorage(
            host=settings.ssh_hostname or "",
            port=settings.ssh_port,
            username=settings.ssh_username,
            private_key=_at_home(settings.ssh_privkey, "SSH_PRIVKEY"),
            passphrase=settings.ssh_passphrase,
            known_hosts=_at_home(settings.ssh_known_hosts, "SSH_KNOWN_HOSTS"),
            config=read_ssh_config(_at_home(settings.ssh_config, "SSH_CONFIG"), variable),
            root=root,
            ask_passphrase=ask_passphrase,
        )
    from lemmy_safety.storage.local import LocalStorage

    return LocalStorage(expanded(Path(root), what="PICTRS_FILES_DIRECTORY"))


def cache_dir(settings: Settings) -> Path:
    """Where text features are kept: never an image.

    :raises SettingsError: there is no such setting, and this account has no home folder.
    """
    from platformdirs import user_cache_path

    if settings.cache_dir:
        return expanded(settings.cache_dir, what="CACHE_DIR")
    homeless = why_no_home()
    if homeless and os.name == "posix" and not variable("XDG_CACHE_HOME"):
        raise SettingsError(
            f"There is no folder for caches: {homeless}.",
            hint="Set CACHE_DIR, and HF_HOME for models that are fetched; or set HOME.",
        )
    return user_cache_path("lemmy-safety")


def _check_folder_of_models() -> None:
    """horde_safety makes it, and the model hub fills it: without a home, in the root or the working folder.

    :raises SettingsError: no variable names another, and this account has no home folder.
    """
    homeless = why_no_home()
    if homeless and not variable("HF_HOME"):
        raise SettingsError(f"There is no folder for models: {homeless}.", hint="Set HF_HOME; or set HOME.")


def _at_home(path: Path | None, what: str) -> Path | None:
    return None if path is None else expanded(path, what=what)


def build_detectors(
    settings: Settings, names: Collection[str] = (), *, lazy: bool = False, stop: threading.Event | None = None
) -> tuple[Detector, ...]:
    """The detectors that ``names`` or else the settings name, cheapest first, not yet opened.

    With ``lazy`` models are loaded with the first picture, and only looked for before. ``stop`` ends lengthy preparations.
    """
    made: list[Detector] = []
    names = names or settings.detectors
    if "hashes" in names:
        from lemmy_safety.detectors.hashes.detector import HashesDetector

        made.append(HashesDetector(_at_home(settings.hash_list, "HASH_LIST")))
    if "nudenet" in names:
        from lemmy_safety.detectors.nudenet import NudenetDetector

        made.append(NudenetDetector(min_score=settings.nudenet_min_score))
    if "clip" in names:
        from lemmy_safety.detectors.clip.detector import ClipDetector

        caches = cache_dir(settings)
        _check_folder_of_models()
        made.append(
            ClipDetector(
                model=settings.clip_model,
                weights=_at_home(settings.clip_weights, "CLIP_WEIGHTS"),
                device=settings.device,
                batch_size=settings.clip_batch,
                use_new_safety=settings.use_new_safety,
                cache_dir=caches,
                danbooru=settings.danbooru,
                danbooru_weights=_at_home(settings.danbooru_weights, "DANBOORU_WEIGHTS"),
                exact=settings.exact,
                screen=settings.clip_screen,
                lazy=lazy,
                stop=stop,
            )
        )
    return tuple(made)


def build_policy(settings: Settings) -> Policy:
    """What findings mean, as the settings say."""
    from lemmy_safety.policy import build_policy as build

    return build(nudenet_flags=settings.nudenet_flags, anomaly_flags=settings.anomaly_flags)


def decode_workers(settings: Settings) -> int:
    """How many objects are decoded at the same time."""
    return settings.decode_workers or min(os.cpu_count() or 1, _MOST_DECODE_WORKERS)


def max_bytes(settings: Settings) -> int:
    """Bytes of the largest object that is read."""
    return int(settings.max_mb * _MIB)


def media_limits(settings: Settings) -> MediaLimits:
    """What one medium may cost."""
    from lemmy_safety.media import MediaLimits as Limits

    return Limits(
        max_bytes=max_bytes(settings),
        max_pixels=int(settings.max_megapixels * 1_000_000),
        max_frames=settings.max_frames,
        look_s=min(settings.look_s, _LOOKING_SHARE * settings.decode_timeout_s),
        crop_ratio=settings.crop_ratio,
    )


def start_decoder(settings: Settings) -> Decoder:
    """Decoding in processes of their own; a context manager. They start meanwhile: models take longer to load."""
    check_whole(*DECODING_PACKAGES, needed_for="Decoding")
    from lemmy_safety.media.workers.pool import ProcessDecoder

    decoder = ProcessDecoder(
        media_limits(settings),
        workers=decode_workers(settings),
        timeout_s=settings.decode_timeout_s,
        memory_bytes=int(settings.decode_memory_mb * _MIB),
        quiet=not settings.debug,
    )
    decoder.start()
    return decoder


def database_path(settings: Settings) -> Path:
    """The file of SQLITE_FILENAME; whether it is used depends on DATABASE_URL.

    :raises SettingsError: it begins with ``~``, and this account has no home folder.
    """
    return expanded(settings.sqlite_filename, what="SQLITE_FILENAME")


def ledger_url(settings: Settings) -> str:
    """The database's SQLAlchemy URL; may hold a password."""
    from lemmy_safety.ledger import sqlite_url

    return settings.database_url or sqlite_url(database_path(settings))


def database_file(settings: Settings) -> Path | None:
    """The database's file; None for a server, and for a URL that is none: opening it says why."""
    from lemmy_safety.ledger.database.urls import parse_url, sqlite_file

    try:
        return sqlite_file(parse_url(ledger_url(settings)))
    except LemmySafetyError:
        return None


def open_ledger(settings: Settings) -> Ledger:
    """The ledger, its schema brought up to date; a context manager.

    :raises LedgerError: too new, locked, read-only, full, damaged, unreachable.
    """
    from lemmy_safety.ledger import open_ledger as open_it

    return open_it(ledger_url(settings))


def open_upload_ledger(settings: Settings) -> Ledger:
    """For ``serve`` and ``worker``: the ledger, which knows where the pict-rs that asks has its files, if the settings do.

    :raises LedgerError: as ``open_ledger``.
    """
    ledger = open_ledger(settings)
    ledger.uploads.stored_in = _storage_name(settings)
    return ledger


def _storage_name(settings: Settings) -> str:
    from lemmy_safety.ledger import UNSAID

    try:
        return build_storage(settings).name
    except LemmySafetyError:  # none, or one that cannot be used: neither is needed to judge uploads
        return UNSAID


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


@contextmanager
def open_scanner(
    settings: Settings,
    *,
    stop: threading.Event,
    listener: ProgressListener | None = None,
    ask_passphrase: AskPassphrase | None = None,
) -> Iterator[Scanner]:
    """For sweeps and the daemon: ledger and detectors opened; each pass opens the storage (again) by itself.

    The order matters: a faulty setting or database is said before gigabytes of weights are loaded.

    :raises LemmySafetyError: whatever keeps a pass from running with everything that was asked for.
    """
    from lemmy_safety.scan import Scanner, ScanOptions, ThreadsEngine
    from lemmy_safety.storage.names import typed_key

    storage = build_storage(settings, ask_passphrase=ask_passphrase)
    with ExitStack() as stack:
        ledger = stack.enter_context(open_ledger(settings))
        if settings.all:
            ledger.passes.see_that_no_sweep_runs(storage.name)
        stack.callback(storage.close)
        decoder = stack.enter_context(start_decoder(settings))
        # A daemon may rest for hours before it sees a picture.
        unopened = build_detectors(settings, lazy=not settings.all, stop=stop)
        detectors = [stack.enter_context(detector) for detector in unopened]
        yield Scanner(
            storage=storage,
            ledger=ledger,
            engine=ThreadsEngine(
                storage=storage,
                detectors=detectors,
                policy=build_policy(settings),
                decoder=decoder,
                limits=engine_limits(settings),
                skip_plain=settings.skip_plain,
            ),
            runner=build_runner(settings, storage, ledger),
            options=ScanOptions(
                dry_run=settings.dry_run, plan=build_action_plan(settings), prefix=typed_key(settings.prefix)
            ),
            stop=stop,
            listener=listener,
        )


@contextmanager
def open_inspector(settings: Settings) -> Iterator[Inspector]:
    """For media that come to us (hook, worker): the parts of a pass without a storage. Its detectors are not open yet."""
    from lemmy_safety.scan.inspection import Inspector as Inspection

    with start_decoder(settings) as decoder:
        yield Inspection(
            detectors=build_detectors(settings),
            policy=build_policy(settings),
            decoder=decoder,
            frame_bytes=memory_bytes(settings),
            skip_plain=settings.skip_plain,
        )


def engine_limits(settings: Settings) -> EngineLimits:
    """How much a pass does, and holds in memory, at a time."""
    from lemmy_safety.scan import EngineLimits

    return EngineLimits(
        threads=settings.threads,
        decode_workers=decode_workers(settings),
        max_bytes=max_bytes(settings),
        memory_bytes=memory_bytes(settings),
    )


def memory_bytes(settings: Settings) -> int:
    """Bytes of undecoded objects in memory at the same time; as many again of decoded ones."""
    return int(settings.memory_mb * _MIB)


def build_action_plan(settings: Settings) -> ActionPlan:
    """With ``--action report`` or in a dry run, unreadable objects are only reported too."""
    if settings.dry_run or settings.action == "report":
        return ActionPlan()
    unreadable = None if settings.skip_unreadable else _unless_report(settings.unreadable_action)
    return ActionPlan(flagged=settings.action, unreadable=unreadable)


def _unless_report(action: str) -> str | None:
    return None if action == "report" else action
