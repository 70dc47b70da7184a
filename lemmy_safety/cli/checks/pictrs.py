"""What ``doctor`` checks of pict-rs itself: its HTTP interface, its database, and whether both belong to the storage."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from lemmy_safety.cli.checks.check import Check, fault
from lemmy_safety.cli.input.asking import asker
from lemmy_safety.errors import LemmySafetyError, PictrsElsewhere, PictrsReadOnly, PictrsTooOld

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from lemmy_safety.pictrs.api.client import PictrsApi
    from lemmy_safety.pictrs.repo.database import Repo
    from lemmy_safety.settings import Settings

_AREA = "pict-rs"

#: Where the hook is asked, besides ``/validate`` alone.
_HOOK_PATHS = ("/validate/", "/api/v1/scan/")


def check_pictrs(settings: Settings, *, hook_in_use: bool) -> Iterator[Check]:
    """Nothing, if neither interface is set. ``hook_in_use``: whether this machine's settings are those of a hook."""
    with ExitStack() as stack:
        api = repo = None
        if settings.pictrs_url or settings.pictrs_api_key:
            api = yield from _check_api(settings, stack, hook_in_use=hook_in_use)
        if settings.pictrs_database_url:
            repo = yield from _check_database(settings, stack)
            yield from _check_shared_secret(settings)
        if api is not None and repo is not None:
            yield from _check_same(api, repo)
    if settings.removed_hook:
        yield _check_removed_hook(settings)


def _check_api(settings: Settings, stack: ExitStack, *, hook_in_use: bool) -> Generator[Check, None, PictrsApi | None]:
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy

    try:
        api = stack.enter_context(wiring.build_pictrs_api(settings, ask_passphrase=asker()))
        api.check()
    except LemmySafetyError as error:
        yield fault(_AREA, "interface", error)
        return None
    way = f", through the SSH server {settings.ssh_hostname}" if settings.pictrs_via_ssh else ""
    yield Check(area=_AREA, name="interface", ok=True, detail=f"{api.url} is pict-rs, and accepts PICTRS_API_KEY{way}")
    try:
        api.check_writable()
    except PictrsReadOnly as error:
        yield fault(_AREA, "read-only mode", error)
    except LemmySafetyError as error:
        yield fault(_AREA, "interface", error)
    try:
        yield from _check_validator(api, settings, hook_in_use=hook_in_use)
        yield from _check_storage(api, settings)
    except PictrsTooOld as error:
        yield Check(area=_AREA, name="version", ok=None, detail=error.message, fix=error.hint)
    except LemmySafetyError as error:
        yield fault(_AREA, "storage" if isinstance(error, PictrsElsewhere) else "interface", error)
    return api


def _check_removed_hook(settings: Settings) -> Check:
    """Whether it could be started; it is not tried."""
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy

    name = "REMOVED_HOOK"
    try:
        hook = wiring.build_removed_hook(settings)
    except LemmySafetyError as error:
        return fault(_AREA, name, error)
    if hook is not None:
        hook.close()
    return Check(area=_AREA, name=name, ok=True, detail="can be started; whether it works shows after a removal")


def _check_validator(api: PictrsApi, settings: Settings, *, hook_in_use: bool) -> Iterator[Check]:
    """Whether pict-rs asks this hook; it tells that from 0.6.0-rc.5 on."""
    limits = api.limits()
    if limits is None:
        return
    url = limits.external_validation
    if url is None:
        if hook_in_use:
            fix = "Set PICTRS__MEDIA__EXTERNAL_VALIDATION in pict-rs (docs/upload-hook.md)."
            yield Check(area=_AREA, name="validator", ok=None, detail="pict-rs asks no one about uploads", fix=fix)
        return
    ours = _is_our_hook(url, settings)
    detail = "pict-rs asks a hook at the port and path of this one" if ours else "pict-rs asks another validator"
    yield Check(area=_AREA, name="validator", ok=True if ours else None, detail=f"{detail}: {_place(url)}")


def _is_our_hook(url: str, settings: Settings) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    right_path = parts.path == "/validate" or parts.path.startswith(_HOOK_PATHS)
    return right_path and port == settings.hook_port


def _place(url: str) -> str:
    """Host and port: the path may hold the secret."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _check_storage(api: PictrsApi, settings: Settings) -> Iterator[Check]:
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy
    from lemmy_safety.actions.purging import is_stored  # noqa: PLC0415
    from lemmy_safety.pictrs.pictures.belonging import check_belonging  # noqa: PLC0415

    try:
        storage = wiring.build_storage(settings, ask_passphrase=asker())
    except LemmySafetyError:
        return  # the checks of the storage report it
    with storage:
        there, asked = check_belonging(api, partial(is_stored, storage))
    if asked:
        detail = f"of its {asked:,} newest pictures {there:,} are in this storage"
        yield Check(area=_AREA, name="storage", ok=True, detail=detail)
    else:
        detail = "pict-rs has no picture yet, so it is not known whether it writes to this storage"
        yield Check(area=_AREA, name="storage", ok=None, detail=detail)


def _check_database(settings: Settings, stack: ExitStack) -> Generator[Check, None, Repo | None]:
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy
    from lemmy_safety.pictrs.repo.checks import check_tables, writable_tables  # noqa: PLC0415
    from lemmy_safety.pictrs.repo.database import READER_HINT  # noqa: PLC0415

    try:
        repo = stack.enter_context(wiring.build_pictrs_repo(settings, ask_passphrase=asker()))
        with repo.reading() as connection:
            version = check_tables(connection)
            writable = writable_tables(connection)
    except LemmySafetyError as error:
        yield fault(_AREA, "database", error)
        return None
    yield Check(area=_AREA, name="database", ok=True, detail=f"{repo.name} is pict-rs's, at schema {version}")
    if writable:
        detail = f"the role of PICTRS_DATABASE_URL may change {', '.join(writable)}, which is never needed"
        yield Check(area=_AREA, name="database role", ok=None, detail=detail, fix=READER_HINT)
    return repo


def _check_shared_secret(settings: Settings) -> Iterator[Check]:
    """lemmy-ansible gives pict-rs the password of PostgreSQL as its API key."""
    try:
        password = urlsplit(settings.pictrs_database_url or "").password
    except ValueError:
        return  # the check of the database reports it
    if password and settings.pictrs_api_key in {password, unquote(password)}:
        detail = "PICTRS_API_KEY is also the password in PICTRS_DATABASE_URL: with either of them, a stranger has both"
        fix = "Give pict-rs and Lemmy a new API key (docs/operations.md)."
        yield Check(area=_AREA, name="API key", ok=None, detail=detail, fix=fix)


def _check_same(api: PictrsApi, repo: Repo) -> Iterator[Check]:
    """Whether the interface and the database are of one pict-rs."""
    from lemmy_safety.pictrs.pictures.belonging import check_same  # noqa: PLC0415 - heavy
    from lemmy_safety.pictrs.pictures.by_database import DatabaseFinder  # noqa: PLC0415

    try:
        check_same(api, DatabaseFinder(repo))
    except LemmySafetyError as error:
        yield fault(_AREA, "database", error)
