#!/bin/bash
# Builds the analysers that `npc reach` is compared with, np-guard's netpol-analyzer and cyclonus, from the Go
# module proxy, and runs the benchmark.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/cluster/env.sh
bench=$CACHE/analysers
mkdir -p "$bench"
build() { # build MODULE VERSION PACKAGE NAME
  [ -x "$bench/$4" ] && return
  module=$(mktemp -d)
  (
    cd "$module"
    printf 'module tools\n\ngo 1.24.0\n' >go.mod
    # The checksum database is not needed for these.
    GOSUMDB=off GOFLAGS=-mod=mod go get "$1/$3@v$2"
    GOSUMDB=off GOFLAGS=-mod=mod go build -o "$bench/$4" "$1/$3"
  )
  rm -rf "$module"
}
build github.com/np-guard/netpol-analyzer 1.2.0 cmd/netpolicy netpolicy
build github.com/mattfenwick/cyclonus 0.5.6 cmd/cyclonus cyclonus
cargo build --release --quiet -p npc
NPC_BENCH_TOOLS=$bench cargo bench --quiet -p npc-tests --bench analysers
