"""How the gate comes by a real pict-rs. cargo is a stand-in that writes a small program: a real build takes minutes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.pictrs_process import COMING, STABLE, require_pictrs

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pict-rs is built on POSIX systems only")

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "build_pictrs.sh"

_CARGO = """#!/bin/sh
echo "$@" >>"$CALLS"
while [ $# -gt 0 ]; do
    case $1 in --root) root=$2 ;; --target-dir) touch "$2/object-file" ;; esac
    shift
done
mkdir -p "$root/bin"
printf '#!/bin/sh\\nexit %s\\n' "${EXIT_OF_PROGRAM:-0}" >"$root/bin/pict-rs"
chmod 755 "$root/bin/pict-rs"
"""


@pytest.fixture
def build(tmp_path):
    """A function that runs the script in an empty folder; ``calls`` are cargo's arguments so far."""
    programs, calls, scratch = tmp_path / "programs", tmp_path / "calls", tmp_path / "scratch"
    for folder in (programs, scratch):
        folder.mkdir()
    for name in ("bash", "sh", "mktemp", "rm", "mkdir", "touch", "chmod"):
        (programs / name).symlink_to(shutil.which(name))
    calls.touch()

    def run(*arguments: str, cargo: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        found = programs / "cargo"
        found.unlink(missing_ok=True)
        if cargo:
            found.write_text(_CARGO)
            found.chmod(0o755)
        environment = {"PATH": str(programs), "PICTRS_BUILDS": str(tmp_path / "builds"), "TMPDIR": str(scratch), **more}
        done = subprocess.run(
            ["bash", SCRIPT, *arguments],
            env={**environment, "CALLS": str(calls)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not list(scratch.iterdir()), "a build folder was left behind"
        return done

    run.calls = lambda: calls.read_text().splitlines()
    run.program = tmp_path / "builds" / f"pict-rs-{STABLE}" / "bin" / "pict-rs"
    return run


def test_pictrs_is_built_once(build):
    """The first call builds the tested version, by its lock file; the second one does nothing."""
    assert build(CI="true").returncode == 0
    (call,) = build.calls()
    assert {"install", "--debug", "--locked"} <= set(call.split())
    assert call.endswith(f"pict-rs --version {STABLE}")
    assert build(CI="true").returncode == 0
    assert len(build.calls()) == 1


def test_another_version_is_built_beside_it(build, tmp_path):
    """Each version has its own folder."""
    assert build().returncode == 0
    assert build(COMING).returncode == 0
    assert {path.name for path in (tmp_path / "builds").iterdir()} == {f"pict-rs-{STABLE}", f"pict-rs-{COMING}"}


def test_a_program_that_does_not_run_is_built_once_more(build):
    """As after an update of the system, or a build that was broken off; what still does not run is an error."""
    build.program.parent.mkdir(parents=True)
    build.program.write_text("no program")
    assert build().returncode == 0
    assert len(build.calls()) == 1
    build.program.write_text("no program")
    done = build(EXIT_OF_PROGRAM="1")
    assert done.returncode == 1
    assert "does not run" in done.stderr


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_without_cargo_the_gate_fails_and_a_laptop_goes_on(build, ci, code):
    """Either way it says what is missing."""
    done = build(cargo=False, CI=ci)
    assert done.returncode == code
    assert "cargo was not found" in done.stderr
    assert not build.program.exists()


@pytest.mark.parametrize(
    ("ci", "version", "outcome"),
    [
        ("true", STABLE, pytest.fail.Exception),
        ("", STABLE, pytest.skip.Exception),
        ("true", COMING, pytest.skip.Exception),
    ],
)
def test_a_missing_pictrs_fails_in_ci_and_is_skipped_loudly_elsewhere(monkeypatch, tmp_path, ci, version, outcome):
    """Only the version that the gate builds must be there."""
    monkeypatch.setenv("PICTRS_BUILDS", str(tmp_path))
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match=f"NOT TESTED WITH A REAL pict-rs {version}"):
        require_pictrs(version)
