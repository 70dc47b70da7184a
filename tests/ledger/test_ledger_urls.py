"""Drivers: what is missing is said with what to install."""

from __future__ import annotations

import sys

import pytest

from lemmy_safety.errors import LedgerError, MissingExtra
from lemmy_safety.ledger import open_ledger


@pytest.mark.parametrize(
    ("url", "module", "kind", "install"),
    [
        ("mysql://me:secret-word@host/x", "pymysql", MissingExtra, "lemmy-safety[mysql]"),
        ("mariadb+pymysql://me:secret-word@host/x", "pymysql", MissingExtra, "lemmy-safety[mysql]"),
        ("postgresql://me:secret-word@host/x", "psycopg", MissingExtra, "lemmy-safety[postgres]"),
        ("mysql+mysqldb://me:secret-word@host/x", "MySQLdb", LedgerError, "pip install mysqlclient"),
        ("mssql+pyodbc://me:secret-word@host/x", "pyodbc", LedgerError, "pip install pyodbc"),
        ("cockroachdb://me:secret-word@host/x", "", LedgerError, "pip install sqlalchemy-cockroachdb"),
        ("nosuchdb://me:secret-word@host/x", "", LedgerError, "docs.sqlalchemy.org"),
    ],
)
def test_a_missing_driver_is_an_error_that_names_what_to_install(monkeypatch, url, module, kind, install) -> None:
    """Without repeating the URL."""
    if module:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(kind) as caught:
        open_ledger(url)
    assert install in caught.value.hint
    assert "secret-word" not in str(caught.value)
