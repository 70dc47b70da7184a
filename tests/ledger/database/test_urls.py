"""Which databases a URL may name, and what is said of all others and of a missing driver."""

from __future__ import annotations

import sys

import pytest

from lemmy_safety.errors import MissingExtra, SettingsError
from lemmy_safety.ledger import open_ledger
from lemmy_safety.ledger.database.urls import parse_url


def test_a_missing_driver_is_an_error_that_names_what_to_install(monkeypatch) -> None:
    """Without repeating the URL."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtra) as caught:
        open_ledger("postgresql://me:secret-word@host/x")
    assert "lemmy-safety[postgres]" in caught.value.hint
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["mysql", "mysql+pymysql", "mariadb", "mssql+pyodbc", "cockroachdb", "nosuchdb"])
def test_every_other_database_is_refused_with_what_is_supported_and_how_to_move(scheme) -> None:
    """As a bad setting, installed driver or not, and without repeating the login."""
    with pytest.raises(SettingsError) as caught:
        open_ledger(f"{scheme}://me:secret-word@host/x")
    said = str(caught.value)
    assert f"begins with {scheme}://" in said
    assert "SQLite and PostgreSQL" in said
    assert "docs/upgrading.md" in said
    assert "secret-word" not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("scheme", "write"),
    [
        ("postgresql+psycopg2", "postgresql://"),
        ("postgresql+asyncpg", "postgresql://"),
        ("sqlite+aiosqlite", "sqlite://"),
    ],
)
def test_another_driver_is_refused_with_the_url_to_write(scheme, write) -> None:
    """The database is right, so nothing has to move."""
    with pytest.raises(SettingsError) as caught:
        open_ledger(f"{scheme}://me:secret-word@host/x")
    assert f"begins with {scheme}://" in caught.value.message
    assert f"Write {write} without a driver" in caught.value.hint
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_always_used_through_the_same_driver(scheme) -> None:
    """Also under the short name that other programs take."""
    pytest.importorskip("psycopg")
    assert parse_url(f"{scheme}://host/x").drivername == "postgresql+psycopg"
