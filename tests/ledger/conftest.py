"""Ledgers for these tests: each on a database of its own, on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest
from support.ledgers import StepClock
from support.postgres import create_database, missing_postgres, postgres_server

from lemmy_safety.ledger import open_ledger, sqlite_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lemmy_safety.ledger import Ledger

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The base URL of a server that runs for the session."""
    if missing := missing_postgres():
        message = f"NOT TESTED ON POSTGRESQL: {missing}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with postgres_server() as base:
        yield base


@pytest.fixture
def database_file(tmp_path: Path) -> Path:
    return tmp_path / "ledger of test ü%.db"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.external_service)])
def url(request: pytest.FixtureRequest, database_file: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return sqlite_url(database_file)
    return create_database(request.getfixturevalue("postgres"), f"ledger{next(_numbers)}")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with open_ledger(url, clock=StepClock()) as opened:
        yield opened
        assert opened._engine.pool.checkedout() == 0  # type: ignore[attr-defined]
