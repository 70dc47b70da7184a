"""What alembic runs around migrations.

The program hands its own connection, already inside one transaction that holds the writer's lock. A developer at
``alembic`` on the command line gets one made from the settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import context
from lemmy_safety.ledger.schema.conditions import SCHEMA

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

# The ancestor's table is kept as it was and belongs to no model.
_KEPT = {"images_before_takeover"}


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=SCHEMA,
        # Alembic takes SQLite for a database that commits at every DDL statement; ours does not, see ledger/database/engine.py.
        transactional_ddl=True,
        include_name=lambda name, kind, _parents: kind != "table" or name not in _KEPT,
    )
    with context.begin_transaction():
        context.run_migrations()


def _migrate_from_command_line() -> None:
    from lemmy_safety.ledger.database.engine import make_engine, upgrading  # noqa: PLC0415
    from lemmy_safety.ledger.database.urls import parse_url, sqlite_url  # noqa: PLC0415
    from lemmy_safety.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    engine = make_engine(parse_url(settings.database_url or sqlite_url(settings.sqlite_filename)))
    with upgrading(engine) as connection:
        _migrate(connection)
    engine.dispose()


if context.is_offline_mode():
    raise SystemExit("The first migration looks at the database, so there is no --sql mode.")
handed = context.config.attributes.get("connection")
if handed is None:
    _migrate_from_command_line()
else:
    _migrate(handed)
