"""A real PostgreSQL server for tests, with durability off, in a folder of its own under the system's temp folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from support.servers.base import account_for, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Account that runs the server when the tests run as root, which PostgreSQL refuses.
_SERVER_USER = "postgres"


def program(name: str) -> str | None:
    """Where a program of PostgreSQL's lies, if anywhere. Debian keeps the server's programs off PATH, in a folder for each major version."""
    return shutil.which(name) or next(
        (str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None
    )


def missing_postgres() -> str:
    """Why no server can be started here; empty when one can."""
    if os.name != "posix":
        return "the suite starts PostgreSQL on POSIX systems only"
    if program("initdb") is None or program("pg_ctl") is None:
        return "initdb and pg_ctl were not found; install a PostgreSQL server"
    try:
        import psycopg  # noqa: F401, PLC0415
    except ImportError:
        return "psycopg is not installed; install the extra 'postgres'"
    return ""


@contextmanager
def postgres_server() -> Iterator[str]:
    """Start a server; yields the base of its URLs, to which ``/database`` is added. Stopped and removed at the end."""
    # Not pytest's folder: its parents belong to root alone, and a socket's path may have 107 characters only.
    folder = Path(tempfile.mkdtemp(prefix="pg."))
    account = account_for(folder, _SERVER_USER)
    port = free_port()
    data, log = folder / "data", folder / "log"

    def run(name: str, *arguments: str) -> None:
        subprocess.run(
            [str(program(name)), *arguments],
            check=True,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(folder)},
            timeout=60,
            **account,
        )

    try:
        run("initdb", "-D", str(data), "-U", "test", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off -c synchronous_commit=off"
        run("pg_ctl", "-D", str(data), "-w", "-l", str(log), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://test:secret-word@127.0.0.1:{port}"
        finally:
            run("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def create_database(base: str, name: str) -> str:
    """Make an empty database; its URL."""
    import psycopg  # noqa: PLC0415

    plain = base.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(f"{plain}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{base}/{name}"
