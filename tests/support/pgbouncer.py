"""A real PgBouncer in front of a PostgreSQL server: each transaction may run in another session of the server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import make_url

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Account that runs it when the tests run as root, which it refuses.
_SERVER_USER = "nobody"

#: Tries, a tenth of a second apart, until it listens.
_START_TRIES = 300


def _program() -> str | None:
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


def missing_pgbouncer() -> str:
    """Why it cannot be started here; empty when it can."""
    if os.name != "posix":
        return "the suite starts PgBouncer on POSIX systems only"
    return "" if _program() else "pgbouncer was not found; install it"


@contextmanager
def pgbouncer_before(base: str) -> Iterator[str]:
    """Pool the connections to the server at ``base``, by transaction; yields the base of the URLs through the pool."""
    server = make_url(base)
    folder = Path(tempfile.mkdtemp(prefix="pgb."))
    account = {}
    if os.geteuid() == 0:
        shutil.chown(folder, user=_SERVER_USER)
        account = {"user": _SERVER_USER, "extra_groups": []}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
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
                [str(_program()), str(settings)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                **account,
            ) as pool,
        ):
            try:
                _wait_until_up(port, pool, log)
                yield f"{server.drivername}://{server.username}:secret-word@127.0.0.1:{port}"
            finally:
                pool.kill()
    finally:
        shutil.rmtree(folder)


def _wait_until_up(port: int, pool: subprocess.Popen[bytes], log: Path) -> None:
    pause = threading.Event()
    for _ in range(_START_TRIES):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if pool.poll() is not None:
                break
            pause.wait(0.1)
        else:
            return
    raise RuntimeError("pgbouncer does not answer:\n" + log.read_text(errors="replace"))
