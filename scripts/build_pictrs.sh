#!/usr/bin/env bash
# Builds a real pict-rs for the tests; build_once.sh says where. Needs Rust's cargo.
#
#   scripts/build_pictrs.sh               the version that the gate tests with
#   scripts/build_pictrs.sh 0.6.0-rc.6    another one; its tests run where it was built
source "$(dirname "$0")/build_once.sh"

version=${1:-0.5.25}

build() {
    # A debug build takes a third of the time and is fast enough here. --force: an earlier build may be there and not run.
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 cargo install --quiet --debug --locked --force \
        --target-dir "$scratch" --root "$root" pict-rs --version "$version"
}

build_once pict-rs "$version" cargo "Rust (rustup.rs)"
