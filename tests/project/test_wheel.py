"""What travels in the wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import lemmy_safety

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built without the network by the build backend that the test extra installs."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_wheel_carries_the_migrations(wheel):
    """Every migration of alembic/ travels inside the package, so that an installed daemon can upgrade its database."""
    sources = {path.relative_to(ROOT / "alembic").as_posix() for path in (ROOT / "alembic").rglob("*.py")}
    packed = {name.removeprefix("lemmy_safety/ledger/alembic/") for name in wheel.namelist()}
    assert any(source.startswith("versions/") for source in sources)
    assert sources <= packed


def test_wheel_carries_the_package_and_nothing_else(wheel):
    """Every module is packed, and no test, script or cache is."""
    names = wheel.namelist()
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lemmy_safety").rglob("*.py")}
    assert modules <= set(names)
    assert {name.partition("/")[0] for name in names} == {
        "lemmy_safety",
        f"lemmy_safety-{lemmy_safety.__version__}.dist-info",
    }
    assert not [name for name in names if "__pycache__" in name or name.endswith(".db")]


def test_wheel_names_licence_command_and_no_torch_by_default(wheel):
    """The metadata carry the licence and the command, and torch is asked for by extras only."""
    info = f"lemmy_safety-{lemmy_safety.__version__}.dist-info"
    metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
    assert metadata["License-Expression"] == "AGPL-3.0-or-later"
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    assert "lemmy-safety = lemmy_safety.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    needed = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert needed
    assert not [line for line in needed if line.startswith(("torch", "open", "horde", "nudenet", "onnxruntime"))]


def test_changelog_tells_of_this_version():
    """The newest numbered heading of CHANGELOG.md is the package's version."""
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    headings = [line for line in lines if line.startswith("## [") and line != "## [Unreleased]"]
    assert headings
    assert headings[0].startswith(f"## [{lemmy_safety.__version__}] - ")
