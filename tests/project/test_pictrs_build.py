"""How the gate comes by a real pict-rs. cargo is a stand-in that writes a small program: a real build takes minutes."""

from __future__ import annotations

import os

import pytest
from support.servers.build_scripts import SCRIPTS, BuildScript, default_version
from support.servers.pictrs_process import COMING, STABLE, require_pictrs

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pict-rs is built on POSIX systems only")

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
    """The script, to be run."""
    return BuildScript(tmp_path, "build_pictrs.sh", ("cargo", _CARGO))


@pytest.fixture
def program(build):
    return build.builds / f"pict-rs-{STABLE}" / "bin" / "pict-rs"


def test_pictrs_is_built_once(build):
    """The first call builds the tested version, by its lock file; the second one does nothing."""
    assert build(CI="true").returncode == 0
    (call,) = build.calls()
    assert {"install", "--debug", "--locked"} <= set(call.split())
    assert call.endswith(f"pict-rs --version {STABLE}")
    assert build(CI="true").returncode == 0
    assert len(build.calls()) == 1


def test_another_version_is_built_beside_it(build):
    """Each version has its own folder."""
    assert build().returncode == 0
    assert build(COMING).returncode == 0
    assert {path.name for path in build.builds.iterdir()} == {f"pict-rs-{STABLE}", f"pict-rs-{COMING}"}


def test_a_program_that_does_not_run_is_built_once_more(build, program):
    """As after an update of the system, or a build that was broken off; what still does not run is an error."""
    program.parent.mkdir(parents=True)
    program.write_text("no program")
    assert build().returncode == 0
    assert len(build.calls()) == 1
    program.write_text("no program")
    done = build(EXIT_OF_PROGRAM="1")
    assert done.returncode == 1
    assert "does not run" in done.stderr


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_without_cargo_the_gate_fails_and_a_laptop_goes_on(build, program, ci, code):
    """Either way it says what is missing."""
    done = build(compiler=False, CI=ci)
    assert done.returncode == code
    assert "cargo was not found" in done.stderr
    assert not program.exists()


@pytest.mark.parametrize("version", [STABLE, COMING])
@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_pictrs_fails_in_ci_and_is_skipped_loudly_elsewhere(monkeypatch, tmp_path, ci, version, outcome):
    """Either way with the command that builds it."""
    monkeypatch.setenv("SERVER_BUILDS", str(tmp_path))
    monkeypatch.setenv("CI", ci)
    with pytest.raises(
        outcome, match=rf"NOT TESTED WITH A REAL pict-rs {version}: .*bash scripts/build_pictrs\.sh {version}"
    ):
        require_pictrs(version)


def test_both_versions_are_built_by_make():
    """What is tested with a version is never skipped for want of it."""
    makefile = (SCRIPTS.parent / "Makefile").read_text(encoding="utf-8")
    assert default_version("build_pictrs.sh") == STABLE
    assert f"\tbash scripts/build_pictrs.sh {COMING}\n" in makefile
