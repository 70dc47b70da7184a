"""What the URL of a database may say, and what is said of one that cannot be opened."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from support.ledger.results import checked, record

from lemmy_safety.errors import (
    LedgerError,
    SettingsError,
)
from lemmy_safety.ledger import open_ledger, sqlite_url


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "postgresql://me:secret-word@host:port/x",
        "sqlite+aiosqlite:///secret-word.db",
        "postgresql+asyncpg://me:secret-word@host/x",
        "secret-word://me:secret-word@",
        "sqlite://",
        "sqlite:///:memory:",
        "me:secret-word@host/x",
    ],
)
def test_urls_that_cannot_be_used_are_refused_without_repeating_them(url) -> None:
    """As a bad setting, which no restart cures. They may hold a password; the hint shows what one looks like."""
    with pytest.raises(SettingsError) as caught:
        open_ledger(url)
    chain = []
    error = caught.value
    while error is not None:
        chain.append(str(error))
        error = error.__cause__
    assert "me:secret-word" not in " ".join(chain)
    assert "sqlite:////" in caught.value.hint


@pytest.mark.parametrize(
    ("url", "needs"),
    [
        ("sqlite:///{folder}/some.db?plugin=nope", "sqlite3"),
        ("sqlite:///{folder}/some.db?timeout=abc", "sqlite3"),
        ("postgresql+psycopg://127.0.0.1:1/db?plugin=nope", "psycopg"),
        ("postgresql+psycopg://127.0.0.1:1/db?host=a&host=b&port=1", "psycopg"),
        ("postgresql://127.0.0.1:1/db?nonsense=1", "psycopg"),
        ("postgresql://127.0.0.1:1/db?connect_timeout=abc", "psycopg"),
    ],
)
def test_options_that_no_driver_takes_are_a_fault_of_the_url(tmp_path, url, needs) -> None:
    """Whether SQLAlchemy or the driver finds it, and whichever error it raises."""
    pytest.importorskip(needs)
    with pytest.raises(SettingsError, match="cannot do what DATABASE_URL asks for") as caught:
        open_ledger(url.format(folder=tmp_path))
    assert "after '?'" in caught.value.hint


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:secret-word@127.0.0.1:99999/x", "port in DATABASE_URL, 99999"),
        ("postgresql://me:secret-word@127.0.0.1:0/x", "port in DATABASE_URL, 0"),
        ("postgresql://me:secret-word@b..a.example/x", "host name"),
        (f"postgresql://me:secret-word@{'a' * 80}/x", "host name"),
        ("sqlite://host/x", "Invalid SQLite URL"),
        ("sqlite:////tmp/" + "x" * 300, "SQLITE_FILENAME"),
    ],
)
def test_places_that_cannot_be_are_a_fault_of_the_settings(url, said) -> None:
    """One line, without the password."""
    pytest.importorskip("psycopg")
    with pytest.raises(SettingsError) as caught:
        open_ledger(url)
    assert said in str(caught.value)
    assert "secret-word" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_cannot_be_reached_is_named_without_the_password() -> None:
    """Host, port and database, and what to check."""
    pytest.importorskip("psycopg")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        port = unused.getsockname()[1]
        with pytest.raises(LedgerError) as caught:
            open_ledger(f"postgresql://me:secret-word@127.0.0.1:{port}/safety")
    assert f"postgresql://127.0.0.1:{port}/safety" in caught.value.message
    assert "DATABASE_URL" in caught.value.hint
    error = caught.value
    while error is not None:
        assert "secret-word" not in str(error)
        error = error.__cause__


@pytest.mark.external_service
def test_a_database_that_does_not_exist_is_an_error_with_a_hint(postgres) -> None:
    """The server is there, the database is not."""
    with pytest.raises(LedgerError, match="does not exist") as caught:
        open_ledger(f"{postgres}/nobodys")
    assert "DATABASE_URL" in caught.value.hint
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize("name", ["plain.db", "with space.db", "100%.db", "%41.db", "ü \N{CAT FACE}.db", "a&b#c;d'.db"])
def test_any_file_name_means_itself(tmp_path, name) -> None:
    """What is asked for is made, and nothing else."""
    with open_ledger(sqlite_url(tmp_path / name)) as ledger:
        record(ledger, [checked("a")])
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_relative_file_name_is_in_the_present_folder(tmp_path, monkeypatch) -> None:
    """And stays there when the process goes elsewhere."""
    monkeypatch.chdir(tmp_path)
    url = sqlite_url(Path("a.db"))
    monkeypatch.chdir("/")
    open_ledger(url).close()
    assert (tmp_path / "a.db").exists()
