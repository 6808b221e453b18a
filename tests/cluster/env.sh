# Sourced by the scripts here: where things are, and how processes are started and stopped.
set -euo pipefail
KUBERNETES_VERSION=${KUBERNETES_VERSION:-1.35.4}
KYVERNO_VERSION=${KYVERNO_VERSION:-1.19.1}
NETWORK_POLICY_API_VERSION=${NETWORK_POLICY_API_VERSION:-0.2.0}
HELM_VERSION=${HELM_VERSION:-3.21.4}
# Slow builds stay outside the checkout.
CACHE=${NPC_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/npc}
TOOLS=$CACHE/bin
# What a run of the cluster leaves behind.
STATE=${NPC_TEST_STATE:-$CACHE/cluster}
mkdir -p "$TOOLS" "$STATE"
export KUBECONFIG=$STATE/kubeconfig
export PATH=$TOOLS:$PATH

# start NAME COMMAND...: in the background, with its log and process id in $STATE.
start() {
  local name=$1; shift
  "$@" >"$STATE/$name.log" 2>&1 </dev/null &
  echo $! >"$STATE/$name.pid"
}

# stop NAME: asks, waits five seconds, insists.
stop() {
  local pid
  pid=$(cat "$STATE/$1.pid" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$STATE/$1.pid"
}

# until_ready SECONDS COMMAND...: waits until the command succeeds.
until_ready() {
  local seconds=$1; shift
  for _ in $(seq "$((seconds * 2))"); do "$@" >/dev/null 2>&1 && return 0; sleep 0.5; done
  return 1
}

# credentials: the key of service accounts, the administrator's token, and a kubeconfig with it, in the current folder.
credentials() {
  openssl genrsa -out accounts.key 2048 2>/dev/null
  echo 'admin-token,admin,admin,system:masters' >tokens.csv
  cat >kubeconfig <<CONFIG
apiVersion: v1
kind: Config
clusters: [{name: local, cluster: {server: "https://127.0.0.1:16443", insecure-skip-tls-verify: true}}]
users: [{name: admin, user: {token: admin-token}}]
contexts: [{name: local, context: {cluster: local, user: admin}}]
current-context: local
CONFIG
}

# start_api ARGUMENT...: etcd, and the API server with these arguments more; until it is ready.
start_api() {
  start etcd etcd --data-dir "$STATE/etcd" --unsafe-no-fsync \
    --listen-client-urls http://127.0.0.1:12379 --advertise-client-urls http://127.0.0.1:12379 \
    --listen-peer-urls http://127.0.0.1:12380 --initial-advertise-peer-urls http://127.0.0.1:12380 \
    --initial-cluster default=http://127.0.0.1:12380
  start kube-apiserver kube-apiserver --etcd-servers=http://127.0.0.1:12379 --secure-port=16443 \
    --cert-dir="$STATE/certificates" --service-account-key-file=accounts.key --service-account-signing-key-file=accounts.key \
    --service-account-issuer=https://kubernetes.default.svc --token-auth-file=tokens.csv --authorization-mode=RBAC,Node \
    --service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true "$@"
  until_ready 90 kubectl get --raw /readyz || { echo "the API server does not become ready: $STATE/kube-apiserver.log" >&2; exit 1; }
}
