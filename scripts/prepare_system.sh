#!/usr/bin/env bash
# Looks for what no Python package can bring, and installs it on Debian and Ubuntu when run as root.
# Elsewhere it says what is missing and how to get it.
#
#   scripts/prepare_system.sh python3 venv build                     needed: without them the script fails
#   scripts/prepare_system.sh python3 sshd postgres pgbouncer strace pictrs versitygw nginx
#                                                     wanted: without them some tests are skipped (fails if CI=true)
set -euo pipefail

python=$1
shift
packages=""
needed=""
wanted=""

if ! command -v "$python" >/dev/null; then
    echo "$python was not found. Install Python 3.11 or newer, or name one: make PYTHON=python3.12 ..." >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "$python is $("$python" --version 2>&1); 3.11 or newer is needed. Name one: make PYTHON=python3.12 ..." >&2
    exit 1
fi

has_python_headers() {
    "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
}

for need in "$@"; do
    case $need in
    venv)
        # Debian splits ensurepip off; without it "python3 -m venv" stops half-way.
        if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            needed="$needed venv" packages="$packages python3-venv"
        fi
        ;;
    build)
        # pdqhash has wheels for Windows and macOS only; on Linux its C++ is compiled, which takes seconds.
        if [ "$(uname -s)" = Linux ]; then
            if ! command -v g++ >/dev/null; then
                needed="$needed g++" packages="$packages g++"
            fi
            if ! has_python_headers; then
                needed="$needed Python.h" packages="$packages python3-dev"
            fi
        fi
        ;;
    sshd)
        if ! command -v sshd >/dev/null && [ ! -x /usr/sbin/sshd ]; then
            wanted="$wanted sshd" packages="$packages openssh-server"
        fi
        ;;
    strace)
        if [ "$(uname -s)" = Linux ] && ! command -v strace >/dev/null; then
            wanted="$wanted strace" packages="$packages strace"
        fi
        ;;
    postgres)
        if ! command -v initdb >/dev/null && ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
            wanted="$wanted initdb" packages="$packages postgresql"
        fi
        ;;
    pgbouncer)
        if ! command -v pgbouncer >/dev/null && [ ! -x /usr/sbin/pgbouncer ]; then
            wanted="$wanted pgbouncer" packages="$packages pgbouncer"
        fi
        ;;
    pictrs)
        # What pict-rs calls; scripts/build_pictrs.sh builds pict-rs itself.
        if ! command -v ffmpeg >/dev/null || ! command -v ffprobe >/dev/null; then
            wanted="$wanted ffmpeg" packages="$packages ffmpeg"
        fi
        if ! command -v exiftool >/dev/null; then
            wanted="$wanted exiftool" packages="$packages libimage-exiftool-perl"
        fi
        # ImageMagick 7 calls itself magick; the tests also know how to use 6, which is convert.
        if ! command -v magick >/dev/null && [ ! -x /usr/bin/convert ]; then
            wanted="$wanted ImageMagick" packages="$packages imagemagick"
        fi
        ;;
    versitygw)
        # scripts/build_versitygw.sh builds it, with any Go from 1.19 on, which fetches modules by HTTPS.
        if ! command -v go >/dev/null; then
            wanted="$wanted go" packages="$packages golang-go ca-certificates"
        fi
        ;;
    nginx)
        if ! command -v nginx >/dev/null && [ ! -x /usr/sbin/nginx ]; then
            wanted="$wanted nginx" packages="$packages nginx"
        fi
        ;;
    *)
        echo "prepare_system.sh does not know '$need'." >&2
        exit 2
        ;;
    esac
done

[ -n "$packages" ] || exit 0

if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "Installing with apt-get:$packages"
    export DEBIAN_FRONTEND=noninteractive
    case $packages in
    *postgresql*)
        # The tests start their own throw-away server; Debian's package would create and start one as well.
        mkdir -p /etc/postgresql-common/createcluster.d
        echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/no-main-cluster.conf
        ;;
    esac
    apt-get -qq update
    # shellcheck disable=SC2086  # the list is meant to be split
    apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $packages >/dev/null
    exit 0
fi

{
    echo "=============================================================================="
    echo "Missing on this system:$needed$wanted"
    if command -v apt-get >/dev/null; then
        echo "Install with:  sudo apt-get install$packages"
    else
        echo "Install them with the system's package manager (Debian names:$packages)."
    fi
    [ -z "$wanted" ] || echo "Without$wanted the tests that need them are skipped."
    echo "=============================================================================="
} >&2
if [ -n "$needed" ] || [ "${CI:-}" = true ]; then
    exit 1
fi
