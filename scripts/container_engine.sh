# shellcheck shell=bash
# Sourced by check_container.sh and build_image.sh: builds images where there is no container engine, with podman and runc,
# and with a Debian made by debootstrap in the place of python:3.x-slim. Needs root on Debian or Ubuntu. The Debian is kept
# in ~/.cache/lemmy-safety.
#
#   start_engine VERB    $work, a folder that is removed at the end, and "${podman[@]}"; VERB is what fails without it
#   make_base            the image localhost/python:$version-slim
#   build FOLDER TAG     the image localhost/TAG, with the extras in $extras

# The release whose Python is this one.
suite=trixie version=3.13
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lemmy-safety
base=$cache/$suite-base.tar

refuse() {
    {
        echo "=============================================================================="
        echo "THE CONTAINER IMAGE WAS NOT ${verb^^}: $1"
        echo "=============================================================================="
    } >&2
    exit 1
}

fail() {
    echo "$(basename "$0"): $1" >&2
    exit 1
}

step_started=$SECONDS
step() {
    printf -- '--- container: %-12s %4d s\n' "$1" $((SECONDS - step_started))
    step_started=$SECONDS
}

start_engine() {
    verb=$1
    [ "$(uname -s)" = Linux ] || refuse "that needs Linux."
    [ "$(id -u)" = 0 ] || refuse "that needs root. Run it with sudo."
    unshare --mount --pid --fork true 2>/dev/null || refuse "this machine lets root make no namespaces."
    if ! command -v podman >/dev/null || ! command -v runc >/dev/null || ! command -v debootstrap >/dev/null ||
        ! [ -x /usr/libexec/podman/catatonit ] && ! command -v catatonit >/dev/null; then
        command -v apt-get >/dev/null || refuse "podman, runc, catatonit and debootstrap are needed."
        export DEBIAN_FRONTEND=noninteractive
        apt-get -qq update
        apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends \
            podman runc conmon catatonit debootstrap >/dev/null
    fi
    work=$(mktemp -d /var/tmp/lemmy-safety-container.XXXXXX)
    podman=(podman --root "$work/storage" --runroot "$work/run" --storage-driver overlay --cgroup-manager cgroupfs
        --events-backend file)
    trap clean_up EXIT
    step packages
}

clean_up() {
    "${podman[@]}" rm --all --force --time 0 >/dev/null 2>&1 || true
    # The storage driver leaves a bind mount.
    umount "$work/storage/overlay" 2>/dev/null || true
    rm -rf --one-file-system "$work"
}

make_base() {
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN)' 2>/dev/null |
        awk '$2 == "Debian" && $1 !~ /security/ { print $1; exit }')
    [ -n "$mirror" ] || refuse "this system's package lists name no mirror of Debian (on Debian: apt-get update)."
    if ! [ -e "$base" ]; then
        debootstrap --variant=minbase --include=python3,python3-venv,python3-dev,ca-certificates \
            "$suite" "$work/base" "$mirror" >"$work/debootstrap.log" 2>&1 || {
            tail -20 "$work/debootstrap.log" >&2
            fail "debootstrap failed."
        }
        ln -s /usr/bin/python3 "$work/base/usr/local/bin/python"
        rm -rf "$work/base"/var/cache/apt/archives/*.deb "$work/base"/var/lib/apt/lists/* "$work/base"/var/log/*
        # Names and addresses of this machine and its network.
        truncate --size 0 "$work/base"/etc/{hosts,hostname,resolv.conf,apt/sources.list}
        # Like the slim image, which has its standard library without bytecode.
        find "$work/base/usr/lib" -name __pycache__ -prune -exec rm -rf {} +
        mkdir -p "$cache"
        tar -C "$work/base" --numeric-owner -cf "$base.new" .
        mv "$base.new" "$base"
        rm -rf "$work/base"
    fi
    "${podman[@]}" import --quiet "$base" "localhost/python:$version-slim" >/dev/null
    # A network may have a proxy with its own certificates: trust what this machine trusts.
    echo 'system-certs = true' >"$work/uv.toml"
    echo "deb $mirror $suite main" >"$work/sources.list"
    mounts=(--volume "$work/uv.toml:/etc/uv/uv.toml:ro" --volume "$work/sources.list:/etc/apt/sources.list:ro")
    for path in /etc/ssl/certs /usr/local/share/ca-certificates /etc/pip.conf; do
        [ -e "$path" ] && mounts+=(--volume "$path:$path:ro")
    done
    step base
}

build() {
    "${podman[@]}" build --layers --isolation chroot --network host --pull=never \
        --build-arg "PYTHON=$version" --build-arg "EXTRAS=$extras" "${mounts[@]}" --tag "localhost/$2" "$1" \
        >"$work/build.log" 2>&1 || {
        tail -30 "$work/build.log" >&2
        fail "the image could not be built."
    }
}
