"""How the gate comes by versitygw. go is a stand-in that writes a small program: a real build takes minutes."""

from __future__ import annotations

import os

import pytest
from support.servers.build_scripts import BuildScript, default_version
from support.servers.s3 import running
from support.servers.versitygw import VERSION, Versitygw, VersitygwUnavailable

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the suite starts versitygw on POSIX systems only")

#: A Go that installs a program, and that can fetch a newer Go: itself, under another version.
_GO = """#!/bin/sh
echo "${FETCHED:-$GO_VERSION} $@" >>"$CALLS"
case "$1 $2" in
"env GOVERSION") echo "$GO_VERSION" ;;
"env GOOS") echo linux ;;
"env GOARCH") echo amd64 ;;
"mod download")
    goroot="$GOPATH/pkg/mod/$3"
    mkdir -p "$goroot/bin" "$goroot/pkg/tool/linux_amd64" "$goroot/src"
    touch "$goroot/pkg/tool/linux_amd64/compile" "$goroot/src/_go.mod"
    { echo "#!/bin/sh"; echo "FETCHED=newer exec '$0' \\"\\$@\\""; } >"$goroot/bin/go"
    ;;
install\\ *)
    if [ -n "$FETCHED" ]; then
        [ -x "$GOROOT/pkg/tool/linux_amd64/compile" ] && [ -e "$GOROOT/src/go.mod" ] || exit 2
    fi
    mkdir -p "$GOBIN" "$GOCACHE"
    printf '#!/bin/sh\\nexit %s\\n' "${EXIT_OF_PROGRAM:-0}" >"$GOBIN/versitygw"
    chmod 755 "$GOBIN/versitygw"
    ;;
esac
"""

NEW = {"GO_VERSION": "go1.26.8"}


@pytest.fixture
def build(tmp_path):
    """The script, to be run."""
    return BuildScript(tmp_path, "build_versitygw.sh", ("go", _GO))


@pytest.fixture
def program(build):
    return build.builds / f"versitygw-{VERSION}" / "bin" / "versitygw"


def installs(build) -> list[str]:
    return [call for call in build.calls() if " install " in call]


def test_versitygw_is_built_once(build, program):
    """The first call builds the tested version; the second one does nothing."""
    assert build(CI="true", **NEW).returncode == 0
    (call,) = installs(build)
    assert call.startswith("go1.26.8 ")
    assert call.endswith(f"github.com/versity/versitygw/cmd/versitygw@v{VERSION}")
    assert program.exists()
    assert build(CI="true", **NEW).returncode == 0
    assert len(installs(build)) == 1


@pytest.mark.parametrize(("version", "fetches"), [("go1.19.8", True), ("go1.21.0", False), ("devel go1.27-x", False)])
def test_an_old_go_fetches_a_newer_one_to_build_with(build, version, fetches):
    """Debian 12's Go cannot do that by itself; a later one can, and is left to it."""
    done = build(GO_VERSION=version)
    assert done.returncode == 0, done.stderr
    assert any(" mod download golang.org/toolchain@" in call for call in build.calls()) is fetches
    assert installs(build)[0].startswith("newer " if fetches else version)


def test_a_program_that_does_not_run_is_built_once_more(build, program):
    """As after an update of the system, or a build that was broken off; what still does not run is an error."""
    program.parent.mkdir(parents=True)
    program.write_text("no program")
    assert build(**NEW).returncode == 0
    assert len(installs(build)) == 1
    program.write_text("no program")
    done = build(EXIT_OF_PROGRAM="1", **NEW)
    assert done.returncode == 1
    assert "does not run" in done.stderr


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_without_go_the_gate_fails_and_a_laptop_goes_on(build, program, ci, code):
    """Either way it says what is missing."""
    done = build(compiler=False, CI=ci)
    assert done.returncode == code
    assert "go was not found" in done.stderr
    assert not program.exists()


def test_the_gate_builds_the_version_that_is_tested():
    """The script without a version builds the one that the tests look for."""
    assert default_version("build_versitygw.sh") == VERSION


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_versitygw_fails_in_ci_and_is_skipped_loudly_elsewhere(monkeypatch, tmp_path, ci, outcome):
    """Either way with the command that builds it."""
    monkeypatch.setenv("SERVER_BUILDS", str(tmp_path))
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match=r"NOT TESTED AGAINST .* versitygw .*bash scripts/build_versitygw\.sh"):
        next(running(Versitygw, "versitygw", VersitygwUnavailable))
