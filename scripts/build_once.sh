# Builds a server for the tests, once: minutes the first time, nothing after that. Sourced by the script of each server,
# which defines `build`: it works in "$scratch", an empty folder, and leaves its program in "$root/bin".
#
# The program goes to ~/.cache/lemmy-safety/NAME-VERSION/bin (SERVER_BUILDS names another folder than
# ~/.cache/lemmy-safety). Without the compiler those tests are skipped; with CI=true that is an error.
set -euo pipefail

# build_once NAME VERSION COMPILER "LANGUAGE (where to get it)"
build_once() {
    local name=$1 version=$2 compiler=$3 language=$4
    root="${SERVER_BUILDS:-${XDG_CACHE_HOME:-$HOME/.cache}/lemmy-safety}/$name-$version"
    local program="$root/bin/$name"

    if "$program" --version >/dev/null 2>&1; then
        return
    fi
    if ! command -v "$compiler" >/dev/null; then
        {
            echo "=============================================================================="
            echo "$compiler was not found, so $name $version cannot be built. Install $language."
            echo "Without $name the tests that need it are skipped."
            echo "=============================================================================="
        } >&2
        [ "${CI:-}" != true ]
        return
    fi
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    echo "Building $name $version into $root (once; some minutes)"
    build
    if ! "$program" --version >/dev/null 2>&1; then
        echo "$program was built and does not run: $("$program" --version 2>&1)" >&2
        return 1
    fi
}
