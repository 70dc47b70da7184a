#!/usr/bin/env bash
# Builds the image and runs it as docker-compose.yml says, without a container engine (container_engine.sh). Needs root on
# Debian or Ubuntu, and some minutes.
#
#   scripts/check_container.sh                 always
#   scripts/check_container.sh --if-changed    only if one of the last 10 commits changed what the image is made of
#   scripts/check_container.sh --archive FILE  loads the archive of a release instead of building an image
#
# EXTRAS names the extras in it: "web" by default, which is quick and has no model. So torch and the models are not covered,
# nor are docker's own networks, profiles and restarts. VENV as in make.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/container_engine.sh
. scripts/container_engine.sh

extras=${EXTRAS:-web}
python=${VENV:-.venv}/bin/python

if [ "${1:-}" = --if-changed ]; then
    # Without a history it is checked: what changed is not known.
    if changed=$(git log -10 -m --first-parent --format= --name-only 2>/dev/null) && ! grep -Eq \
        '^(Dockerfile|\.dockerignore|docker-compose\.yml|pyproject\.toml|\.ci/.*|scripts/(check_container\.sh|container_engine\.sh|compose_flags\.py))$' <<<"$changed"; then
        echo "None of the last 10 commits changed what the container image is made of: not checked."
        exit 0
    fi
fi

start_engine checked

layers() { # layers TAG
    "${podman[@]}" image inspect --format '{{range .RootFS.Layers}}{{println .}}{{end}}' "localhost/$1" | grep .
}
check_layers() { # of localhost/lemmy-safety
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
}

if [ "${1:-}" = --archive ]; then
    image=docker.io/library/lemmy-safety
    "${podman[@]}" load --quiet --input "$2" >/dev/null || fail "podman cannot load $2."
    # The other image that docker-compose.yml names.
    "${podman[@]}" image exists docker.io/library/lemmy-safety-relay || fail "$2 has no image lemmy-safety-relay."
    step load
else
    image=localhost/lemmy-safety
    make_base
    build . lemmy-safety
    step build
    check_layers
fi

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

once "$image" --version
once --entrypoint python "$image" -c '
import os, sys
import lemmy_safety.cli.app, lemmy_safety.daemon, lemmy_safety.wiring
cached = {name: getattr(module, "__cached__", None) for name, module in sys.modules.items()}
missing = [name for name, path in cached.items() if path and not os.path.exists(path)]
sys.exit(f"compiled again on each start: {missing}" if missing else 0)'
once "$image" canary -o - >"$work/pictrs/files/canary.png"
chown -R 991:991 "$work/pictrs"
once "$image" doctor | tail -1
once "$image" --all --dry-run >/dev/null 2>&1 || fail "the dry run failed."
once "$image" flagged --json >"$work/flagged.json"
grep -q canary.png "$work/flagged.json" || fail "the canary was not flagged."
once "$image" delete-flagged --yes
[ ! -e "$work/pictrs/files/canary.png" ] || fail "the canary was not deleted."
step commands

"${podman[@]}" run --detach --name daemon "${options[@]}" "$image" >/dev/null
wait_for daemon "pass done"
"${podman[@]}" healthcheck run daemon >/dev/null || fail "the daemon is unhealthy."
code=$(stopped daemon)
[ "$code" = 0 ] || fail "the daemon ended with $code when it was stopped."

# In its first moment the init passes the signal on to a Python that has no handlers yet: then it is the signal's own code.
"${podman[@]}" run --detach --name early "${options[@]}" "$image" >/dev/null
code=$(stopped early)
case $code in 0 | 143) ;; *) fail "the daemon ended with $code when it was stopped in its first moment." ;; esac

"${podman[@]}" run --detach --name wrong "${options[@]}" --env LEMMY_SAFETY_MINUTES=0 "$image" >/dev/null
wait_for wrong "Waiting to be stopped"
! "${podman[@]}" healthcheck run wrong >/dev/null 2>&1 || fail "a service with a wrong setting is healthy."
code=$(stopped wrong)
[ "$code" = 3 ] || fail "the service with a wrong setting ended with $code."
step services
echo "The container image with the extras $(once --entrypoint cat "$image" /venv/image-extras) works as docker-compose.yml runs it."
