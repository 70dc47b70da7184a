#!/usr/bin/env bash
# Builds a real pict-rs for the tests, once: minutes the first time, nothing after that. Needs Rust's cargo.
#
#   scripts/build_pictrs.sh               the version that the gate tests with
#   scripts/build_pictrs.sh 0.6.0-rc.6    another one; its tests run where it was built
#
# The program goes to ~/.cache/lemmy-safety/pict-rs-VERSION/bin (SERVER_BUILDS names another folder than
# ~/.cache/lemmy-safety). Without cargo those tests are skipped; with CI=true that is an error.
set -euo pipefail

version=${1:-0.5.25}
root="${SERVER_BUILDS:-${XDG_CACHE_HOME:-$HOME/.cache}/lemmy-safety}/pict-rs-$version"
program="$root/bin/pict-rs"

runs() {
    "$program" --version >/dev/null 2>&1
}

if runs; then
    exit 0
fi

if ! command -v cargo >/dev/null; then
    {
        echo "=============================================================================="
        echo "cargo was not found, so pict-rs $version cannot be built. Install Rust (rustup.rs)."
        echo "Without pict-rs the tests that need it are skipped."
        echo "=============================================================================="
    } >&2
    if [ "${CI:-}" = true ]; then
        exit 1
    fi
    exit 0
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
echo "Building pict-rs $version into $root (once; some minutes)"
# A debug build takes a third of the time and is fast enough here. --force: an earlier build may be there and not run.
CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 cargo install --quiet --debug --locked --force \
    --target-dir "$scratch" --root "$root" pict-rs --version "$version"
if ! runs; then
    echo "$program was built and does not run: $("$program" --version 2>&1)" >&2
    exit 1
fi
