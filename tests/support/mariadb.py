"""A real MariaDB server for tests, with durability off, in a folder of its own under the system's temp folder.

It is set up as badly as an administrator may have done it: Latin-1 texts, no strict mode.
"""

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

from sqlalchemy import create_engine
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Account that runs the server when the tests run as root, which MariaDB refuses. Its own is not always installed.
_SERVER_USER = "nobody"

#: Tries, a tenth of a second apart, until the server answers.
_START_TRIES = 600


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def missing_mariadb() -> str:
    """Why no server can be started here; empty when one can."""
    if os.name != "posix":
        return "the suite starts MariaDB on POSIX systems only"
    if _program("mariadbd") is None or _program("mariadb-install-db") is None:
        return "mariadbd and mariadb-install-db were not found; install a MariaDB server"
    try:
        import pymysql  # noqa: F401, PLC0415
    except ImportError:
        return "PyMySQL is not installed; install the extra 'mysql'"
    return ""


@contextmanager
def mariadb_server() -> Iterator[str]:
    """Start a server; yields the base of its URLs, to which ``/database`` is added. Stopped and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="mariadb."))  # a socket's path may have 107 characters only
    account = {}
    if os.geteuid() == 0:
        shutil.chown(folder, user=_SERVER_USER)
        account = {"user": _SERVER_USER, "extra_groups": []}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    users = folder / "users.sql"
    users.write_text(
        "CREATE USER IF NOT EXISTS 'test'@'127.0.0.1' IDENTIFIED BY 'secret-word';\n"
        "GRANT ALL ON *.* TO 'test'@'127.0.0.1';\n"
        "CREATE USER IF NOT EXISTS 'poor'@'127.0.0.1' IDENTIFIED BY 'secret-word';\n"
        "GRANT SELECT ON *.* TO 'poor'@'127.0.0.1';\n"
    )
    users.chmod(0o644)
    data, log = folder / "data", folder / "log"
    try:
        subprocess.run(
            [
                str(_program("mariadb-install-db")),
                "--no-defaults",
                f"--datadir={data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--innodb-log-file-size=8M",
            ],
            check=True,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=120,
            **account,
        )
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [
                    str(_program("mariadbd")),
                    "--no-defaults",
                    f"--datadir={data}",
                    f"--tmpdir={folder}",
                    f"--socket={folder}/socket",
                    f"--pid-file={folder}/pid",
                    f"--init-file={users}",
                    f"--port={port}",
                    "--bind-address=127.0.0.1",
                    "--innodb-log-file-size=8M",
                    "--innodb-flush-log-at-trx-commit=0",
                    "--innodb-flush-method=nosync",
                    "--skip-log-bin",
                    "--character-set-server=latin1",
                    "--collation-server=latin1_swedish_ci",
                    "--sql-mode=",
                ],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                **account,
            ) as server,
        ):
            try:
                _wait_until_up(port, server, log)
                yield f"mysql+pymysql://test:secret-word@127.0.0.1:{port}"
            finally:
                server.kill()
    finally:
        shutil.rmtree(folder)


def _wait_until_up(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    import pymysql  # noqa: PLC0415

    pause = threading.Event()
    for _ in range(_START_TRIES):
        try:
            pymysql.connect(host="127.0.0.1", port=port, user="test", password="secret-word").close()
        except pymysql.OperationalError:
            if server.poll() is not None:
                break
            pause.wait(0.1)
        else:
            return
    raise RuntimeError("mariadbd does not answer:\n" + log.read_text(errors="replace"))


def create_database(base: str, name: str) -> str:
    """Make an empty database; its URL."""
    engine = create_engine(base)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE `{name}`")
    engine.dispose()
    return f"{base}/{name}"


class OtherDialect(MySQLDialect_pymysql):
    """A kind of database that the ledger has no word about: MariaDB under a name of its own."""

    name = "otherdb"
    supports_statement_cache = True
