"""What a PostgreSQL server can do to us that a file cannot: refuse rights, and cut connections."""

from __future__ import annotations

import psycopg
import pytest
from support.ledger.results import checked, record
from support.servers.postgres import create_database

from lemmy_safety.errors import LedgerError, LedgerReadOnly, SettingsError
from lemmy_safety.ledger import open_ledger

pytestmark = pytest.mark.external_service


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url.replace("postgresql+psycopg", "postgresql"), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_user_who_may_only_read_is_refused_with_what_it_needs(postgres) -> None:
    """On an empty database and on one of ours."""
    url = create_database(postgres, "rights")
    execute(url, "CREATE ROLE poor LOGIN", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    poor = url.replace("//test:", "//poor:")
    for _ in range(2):
        with pytest.raises(LedgerReadOnly) as caught:
            open_ledger(poor)
        assert "rights" in caught.value.hint
        open_ledger(url).close()
    execute(url, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO poor")
    with open_ledger(poor, upgrade=False) as ledger:
        assert ledger.maintenance.stats().objects == 0


def test_a_lost_connection_fails_one_write_and_not_the_next(postgres) -> None:
    """The server closed it in the middle of a transaction; the pool replaces those that died while idle."""
    url = create_database(postgres, "lost")
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'lost' AND pid <> pg_backend_pid()"
    with open_ledger(url) as ledger:

        def write_while_it_is_cut():
            with ledger.database.writing() as connection:
                execute(url, others)
                connection.exec_driver_sql("SELECT 1")

        with pytest.raises(LedgerError) as caught:
            write_while_it_is_cut()
        assert "server is up" in caught.value.hint
        record(ledger, [checked("a")])
        execute(url, others)
        record(ledger, [checked("b")])
        assert ledger.maintenance.stats().objects == 2


def test_an_option_that_the_driver_does_not_know_is_a_clear_error(postgres) -> None:
    """Found by the driver, when it connects."""
    url = create_database(postgres, "options")
    with pytest.raises(SettingsError, match="nonsense"):
        open_ledger(f"{url}?nonsense=1")
