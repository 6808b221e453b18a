#!/bin/bash
# Builds what the tests are judged by, from the Go module proxy, into the cache: Kubernetes' API server
# and kubectl, Kyverno's command line and its controllers. What is there already stays.
source "$(dirname "$0")/env.sh"

# in_module FOLDER: a module of our own, since neither project can be installed by `go install`.
kubernetes="cmd/kube-apiserver cmd/kubectl cmd/kube-controller-manager cmd/kube-scheduler cmd/kubelet cmd/kube-proxy test/images/agnhost"
missing=
for command in $kubernetes; do [ -x "$TOOLS/${command##*/}" ] || missing=yes; done
if [ -n "$missing" ]; then
  echo "building Kubernetes $KUBERNETES_VERSION"
  module=$(mktemp -d)
  cd "$module"
  source_folder=$(go mod download -json "k8s.io/kubernetes@v$KUBERNETES_VERSION" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  {
    printf 'module tools\n\ngo 1.25.0\n\nrequire k8s.io/kubernetes v%s\n\nreplace (\n' "$KUBERNETES_VERSION"
    # Its own go.mod points at folders that the proxy does not serve: their releases stand in.
    sed -n 's/^\t*\(k8s\.io\/[^ ]*\) => \.\/staging.*/\1/p' "$source_folder/go.mod" |
      while read -r name; do printf '\t%s => %s v0.%s\n' "$name" "$name" "${KUBERNETES_VERSION#*.}"; done
    echo ')'
  } >go.mod
  { printf '//go:build tools\n\npackage tools\n\n'; for command in $kubernetes; do echo "import _ \"k8s.io/kubernetes/$command\""; done; } >tools.go
  go mod tidy 2>/dev/null
  minor=$(echo "$KUBERNETES_VERSION" | cut -d. -f2)
  stamp="-s -w -X k8s.io/component-base/version.gitVersion=v$KUBERNETES_VERSION -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$minor"
  for command in $kubernetes; do
    [ -x "$TOOLS/${command##*/}" ] ||
      CGO_ENABLED=0 go build -trimpath -ldflags "$stamp" -o "$TOOLS/" "k8s.io/kubernetes/$command"
  done
  cd / && rm -rf "$module"
fi

commands="cli/kubectl-kyverno kyverno background-controller"
missing=
for command in $commands; do [ -x "$TOOLS/kyverno/${command##*/}" ] || missing=yes; done
if [ -n "$missing" ] || [ ! -d "$TOOLS/kyverno/config" ]; then
  echo "building Kyverno $KYVERNO_VERSION"
  mkdir -p "$TOOLS/kyverno"
  module=$(mktemp -d)
  cd "$module"
  go_mod=$(go mod download -json "github.com/kyverno/kyverno@v$KYVERNO_VERSION" | sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p')
  { echo 'module tools'; grep '^go ' "$go_mod"; echo "require github.com/kyverno/kyverno v$KYVERNO_VERSION"; grep '^replace ' "$go_mod"; } >go.mod
  { printf '//go:build tools\n\npackage tools\n\n'; for command in $commands; do echo "import _ \"github.com/kyverno/kyverno/cmd/$command\""; done; } >tools.go
  go mod tidy 2>/dev/null
  for command in $commands; do
    CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X github.com/kyverno/kyverno/pkg/version.BuildVersion=v$KYVERNO_VERSION" -o "$TOOLS/kyverno/" "github.com/kyverno/kyverno/cmd/$command"
  done
  rm -rf "$TOOLS/kyverno/config"
  cp -r "$(go list -m -f '{{.Dir}}' github.com/kyverno/kyverno)/config" "$TOOLS/kyverno/"
  chmod -R u+w "$TOOLS/kyverno/config"
  cd / && rm -rf "$module"
fi

if [ ! -x "$TOOLS/helm" ]; then
  echo "building Helm $HELM_VERSION"
  module=$(mktemp -d)
  cd "$module"
  printf 'module tools\n\ngo 1.25.0\n\nrequire helm.sh/helm/v3 v%s\n' "$HELM_VERSION" >go.mod
  printf '//go:build tools\n\npackage tools\n\nimport _ "helm.sh/helm/v3/cmd/helm"\n' >tools.go
  go mod tidy 2>/dev/null
  CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$TOOLS/" helm.sh/helm/v3/cmd/helm
  cd / && rm -rf "$module"
fi

definition=$TOOLS/cluster-network-policy-$NETWORK_POLICY_API_VERSION.yaml
if [ ! -s "$definition" ]; then
  echo "fetching the definition of ClusterNetworkPolicy $NETWORK_POLICY_API_VERSION"
  folder=$(cd / && go mod download -json "sigs.k8s.io/network-policy-api@v$NETWORK_POLICY_API_VERSION" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  cp "$folder/config/crd/standard/policy.networking.k8s.io_clusternetworkpolicies.yaml" "$definition"
  chmod u+w "$definition"
fi
