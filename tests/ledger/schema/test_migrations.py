"""Where the migrations are found: in the source tree, in an installed package, and by alembic itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lemmy_safety
from lemmy_safety.errors import (
    LedgerError,
)
from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.ledger.schema.migrations import script_location


def test_the_migrations_are_found_in_an_installed_package(tmp_path) -> None:
    """Where a wheel puts them: inside the package, with no source tree around."""
    source = Path(lemmy_safety.__file__).parent
    shutil.copytree(source, tmp_path / "lemmy_safety", ignore=shutil.ignore_patterns("__pycache__", "alembic"))
    shutil.copytree(script_location(), tmp_path / "lemmy_safety" / "ledger" / "alembic")
    code = (
        "import lemmy_safety, lemmy_safety.ledger as l, lemmy_safety.ledger.schema.migrations as m, pathlib\n"
        "print(m.script_location())\n"
        "print(l.open_ledger(l.sqlite_url(pathlib.Path('a.db'))).maintenance.schema_version())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [str(tmp_path / "lemmy_safety" / "ledger" / "alembic"), "('0015', '0015')"]


def test_a_package_without_migrations_says_so(tmp_path) -> None:
    """Someone packed it incompletely."""
    with pytest.raises(LedgerError, match="migrations are missing"):
        script_location(tmp_path / "lemmy_safety" / "ledger")


def test_alembic_on_the_command_line_uses_the_settings(tmp_path) -> None:
    """For developers: a database named by SQLITE_FILENAME, and no changes of the models without a migration."""
    root = script_location().parent
    if not (root / "pyproject.toml").exists():
        pytest.skip("there is no source tree around the migrations")
    environment = {**os.environ, "SQLITE_FILENAME": str(tmp_path / "dev.db")}
    for command in (["upgrade", "head"], ["check"]):
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *command],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    with open_ledger(sqlite_url(tmp_path / "dev.db")) as ledger:
        assert ledger.maintenance.schema_version() == ("0015", "0015")
