"""Connects to pict-rs's PostgreSQL database: read-only transactions with a time limit, also through PgBouncer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

import sqlalchemy
import sqlalchemy.event
import sqlalchemy.exc
from sqlalchemy import text
from sqlalchemy.pool import QueuePool

from lemmy_safety.errors import PictrsError, PictrsLoginRefused, PictrsTablesUnknown, PictrsUnreachable
from lemmy_safety.foreign import foreign
from lemmy_safety.pictrs.tunnel import HOST
from lemmy_safety.url_logins import without_login

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from sqlalchemy import URL
    from sqlalchemy.engine import Connection

    from lemmy_safety.errors import LemmySafetyError
    from lemmy_safety.pictrs.tunnel import Tunnel

#: Milliseconds for one statement. Look-ups of variants and proxies have no index: they read the whole table.
_STATEMENT_MS: Final = 30_000
_LOCK_MS: Final = 5_000
_CONNECT_S: Final = 10

#: Connections. pict-rs itself opens up to 8 a core, and the server's number is limited.
_CONNECTIONS: Final = 2

#: How to make a role that is enough.
READER_HINT = (
    "Set PICTRS_DATABASE_URL to pict-rs's repo.url, with a role that may only read:\n"
    "  CREATE ROLE safety_reader LOGIN PASSWORD '...'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO safety_reader;"
)

_UNREACHED_HINT = (
    "Check that the database server is up and that PICTRS_DATABASE_URL names its host, port and database, with "
    "PICTRS_VIA_SSH as seen from the SSH server."
)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_INVALID_LOGIN = "28"
_MISSING = {"42P01", "42703", "3F000"}  # table, column, schema
_NO_RIGHT = "42501"
_TIMED_OUT = "57014"
_UNREACHED = {"08", "3D", "53", "57"}  # connection, no such database, no more connections, shut down

#: What a server says to a login while connecting, in the language of most servers.
_REFUSALS = ("authentication failed", "no password supplied", "no pg_hba.conf entry", "failed: FATAL: role ")


class Repo:
    """pict-rs's database. A context manager, which closes connections; connects when it is first asked."""

    def __init__(self, url: URL, tunnel: Tunnel | None = None) -> None:
        """``url`` is one of PostgreSQL by psycopg, checked before. ``tunnel`` leads to its host and port, and is closed
        with the connections.
        """
        self.name = without_login(f"{url.host or ''}{f':{url.port}' if url.port else ''}/{url.database or ''}")
        options: dict[str, Any] = {"connect_timeout": _CONNECT_S, "prepare_threshold": None}
        self._engine = sqlalchemy.create_engine(
            url,
            hide_parameters=True,
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=_CONNECTIONS - 1,
            pool_pre_ping=True,
            # Prepared statements belong to a session; behind PgBouncer the next transaction has another one.
            connect_args={name: value for name, value in options.items() if name not in url.query},
        )
        self._tunnel = tunnel
        if tunnel is not None:
            sqlalchemy.event.listen(self._engine, "do_connect", self._through_tunnel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.dispose()
        if self._tunnel is not None:
            self._tunnel.close()

    def _through_tunnel(self, _dialect: Any, _record: Any, _arguments: Any, options: dict[str, Any]) -> None:
        """Libpq connects to ``hostaddr``; certificates and .pgpass go by ``host``, which stays."""
        if self._tunnel is not None:
            self._tunnel.ready()
            options |= {"hostaddr": HOST, "port": self._tunnel.port}

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction in which the server refuses every write.

        :raises PictrsUnreachable: no connection, or it took too long.
        :raises PictrsLoginRefused: user or password is wrong, or the role may not read.
        :raises PictrsTablesUnknown: a table or a column is missing.
        """
        try:
            with self._engine.connect() as plain, plain.begin():
                # For this transaction only, not as options of the connection: PgBouncer refuses those.
                plain.execute(text("SET TRANSACTION READ ONLY"))
                plain.execute(text(f"SET LOCAL statement_timeout = {_STATEMENT_MS}"))
                plain.execute(text(f"SET LOCAL lock_timeout = {_LOCK_MS}"))
                yield plain
        except sqlalchemy.exc.DBAPIError as error:
            raise self._translated(error) from error
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise PictrsError(f"pict-rs's database {self.name} failed: {type(error).__name__}.") from error

    def _translated(self, error: sqlalchemy.exc.DBAPIError) -> LemmySafetyError:
        state = getattr(error.orig, "sqlstate", None) or ""
        failure = self._tunnel.failure() if self._tunnel is not None and not state else None
        if failure is not None:
            return failure
        said = " ".join(foreign(error.orig).split())
        # libpq gives no SQLSTATE for a login that the server refuses while connecting.
        refused = state.startswith(_INVALID_LOGIN) or (not state and any(words in said for words in _REFUSALS))
        if refused or state == _NO_RIGHT:
            return PictrsLoginRefused(f"pict-rs's database {self.name} refuses this role ({said}).", hint=READER_HINT)
        if state in _MISSING:
            return PictrsTablesUnknown(f"pict-rs's tables are not in {self.name} as expected ({said}).")
        if state == _TIMED_OUT:
            return PictrsUnreachable(
                f"pict-rs's database {self.name} took more than {_STATEMENT_MS // 1000} s for an answer.",
                hint="Try again when it is less busy.",
            )
        if not state or state[:2] in _UNREACHED:
            return PictrsUnreachable(
                f"pict-rs's database {self.name} cannot be reached ({said}).", hint=_UNREACHED_HINT
            )
        return PictrsError(f"pict-rs's database {self.name} failed ({said}).")
