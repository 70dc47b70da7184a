"""A real PgBouncer in front of a PostgreSQL server: each transaction may run in another session of the server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import make_url
from support.servers.base import account_for, free_port, program, wait_until_it_listens

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Account that runs it when the tests run as root, which it refuses.
_SERVER_USER = "nobody"


def missing_pgbouncer() -> str:
    """Why it cannot be started here; empty when it can."""
    if os.name != "posix":
        return "the suite starts PgBouncer on POSIX systems only"
    return "" if program("pgbouncer") else "pgbouncer was not found; install it"


@contextmanager
def pgbouncer_before(base: str) -> Iterator[str]:
    """Pool the connections to the server at ``base``, by transaction; yields the base of the URLs through the pool."""
    server = make_url(base)
    folder = Path(tempfile.mkdtemp(prefix="pgb."))
    account = account_for(folder, _SERVER_USER)
    port = free_port()
    settings, log = folder / "pgbouncer.ini", folder / "log"
    settings.write_text(
        "[databases]\n"
        f"* = host={server.host} port={server.port} user={server.username}\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        "auth_type = any\npool_mode = transaction\n"
        # Few sessions for many clients, so that one client's transactions do move between them.
        "default_pool_size = 3\nmax_client_conn = 200\n"
    )
    settings.chmod(0o644)
    try:
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [str(program("pgbouncer")), str(settings)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                **account,
            ) as pool,
        ):
            try:
                wait_until_it_listens(port, pool, lambda: log.read_text(errors="replace"))
                yield f"{server.drivername}://{server.username}:secret-word@127.0.0.1:{port}"
            finally:
                pool.kill()
    finally:
        shutil.rmtree(folder)
