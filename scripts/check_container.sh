#!/usr/bin/env bash
# Builds the image and runs it as docker-compose.yml says, without a container engine: with podman and runc, and with a
# Debian made by debootstrap in the place of python:3.x-slim. Needs root on Debian or Ubuntu, and some minutes.
#
#   scripts/check_container.sh                 always
#   scripts/check_container.sh --if-changed    only if one of the last 10 commits changed what the image is made of
#
# EXTRAS names the extras in it: "web" by default, which is quick and has no model. So torch and the models are not covered,
# nor are docker's own networks, profiles and restarts. VENV as in make. The Debian is kept in ~/.cache/lemmy-safety.
set -euo pipefail
cd "$(dirname "$0")/.."

extras=${EXTRAS:-web}
# The release whose Python is this one.
suite=trixie version=3.13
python=${VENV:-.venv}/bin/python
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lemmy-safety
base=$cache/$suite-python.tar

refuse() {
    {
        echo "=============================================================================="
        echo "THE CONTAINER IMAGE WAS NOT CHECKED: $1"
        echo "=============================================================================="
    } >&2
    exit 1
}

fail() {
    echo "check_container.sh: $1" >&2
    exit 1
}

if [ "${1:-}" = --if-changed ]; then
    # Without a history it is checked: what changed is not known.
    if changed=$(git log -10 -m --first-parent --format= --name-only 2>/dev/null) && ! grep -Eq \
        '^(Dockerfile|\.dockerignore|docker-compose\.yml|pyproject\.toml|\.ci/.*|scripts/(check_container\.sh|compose_flags\.py))$' <<<"$changed"; then
        echo "None of the last 10 commits changed what the container image is made of: not checked."
        exit 0
    fi
fi

[ "$(uname -s)" = Linux ] || refuse "that needs Linux."
[ "$(id -u)" = 0 ] || refuse "that needs root. Run: sudo make container"
unshare --mount --pid --fork true 2>/dev/null || refuse "this machine lets root make no namespaces."

step_started=$SECONDS
step() {
    printf -- '--- container: %-12s %4d s\n' "$1" $((SECONDS - step_started))
    step_started=$SECONDS
}

if ! command -v podman >/dev/null || ! command -v runc >/dev/null || ! command -v debootstrap >/dev/null ||
    ! [ -x /usr/libexec/podman/catatonit ] && ! command -v catatonit >/dev/null; then
    command -v apt-get >/dev/null || refuse "podman, runc, catatonit and debootstrap are needed."
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends podman runc conmon catatonit debootstrap >/dev/null
fi
step packages

work=$(mktemp -d /var/tmp/lemmy-safety-container.XXXXXX)
podman=(podman --root "$work/storage" --runroot "$work/run" --storage-driver overlay --cgroup-manager cgroupfs
    --events-backend file)
clean_up() {
    "${podman[@]}" rm --all --force --time 0 >/dev/null 2>&1 || true
    # The storage driver leaves a bind mount.
    umount "$work/storage/overlay" 2>/dev/null || true
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT

if ! [ -e "$base" ]; then
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN)' 2>/dev/null |
        awk '$2 == "Debian" && $1 !~ /security/ { print $1; exit }')
    [ -n "$mirror" ] || refuse "this system's package lists name no mirror of Debian (on Debian: apt-get update)."
    debootstrap --variant=minbase --include=python3,python3-venv,python3-dev,ca-certificates \
        "$suite" "$work/base" "$mirror" >"$work/debootstrap.log" 2>&1 || {
        tail -20 "$work/debootstrap.log" >&2
        fail "debootstrap failed."
    }
    ln -s /usr/bin/python3 "$work/base/usr/local/bin/python"
    rm -rf "$work/base"/var/cache/apt/archives/*.deb "$work/base"/var/lib/apt/lists/*
    # Like the slim image, which has its standard library without bytecode.
    find "$work/base/usr/lib" -name __pycache__ -prune -exec rm -rf {} +
    mkdir -p "$cache"
    tar -C "$work/base" --numeric-owner -cf "$base.new" .
    mv "$base.new" "$base"
    rm -rf "$work/base"
fi
"${podman[@]}" import --quiet "$base" "localhost/python:$version-slim" >/dev/null
step base

# A network may have a proxy with its own certificates: trust what this machine trusts.
echo 'system-certs = true' >"$work/uv.toml"
mounts=(--volume "$work/uv.toml:/etc/uv/uv.toml:ro")
for path in /etc/ssl/certs /usr/local/share/ca-certificates /etc/pip.conf; do
    [ -e "$path" ] && mounts+=(--volume "$path:$path:ro")
done
build() { # build FOLDER TAG
    "${podman[@]}" build --layers --isolation chroot --network host --pull=never \
        --build-arg "PYTHON=$version" --build-arg "EXTRAS=$extras" "${mounts[@]}" --tag "localhost/$2" "$1" \
        >"$work/build.log" 2>&1 || {
        tail -30 "$work/build.log" >&2
        fail "the image could not be built."
    }
}
layers() { # layers TAG
    "${podman[@]}" image inspect --format '{{range .RootFS.Layers}}{{println .}}{{end}}' "localhost/$1" | grep .
}
build . lemmy-safety
step build

# What goes into the image, with one line of code changed.
mkdir "$work/changed"
cp -rp Dockerfile .dockerignore pyproject.toml README.md LICENSE alembic lemmy_safety "$work/changed"
echo "# One line more." >>"$work/changed/lemmy_safety/__init__.py"
build "$work/changed" changed
new=$(comm -13 <(layers lemmy-safety | sort) <(layers changed | sort) | wc -l)
bytes=$("${podman[@]}" history --format json localhost/changed | "$python" -c '
import json, sys
print(next(layer["size"] for layer in json.load(sys.stdin) if "COPY" in layer["CreatedBy"]))')
[ "$new" = 1 ] || fail "one changed line of code makes $new new layers of the image, and not 1."
[ "$bytes" -lt 20000000 ] || fail "one changed line of code makes a new layer of $bytes bytes."
echo "one changed line of code: $new new layer of $((bytes / 1000)) kB"
step rebuild

mapfile -d '' -t service < <("$python" scripts/compose_flags.py lemmy-safety)
[ "${#service[@]}" -gt 0 ] || fail "docker-compose.yml gave no flags."
mkdir -p "$work/pictrs/files"
limit=$(ulimit -Hn)
# No rights of ours go in, and no network: a pict-rs folder is all that it gets.
options=(--network none --runtime runc --ulimit "nofile=$limit:$limit" --ulimit nproc=32768:32768
    "${service[@]}" --env PICTRS_FILES_DIRECTORY=/pictrs/files --env DETECTORS=hashes --volume "$work/pictrs:/pictrs")
once() { "${podman[@]}" run --rm "${options[@]}" "$@"; }
stopped() { # stopped NAME: stops it, and prints the exit code
    local asked=$SECONDS
    "${podman[@]}" stop "$1" >/dev/null
    [ $((SECONDS - asked)) -le 6 ] || fail "the container $1 took $((SECONDS - asked)) s to stop."
    "${podman[@]}" inspect --format '{{.State.ExitCode}}' "$1"
}
wait_for() { # wait_for NAME TEXT: until the container has logged it
    for _ in $(seq 300); do
        case $("${podman[@]}" logs "$1" 2>&1) in *"$2"*) return ;; esac
        sleep 0.2
    done
    "${podman[@]}" logs "$1" >&2
    fail "the container $1 never said: $2"
}

once localhost/lemmy-safety --version
once --entrypoint python localhost/lemmy-safety -c '
import os, sys
import lemmy_safety.cli.app, lemmy_safety.daemon, lemmy_safety.wiring
cached = {name: getattr(module, "__cached__", None) for name, module in sys.modules.items()}
missing = [name for name, path in cached.items() if path and not os.path.exists(path)]
sys.exit(f"compiled again on each start: {missing}" if missing else 0)'
once localhost/lemmy-safety canary -o - >"$work/pictrs/files/canary.png"
chown -R 991:991 "$work/pictrs"
once localhost/lemmy-safety doctor | tail -1
once localhost/lemmy-safety --all --dry-run >/dev/null 2>&1 || fail "the dry run failed."
once localhost/lemmy-safety flagged --json >"$work/flagged.json"
grep -q canary.png "$work/flagged.json" || fail "the canary was not flagged."
once localhost/lemmy-safety delete-flagged --yes
[ ! -e "$work/pictrs/files/canary.png" ] || fail "the canary was not deleted."
step commands

"${podman[@]}" run --detach --name daemon "${options[@]}" localhost/lemmy-safety >/dev/null
wait_for daemon "pass done"
"${podman[@]}" healthcheck run daemon >/dev/null || fail "the daemon is unhealthy."
code=$(stopped daemon)
[ "$code" = 0 ] || fail "the daemon ended with $code when it was stopped."

# In its first moment the init passes the signal on to a Python that has no handlers yet: then it is the signal's own code.
"${podman[@]}" run --detach --name early "${options[@]}" localhost/lemmy-safety >/dev/null
code=$(stopped early)
case $code in 0 | 143) ;; *) fail "the daemon ended with $code when it was stopped in its first moment." ;; esac

"${podman[@]}" run --detach --name wrong "${options[@]}" --env LEMMY_SAFETY_MINUTES=0 localhost/lemmy-safety >/dev/null
wait_for wrong "Waiting to be stopped"
! "${podman[@]}" healthcheck run wrong >/dev/null 2>&1 || fail "a service with a wrong setting is healthy."
code=$(stopped wrong)
[ "$code" = 3 ] || fail "the service with a wrong setting ended with $code."
step services
echo "The container image with the extras $extras works as docker-compose.yml runs it."
