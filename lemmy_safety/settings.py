"""Every option in one table, read once from flags, environment and ``.env`` into one frozen object.

``Settings`` is that table: each field carries its names, range, help and secrecy. Flags, ``env_example``, ``--help``
and ``docs/options.md`` are made from it or tested against it. Only this module reads the environment; rooms receive
values from ``wiring.py``, never these settings.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dotenv import dotenv_values

from lemmy_safety.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

ENV_PREFIX = "LEMMY_SAFETY_"

STORAGE = "Storage: one of S3, SSH or a local folder"
RUN = "What a run does"
DETECTORS = "Detectors"
LIMITS = "Limits"
LEDGER = "Database and caches"
BRIDGE = "pictrs-safety bridge (accepted for drop-in use; used by a later version)"

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What is known of one setting apart from its value. ``env`` lists its names, the preferred one first."""

    name: str
    kind: type
    default: Any
    help: str
    section: str
    env: tuple[str, ...]
    flag: bool = False
    short: str | None = None
    secret: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    example: str = ""

    @property
    def allowed(self) -> str:
        """The allowed values in words, for messages and docs."""
        if self.choices:
            return ", ".join(self.choices)
        if self.kind is bool:
            return "true or false"
        if self.minimum is not None and self.maximum is not None:
            return f"{self.minimum:g} to {self.maximum:g}"
        return ""

    def parse(self, raw: object, source: str) -> Any:
        """Turn a text into the option's type.

        :raises SettingsError: naming the source, the value (unless secret) and what is allowed.
        """
        shown = "(hidden)" if self.secret else repr(raw)
        complaint = SettingsError(
            f"{source}: {shown} is not valid.", hint=f"Allowed: {self.allowed or self.kind.__name__}."
        )
        text = str(raw).strip()
        if self.kind is bool:
            if text.lower() not in _TRUE | _FALSE:
                raise complaint
            return text.lower() in _TRUE
        if self.kind is tuple:
            items = tuple(part.strip() for part in text.split(",") if part.strip())
            unknown = [item for item in items if self.choices and item not in self.choices]
            if unknown or not items:
                raise complaint
            return items
        try:
            value: Any = Path(text).expanduser() if self.kind is Path else self.kind(text)
        except ValueError:
            raise complaint from None
        if self.choices and value not in self.choices:
            raise complaint
        # "not (low <= value <= high)" rather than two comparisons, so that NaN is refused too.
        low = -float("inf") if self.minimum is None else self.minimum
        high = float("inf") if self.maximum is None else self.maximum
        if self.kind in (int, float) and not low <= value <= high:
            raise complaint
        return value


def option(
    default: Any,
    help: str,  # noqa: A002
    *,
    kind: type,
    section: str,
    env: tuple[str, ...] = (),
    **more: Any,
) -> Any:
    """A settings field. ``env`` are names besides ``LEMMY_SAFETY_<NAME>``, which always works."""
    meta = {"kind": kind, "help": help, "section": section, "env": env, "default": default, **more}
    return field(default=default, repr=not more.get("secret", False), metadata={"option": meta})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one run, validated one by one; combinations are judged where they are used."""

    storage: str | None = option(
        None,
        "Which storage to use; needed only when more than one is filled in.",
        kind=str,
        section=STORAGE,
        choices=("s3", "ssh", "local"),
        flag=True,
    )
    s3_endpoint: str | None = option(
        None,
        "S3: URL of the object storage.",
        kind=str,
        section=STORAGE,
        env=("OBJECT_STORAGE_ENDPOINT",),
        example="https://eu2.example.com",
    )
    s3_bucket: str = option(
        "pictrs", "S3: bucket that pict-rs writes to.", kind=str, section=STORAGE, env=("PICTRS_BUCKET",)
    )
    s3_access_key: str | None = option(
        None, "S3: access key.", kind=str, section=STORAGE, env=("AWS_ACCESS_KEY_ID",), secret=True, example="accesskey"
    )
    s3_secret_key: str | None = option(
        None,
        "S3: secret key.",
        kind=str,
        section=STORAGE,
        env=("AWS_SECRET_ACCESS_KEY",),
        secret=True,
        example="secretkey",
    )
    s3_session_token: str | None = option(
        None,
        "S3: session token, where temporary credentials are used.",
        kind=str,
        section=STORAGE,
        env=("AWS_SESSION_TOKEN",),
        secret=True,
    )
    s3_region: str = option(
        "auto", "S3: region; auto asks the server.", kind=str, section=STORAGE, env=("AWS_DEFAULT_REGION",)
    )
    s3_addressing: str = option(
        "path", "S3: how the bucket is named in URLs.", kind=str, section=STORAGE, choices=("path", "virtual", "auto")
    )
    ssh_hostname: str | None = option(
        None,
        "SSH: host that holds the pict-rs files.",
        kind=str,
        section=STORAGE,
        env=("SSH_HOSTNAME",),
        example="lemmy.example.com",
    )
    ssh_port: int = option(22, "SSH: port.", kind=int, section=STORAGE, env=("SSH_PORT",), minimum=1, maximum=65535)
    ssh_username: str | None = option(
        None,
        "SSH: user who may read and delete the pict-rs files.",
        kind=str,
        section=STORAGE,
        env=("SSH_USERNAME",),
        example="pictrs",
    )
    ssh_privkey: Path | None = option(
        None,
        "SSH: private key file; without it the SSH agent is asked.",
        kind=Path,
        section=STORAGE,
        env=("SSH_PRIVKEY",),
        example="~/.ssh/id_ed25519",
    )
    ssh_passphrase: str | None = option(
        None,
        "SSH: passphrase of the private key; asked for on a terminal when it is needed and not set.",
        kind=str,
        section=STORAGE,
        env=("SSH_PASSPHRASE",),
        secret=True,
    )
    ssh_known_hosts: Path = option(
        Path("~/.ssh/known_hosts"),
        "SSH: file with the host keys that are trusted.",
        kind=Path,
        section=STORAGE,
        env=("SSH_KNOWN_HOSTS",),
    )
    files_directory: str | None = option(
        None,
        "SSH and local: the pict-rs files folder.",
        kind=str,
        section=STORAGE,
        env=("PICTRS_FILES_DIRECTORY", "SSH_PICTRS_FILES_DIRECTORY"),
        example="/lemmy/lemmy.example.com/volumes/pictrs/files",
    )
    prefix: str = option("", "Only objects whose key starts with this.", kind=str, section=STORAGE, flag=True)

    all: bool = option(
        False,
        "Check everything in the storage once, then exit. Without it: run as a daemon.",
        kind=bool,
        section=RUN,
        flag=True,
    )
    minutes: int = option(
        20,
        "Daemon: check what was uploaded in the last N minutes, each time.",
        kind=int,
        section=RUN,
        flag=True,
        short="-m",
        minimum=1,
        maximum=525_600,
    )
    interval_s: float = option(
        30.0,
        "Daemon: seconds of rest between the end of one pass and the start of the next.",
        kind=float,
        section=RUN,
        minimum=0.1,
        maximum=86_400,
    )
    full_listing_hours: float = option(
        24.0,
        "Daemon: hours between passes that list every key, also those outside pict-rs's time-ordered scheme.",
        kind=float,
        section=RUN,
        minimum=0.01,
        maximum=8760,
    )
    dry_run: bool = option(
        False, "Record what would be done and do nothing to the storage.", kind=bool, section=RUN, flag=True
    )
    action: str = option(
        "delete",
        "What is done with a flagged object; report only records it.",
        kind=str,
        section=RUN,
        flag=True,
        choices=("delete", "report"),
    )
    skip_unreadable: bool = option(
        False,
        "Kept for drop-in use: objects that cannot be read are never deleted, with or without it.",
        kind=bool,
        section=RUN,
        flag=True,
    )
    threads: int = option(
        10,
        "How many objects are fetched at the same time.",
        kind=int,
        section=RUN,
        flag=True,
        short="-t",
        minimum=1,
        maximum=256,
    )
    exit_code_flagged: int = option(
        0, "Exit code of --all when something was flagged.", kind=int, section=RUN, flag=True, minimum=0, maximum=255
    )
    debug: bool = option(False, "Show tracebacks and every step.", kind=bool, section=RUN, flag=True)

    detectors: tuple[str, ...] = option(
        ("hashes", "clip"),
        "Which detectors look at each picture, separated by commas.",
        kind=tuple,
        section=DETECTORS,
        flag=True,
        env=("DETECTORS",),
        choices=("hashes", "clip", "nudenet"),
    )
    hash_list: Path | None = option(
        None,
        "hashes: file of known hashes, one 'sha256 <hex>' or 'pdq <hex>' a line.",
        kind=Path,
        section=DETECTORS,
        env=("HASH_LIST",),
    )
    device: str = option(
        "auto",
        "clip: where the model runs.",
        kind=str,
        section=DETECTORS,
        flag=True,
        choices=("auto", "cuda", "mps", "xpu", "cpu"),
    )
    clip_model: str = option(
        "ViT-L-14",
        "clip: which model; the rules were tuned on ViT-L-14.",
        kind=str,
        section=DETECTORS,
        env=("CLIP_MODEL",),
        choices=("ViT-L-14", "ViT-H-14"),
    )
    clip_weights: Path | None = option(
        None,
        "clip: weights file or prepared folder; without it they are fetched once from the model hub.",
        kind=Path,
        section=DETECTORS,
        env=("CLIP_WEIGHTS",),
    )
    clip_batch: int = option(
        0,
        "clip: pictures per batch; 0 chooses by device.",
        kind=int,
        section=DETECTORS,
        env=("CLIP_BATCH",),
        minimum=0,
        maximum=4096,
    )
    use_new_safety: bool = option(
        True,
        "clip: horde_safety's present rules; false picks its older check_for_csam rules.",
        kind=bool,
        section=DETECTORS,
        env=("USE_NEW_SAFETY",),
    )
    danbooru: bool = option(
        False,
        "clip: also use DeepDanbooru for drawings (614 MB more).",
        kind=bool,
        section=DETECTORS,
        env=("DANBOORU",),
    )
    danbooru_weights: Path | None = option(
        None,
        "clip: DeepDanbooru weights file; without it they are fetched once.",
        kind=Path,
        section=DETECTORS,
        env=("DANBOORU_WEIGHTS",),
    )
    nudenet_min_score: float = option(
        0.6,
        "nudenet: score from which a class counts.",
        kind=float,
        section=DETECTORS,
        env=("NUDENET_MIN_SCORE",),
        minimum=0.2,
        maximum=1,
    )
    nudenet_flags: bool = option(
        False,
        "nudenet: exposed nudity flags a picture by itself; otherwise it is recorded as nsfw only.",
        kind=bool,
        section=DETECTORS,
        env=("NUDENET_FLAGS",),
    )

    max_mb: float = option(
        64.0,
        "Largest object that is read, in MiB (pict-rs's own limit is 40).",
        kind=float,
        section=LIMITS,
        minimum=0.001,
        maximum=4096,
    )
    max_megapixels: float = option(
        100.0,
        "Largest picture that is decoded, in million pixels (pict-rs's own limit is 40).",
        kind=float,
        section=LIMITS,
        minimum=0.001,
        maximum=10_000,
    )
    memory_mb: float = option(
        512.0,
        "Bytes of undecoded objects held in memory at the same time, in MiB, and the same again for decoded pictures.",
        kind=float,
        section=LIMITS,
        minimum=1,
        maximum=1_048_576,
    )

    sqlite_filename: Path = option(
        Path("lemmy_safety.db"), "SQLite database file.", kind=Path, section=LEDGER, env=("SQLITE_FILENAME",)
    )
    database_url: str | None = option(
        None,
        "Any SQLAlchemy URL instead of the SQLite file.",
        kind=str,
        section=LEDGER,
        env=("DATABASE_URL",),
        secret=True,
        example="postgresql+psycopg://user:password@host/lemmy_safety",
    )
    cache_dir: Path | None = option(
        None,
        "Folder for text features computed once; without it the user's cache folder.",
        kind=Path,
        section=LEDGER,
        env=("CACHE_DIR",),
    )

    pictrs_safety_url: str | None = option(
        None,
        "URL of a pictrs-safety server.",
        kind=str,
        section=BRIDGE,
        env=("PICTRS_SAFETY_URL",),
        example="https://lemmy.example.com:14051",
    )
    pictrs_safety_apikey: str | None = option(
        None,
        "API key of that server.",
        kind=str,
        section=BRIDGE,
        env=("PICTRS_SAFETY_APIKEY",),
        secret=True,
        example="apikey",
    )


def _options() -> dict[str, Option]:
    table = {}
    for item in dataclasses.fields(Settings):
        meta = dict(item.metadata["option"])
        names = (*meta.pop("env"), ENV_PREFIX + item.name.upper())
        table[item.name] = Option(name=item.name, env=names, **meta)
    return table


OPTIONS: dict[str, Option] = _options()
"""Every option by its field name, in the order of the documentation."""

_BY_ENV = {name: item for item in OPTIONS.values() for name in item.env}

#: Names under our prefix that are no settings: where to read settings from, and click's completion switch.
ENV_FILE_NAME = ENV_PREFIX + "ENV_FILE"
_RESERVED = {ENV_FILE_NAME, "_LEMMY_SAFETY_COMPLETE"}

#: How alike an unknown name in .env must be to one of ours to count as a misspelling (difflib ratio).
_TYPO_RATIO = 0.85


def load_settings(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
) -> Settings:
    """Build the settings: flags before environment before ``.env`` before defaults. Empty texts count as unset.

    ``flags`` maps field names to values or texts; None means not given. ``env_file`` defaults to
    ``LEMMY_SAFETY_ENV_FILE`` or ``.env`` in the working folder; a file that is named must exist.

    :raises SettingsError: with all faults at once.
    """
    environ = os.environ if environ is None else environ
    file_values = _read_env_file(env_file, environ)
    faults = [*_unknown_names(environ, "environment", strict=True), *_unknown_names(file_values, ".env", strict=False)]
    values: dict[str, Any] = {}
    for item in OPTIONS.values():
        try:
            raw, source = _find(item, flags or {}, environ, file_values)
            if raw is not None:
                values[item.name] = item.parse(raw, source)
        except SettingsError as error:
            faults.append(str(error))
    if faults:
        raise SettingsError("\n".join(faults), hint="")
    settings = Settings(**values)
    return dataclasses.replace(settings, ssh_known_hosts=settings.ssh_known_hosts.expanduser())


def choose_storage(settings: Settings) -> str:
    """Which backend the settings mean: ``s3``, ``ssh`` or ``local``.

    :raises SettingsError: none is filled in, several are, or the chosen one lacks something.
    """
    filled = []
    if settings.s3_endpoint:
        filled.append("s3")
    if settings.ssh_hostname:
        filled.append("ssh")
    elif settings.files_directory:
        filled.append("local")
    if settings.storage is None and len(filled) > 1:
        raise SettingsError(
            f"Settings for {' and '.join(filled)} are filled in, and none is chosen.",
            hint=f"Choose with --storage {{{','.join(filled)}}}.",
        )
    if settings.storage is None and not filled:
        raise SettingsError(
            "No storage is set up. Fill in one of these, in the environment or in .env:\n"
            "  s3     OBJECT_STORAGE_ENDPOINT, PICTRS_BUCKET, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY\n"
            "  ssh    SSH_HOSTNAME, SSH_USERNAME, SSH_PRIVKEY, PICTRS_FILES_DIRECTORY\n"
            "  local  PICTRS_FILES_DIRECTORY",
            hint="To look around first, without any settings: lemmy-safety demo",
        )
    kind = settings.storage or filled[0]
    needed = {
        "s3": ("s3_endpoint", "s3_bucket"),
        "ssh": ("ssh_hostname", "ssh_username", "files_directory"),
        "local": ("files_directory",),
    }[kind]
    missing = [OPTIONS[name].env[0] for name in needed if not getattr(settings, name)]
    if missing:
        raise SettingsError(f"Storage {kind} also needs {', '.join(missing)}.", hint="Set it in .env.")
    return kind


def _read_env_file(env_file: Path | None, environ: Mapping[str, str]) -> dict[str, str]:
    named = env_file or (Path(environ[ENV_FILE_NAME]) if environ.get(ENV_FILE_NAME) else None)
    path = named or Path(".env")
    if not path.exists() or path.is_dir():
        if named:
            raise SettingsError(f"The settings file {path} does not exist.", hint="Check --env-file.")
        return {}
    try:
        # Notepad puts a byte order mark in front; it is no part of the first name.
        values = dotenv_values(path, encoding="utf-8-sig")
        return {name: value for name, value in values.items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"The settings file {path} cannot be read: {error}.", hint="Save it as UTF-8 text."
        ) from error


def _find(
    item: Option, flags: Mapping[str, object], environ: Mapping[str, str], file_values: Mapping[str, str]
) -> tuple[object | None, str]:
    if flags.get(item.name) is not None:
        return flags[item.name], f"--{item.name.replace('_', '-')}"
    # Within one source the name with our prefix wins: it can only have been meant for us.
    for values, where in ((environ, ""), (file_values, ".env: ")):
        for name in reversed(item.env):
            if values.get(name, "").strip():
                return values[name], f"{where}{name}"
    return None, ""


def _unknown_names(values: Mapping[str, str], where: str, *, strict: bool) -> list[str]:
    """Names that look like ours but are none.

    In the environment only our prefix is looked at; in .env also close misspellings of any name, because that file
    is ours but may be shared with, say, docker compose.
    """
    faults = []
    for name in values:
        if name in _BY_ENV or name in _RESERVED:
            continue
        nearest = difflib.get_close_matches(name.upper(), _BY_ENV, n=1, cutoff=_TYPO_RATIO)
        if name.startswith(ENV_PREFIX):
            best = nearest or difflib.get_close_matches(name.upper(), _BY_ENV, n=1, cutoff=0.0)
            faults.append(f"{where}: {name} is no setting. Did you mean {best[0]}?")
        elif nearest and not strict:
            faults.append(f"{where}: {name} is no setting. Did you mean {nearest[0]}?")
    return faults
