#!/usr/bin/env bash
# Builds the image of a release and saves it as an archive for "docker load" and "podman load".
#
#   EXTRAS=web,postgres scripts/build_image.sh VERSION FILE.tar.zst
#
# With docker, if its engine runs, on python:3.x-slim. Elsewhere on a Debian made by debootstrap (container_engine.sh), and
# then the last line says so.
set -euo pipefail
release=$1 archive=$(realpath "$2")
extras=${EXTRAS:?names the extras in the image}
cd "$(dirname "$0")/.."
# shellcheck source=scripts/container_engine.sh
. scripts/container_engine.sh

# The names that docker-compose.yml gives its two images: one image serves both.
names=("docker.io/library/lemmy-safety:$release" docker.io/library/lemmy-safety:latest
    docker.io/library/lemmy-safety-relay:latest)

command -v zstd >/dev/null || fail "zstd is needed. On Debian: apt install zstd"
if docker info >/dev/null 2>&1; then
    engine=(docker)
    docker build --pull --build-arg "EXTRAS=$extras" --tag "${names[0]}" .
    made_on="python:$(sed -n 's/^ARG PYTHON=//p' Dockerfile)-slim"
else
    start_engine built
    make_base
    build . lemmy-safety
    engine=("${podman[@]}")
    "${engine[@]}" tag localhost/lemmy-safety "${names[0]}"
    made_on="Debian $suite made by debootstrap, not on python:$version-slim, because no docker engine runs here"
    step build
fi
for name in "${names[@]:1}"; do
    "${engine[@]}" tag "${names[0]}" "$name"
done
# Docker reads it from version 23 on. Not gzip: podman 4.3, which Debian 12 has, cannot load that.
"${engine[@]}" save "${names[@]}" | zstd --quiet -9 -T0 >"$archive"
step save
echo "Image with the extras $extras, on $made_on."
