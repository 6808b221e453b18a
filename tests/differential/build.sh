#!/bin/bash
# Builds the engines that tests/suites/differential.rs asks, from the Go module proxy, into the cache.
# What was built of the same sources stays.
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../cluster/env.sh"
mkdir -p "$TOOLS/differential"
for engine in cyclonus calico cilium; do
  sources=$(cat "$here/engine"/*.go "$here/$engine"/*.go "$here/$engine/go.mod" | sha256sum | cut -c 1-16)
  stamp=$TOOLS/differential/$engine.$sources
  [ -x "$TOOLS/differential/$engine" ] && [ -e "$stamp" ] && continue
  echo "building the engine of $engine"
  (cd "$here/$engine" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$TOOLS/differential/$engine" .)
  rm -f "$TOOLS/differential/$engine".*
  touch "$stamp"
done
