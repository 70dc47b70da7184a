"""A database is its owner's alone, also where the umask would let everyone read it."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from lemmy_safety.ledger import open_ledger, sqlite_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows keeps rights elsewhere")


@pytest.fixture(params=[0o022, 0o000, 0o002])
def _umask(request) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def _modes(folder: Path) -> dict[str, str]:
    return {path.name: f"{stat.S_IMODE(path.stat().st_mode):o}" for path in folder.iterdir() if not path.is_symlink()}


@pytest.mark.usefixtures("_umask")
@pytest.mark.parametrize(
    "url", ["sqlite:///{}/a b.db", "sqlite+pysqlite:///{}/a b.db", "sqlite:///file:{}/a%20b.db?uri=true"]
)
def test_a_new_database_and_what_lies_beside_it_are_for_their_owner(tmp_path, url) -> None:
    """However the file is named, and whatever the umask is, also while it is open."""
    with open_ledger(url.format(tmp_path)):
        modes = _modes(tmp_path)
    assert modes.keys() >= {"a b.db", "a b.db-wal", "a b.db-shm"}
    assert set(modes.values()) == {"600"}


@pytest.mark.usefixtures("_umask")
def test_so_is_a_new_one_behind_a_link(tmp_path) -> None:
    """The link leads to a file that is not there yet."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "x.db").symlink_to(tmp_path / "elsewhere" / "real.db")
    with open_ledger(sqlite_url(tmp_path / "x.db")):
        pass
    assert _modes(tmp_path / "elsewhere")["real.db"] == "600"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660])
def test_an_older_database_keeps_the_mode_that_its_owner_gave_it(tmp_path, mode) -> None:
    """Others may read it on purpose."""
    file = tmp_path / "x.db"
    with open_ledger(sqlite_url(file)):
        pass
    file.chmod(mode)
    with open_ledger(sqlite_url(file)):
        pass
    assert stat.S_IMODE(file.stat().st_mode) == mode
