#!/usr/bin/env bash
# Builds versitygw, the second S3 server of the tests, once: minutes the first time, nothing after that. Needs Go.
#
#   scripts/build_versitygw.sh            the version that the gate tests with
#   scripts/build_versitygw.sh 1.7.0      another one
#
# The program goes to ~/.cache/lemmy-safety/versitygw-VERSION/bin (SERVER_BUILDS names another folder than
# ~/.cache/lemmy-safety). Without Go those tests are skipped; with CI=true that is an error.
set -euo pipefail

version=${1:-1.8.0}
root="${SERVER_BUILDS:-${XDG_CACHE_HOME:-$HOME/.cache}/lemmy-safety}/versitygw-$version"
program="$root/bin/versitygw"
# What an old Go fetches to build with.
newer_go=1.26.8

runs() {
    "$program" --version >/dev/null 2>&1
}

if runs; then
    exit 0
fi

if ! command -v go >/dev/null; then
    {
        echo "=============================================================================="
        echo "Go was not found, so versitygw $version cannot be built. Install Go (go.dev/dl)."
        echo "Without versitygw the tests that need it are skipped."
        echo "=============================================================================="
    } >&2
    if [ "${CI:-}" = true ]; then
        exit 1
    fi
    exit 0
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
# Nothing of the build stays, so it neither reads nor fills the user's own caches. No C compiler is needed.
export GOPATH="$scratch/go" GOCACHE="$scratch/cache" GOFLAGS=-modcacherw GOTOOLCHAIN=auto CGO_ENABLED=0
unset GOMODCACHE
echo "Building versitygw $version into $root (once; some minutes)"

go=go
# From 1.21 on, Go fetches a newer Go where a module asks for it. Debian 12 has 1.19: it fetches the same module by hand.
# A module's files cannot be executable, and a go.mod inside it is named _go.mod.
if [[ $(go env GOVERSION) =~ ^go1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -lt 21 ]; then
    module="golang.org/toolchain@v0.0.1-go$newer_go.$(go env GOOS)-$(go env GOARCH)"
    go mod download "$module"
    export GOROOT="$GOPATH/pkg/mod/$module"
    chmod u+x "$GOROOT"/bin/* "$GOROOT"/pkg/tool/*/*
    find "$GOROOT" -name _go.mod -execdir mv {} go.mod \;
    go="$GOROOT/bin/go"
fi
# Go has no --quiet, and names every module that it fetches.
if ! GOBIN="$root/bin" "$go" install -ldflags="-s -w" "github.com/versity/versitygw/cmd/versitygw@v$version" 2>log; then
    cat log >&2
    exit 1
fi
if ! runs; then
    echo "$program was built and does not run: $("$program" --version 2>&1)" >&2
    exit 1
fi
