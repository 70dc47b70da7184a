"""Every kind of repository that a real pict-rs can have here, by a name for test parameters."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support.servers.pictrs_process import COMING, STABLE, Pictrs, require_pictrs
from support.servers.postgres import create_database, missing_postgres, postgres_server

from lemmy_safety.errors import PictrsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lemmy_safety.pictrs.api.client import PictrsApi

#: The kinds, with the version that is tested with each.
REPOS = {
    "0.5-sled": (STABLE, "sled"),
    "0.5-postgres": (STABLE, "postgres"),
    "0.6-fjall": (COMING, "fjall"),
    "0.6-postgres": (COMING, "postgres"),
}

#: No external programs, and anything is taken for a PNG; what such a pict-rs cannot do are variants.
DUMMY = {"PICTRS__SERVER__DANGER_DUMMY_MODE": "true"}


@contextmanager
def pictrs_with(
    kind: str, folder: Path, settings: dict[str, str] | None = None, *, store: dict[str, str] | None = None
) -> Iterator[tuple[Pictrs, str | None]]:
    """Start a pict-rs on this kind of repository; yields it and the SQLAlchemy URL of its database, if it has one.

    ``store`` has the variables of its store; without it, that is a folder.
    """
    version, repo = REPOS[kind]
    require_pictrs(version)
    if repo != "postgres":
        variables = {"PICTRS__REPO__TYPE": repo, "PICTRS__REPO__FJALL_PATH": str(folder / "fjall")}
        with Pictrs(folder, version, {**variables, **(settings or {})}, store=store) as server:
            yield server, None
        return
    if missing := missing_postgres():
        pytest.skip(missing)
    with postgres_server() as base:
        url = create_database(base, "pictrs")
        variables = {
            "PICTRS__REPO__TYPE": "postgres",
            "PICTRS__REPO__URL": url.replace("postgresql+psycopg", "postgres"),
        }
        with Pictrs(folder, version, {**variables, **(settings or {})}, store=store) as server:
            yield server, url


def leads_elsewhere(api: PictrsApi, slug: str) -> bool:
    """Whether the picture that a slug names is purged. Its row goes last; between that and its file, its page is 500."""
    try:
        return api.hashes(limit=2, slug=slug).current != slug
    except PictrsError:
        return False
