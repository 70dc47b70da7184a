"""Ledgers for these tests: each on a database of its own, on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from support.ledger.created import new_ledger, put_new_ledger
from support.ledger.results import StepClock
from support.servers import pgbouncer as pgbouncer_support
from support.servers import postgres as postgres_support
from support.servers.base import not_tested

from lemmy_safety.ledger import open_ledger, sqlite_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lemmy_safety.ledger import Ledger

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The base URL of a server that runs for the session."""
    if missing := postgres_support.missing_postgres():
        not_tested(f"NOT TESTED ON POSTGRESQL: {missing}")
    with postgres_support.postgres_server() as base:
        yield base


@pytest.fixture(scope="session")
def pgbouncer(postgres: str) -> Iterator[str]:
    """The base URL of a pool before that server, which gives each transaction to any of its few sessions."""
    if missing := pgbouncer_support.missing_pgbouncer():
        not_tested(f"NOT TESTED ON PGBOUNCER: {missing}")
    with pgbouncer_support.pgbouncer_before(postgres) as base:
        yield base


@pytest.fixture
def database_file(tmp_path: Path) -> Path:
    return tmp_path / "ledger of test ü%.db"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.external_service)])
def url(request: pytest.FixtureRequest, database_file: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return sqlite_url(database_file)
    return postgres_support.create_database(request.getfixturevalue("postgres"), f"ledger{next(_numbers)}")


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.external_service),
        pytest.param("pgbouncer", marks=pytest.mark.external_service),
    ]
)
def shared_url(request: pytest.FixtureRequest, database_file: Path) -> str:
    """The URL of an empty database as several processes share it; also through a pool of connections."""
    name = f"shared{next(_numbers)}"
    match request.param:
        case "sqlite":
            return sqlite_url(database_file)
        case "pgbouncer":
            base = request.getfixturevalue("pgbouncer")
            postgres_support.create_database(request.getfixturevalue("postgres"), name)
            return f"{base}/{name}"
        case _:
            return postgres_support.create_database(request.getfixturevalue("postgres"), name)


@pytest.fixture
def ledger(url: str, database_file: Path) -> Iterator[Ledger]:
    if url == sqlite_url(database_file):
        put_new_ledger(database_file)
    with open_ledger(url, clock=StepClock()) as opened:
        yield opened
        assert opened.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


@pytest.fixture
def quick_ledger(database_file: Path) -> Iterator[Ledger]:
    """On SQLite alone: for rules that are ours, not the database's, in many variants."""
    with new_ledger(database_file, clock=StepClock()) as opened:
        yield opened
