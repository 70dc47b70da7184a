#!/usr/bin/env bash
# Builds versitygw, the second S3 server of the tests; build_once.sh says where. Needs Go.
#
#   scripts/build_versitygw.sh            the version that the gate tests with
#   scripts/build_versitygw.sh 1.7.0      another one
source "$(dirname "$0")/build_once.sh"

version=${1:-1.8.0}
# What an old Go fetches to build with.
newer_go=1.26.8

build() {
    cd "$scratch"
    # Nothing of the build stays, so it neither reads nor fills the user's own caches. No C compiler is needed.
    export GOPATH="$scratch/go" GOCACHE="$scratch/cache" GOFLAGS=-modcacherw GOTOOLCHAIN=auto CGO_ENABLED=0
    unset GOMODCACHE
    local go=go
    # From 1.21 on, Go fetches a newer Go where a module asks for it. Debian 12 has 1.19: it fetches the same module by
    # hand. A module's files cannot be executable, and a go.mod inside it is named _go.mod.
    if [[ $(go env GOVERSION) =~ ^go1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -lt 21 ]; then
        local module
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
        return 1
    fi
}

build_once versitygw "$version" go "Go (go.dev/dl)"
