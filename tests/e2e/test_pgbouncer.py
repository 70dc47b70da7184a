"""The commands with their database behind a real PgBouncer that pools by transaction."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest
from support.servers import pgbouncer as pgbouncer_support
from support.servers import postgres as postgres_support
from support.servers.base import free_port, not_tested

from lemmy_safety.cli.demo.pictures import sample_pictures
from lemmy_safety.detectors.hashes.canary import canary_png

pytestmark = [
    pytest.mark.external_service,
    pytest.mark.skipif(os.name != "posix", reason="the suite starts PgBouncer on POSIX systems only"),
]

PATIENCE_S = 120


@pytest.fixture(scope="module")
def pooled():
    """A database URL through the pool."""
    for missing in (postgres_support.missing_postgres(), pgbouncer_support.missing_pgbouncer()):
        if missing:
            not_tested(f"NOT TESTED ON PGBOUNCER: {missing}")
    with postgres_support.postgres_server() as base, pgbouncer_support.pgbouncer_before(base) as pool:
        name = postgres_support.create_database(base, "commands").rpartition("/")[2]
        yield f"{pool}/{name}"


def test_every_command_works_through_a_pool_of_transactions(pooled, tmp_path) -> None:
    """Upgrade, sweeps that overlap with the hook, the list, the deletion, ``doctor``: each more than once."""
    files = tmp_path / "files"
    files.mkdir()
    for number, (_, data) in enumerate(sample_pictures(6)):
        (files / f"{number}.webp").write_bytes(data)
    (files / "canary.png").write_bytes(canary_png())
    for path in files.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": pooled,
        "PICTRS_FILES_DIRECTORY": str(files),
        "DETECTORS": "hashes",
        "HOOK_SECRET": "secret-of-the-hook-01",
        "HOOK_PORT": str(port),
    }
    program = [sys.executable, "-m", "lemmy_safety"]

    def run(*arguments, code=0):
        done = subprocess.run(
            [*program, *arguments],
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, said
        assert "prepared statement" not in said
        return said

    run("db", "upgrade")
    run("db", "upgrade")
    hook = subprocess.Popen([*program, "serve"], env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        assert any(re.search(r"listen|http://", line, re.IGNORECASE) for line in hook.stderr)
        for _ in range(2):
            run("--all", "--dry-run")
        assert "canary.png" in run("flagged")
        assert "canary.png" in run("delete-flagged", "--yes")
        run("--all")
        assert "canary.png" not in run("flagged")
        assert "All is well" in run("doctor", "--quick")
        run("db", "stats")
        assert hook.poll() is None
        hook.send_signal(signal.SIGTERM)
        _, said = hook.communicate(timeout=PATIENCE_S)
        assert hook.returncode == 0, said
    finally:
        hook.kill()
        hook.communicate()
    assert not (files / "canary.png").exists()
