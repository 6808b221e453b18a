#!/bin/bash
# Starts a whole cluster of one node: etcd, the API server, the controllers that a node needs, containerd, the
# kubelet, kube-proxy, and pods behind routed interfaces. Everything is kept in $NPC_TEST_STATE, and runs in
# the network that it is started in. `node.sh stop` ends it.
source "$(dirname "$0")/env.sh"
here=$(cd "$(dirname "$0")" && pwd)
cd "$STATE"
processes="kube-proxy kubelet kube-scheduler kube-controller-manager containerd kube-apiserver etcd"
if [ "${1:-}" = stop ]; then
  for name in $processes; do stop "$name"; done
  # Containers outlive what started them.
  pkill -9 -f "$STATE/containerd" 2>/dev/null || true
  # The kubelet mounts volumes for pods.
  grep " $STATE" /proc/self/mounts | cut -d ' ' -f 2 | sort -r | while read -r mount; do umount -l "$mount" || true; done
  exit 0
fi

# Pods reach it at its Service, so it is at an address of the node.
api=(--advertise-address=192.0.2.10 --bind-address=0.0.0.0)
if [ "${1:-}" = start-api ]; then start_api "${api[@]}"; exit 0; fi
if [ "${1:-}" = stop-api ]; then stop kube-apiserver; stop etcd; exit 0; fi

ip link add node0 type veth peer name world0
ip link set world0 up
ip link set node0 up
ip addr add 192.0.2.10/24 dev node0
ip route add default dev node0
sysctl -q -w net.ipv4.ip_forward=1

credentials
start_api "${api[@]}"

mkdir -p cni containerd
cat >cni/10-pods.conflist <<C
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "$STATE/addresses",
    "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
C
mkdir -p plugins
cp /usr/lib/cni/* plugins/
cat >containerd.toml <<C
version = 2
root = "$STATE/containerd/root"
state = "$STATE/containerd/state"
[grpc]
  address = "$STATE/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "npc.test/pause:1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$STATE/plugins"
    conf_dir = "$STATE/cni"
C
cat >kubelet.yaml <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
failCgroupV1: false
enforceNodeAllocatable: []
containerRuntimeEndpoint: unix://$STATE/containerd.sock
failSwapOn: false
clusterDomain: cluster.local
clusterDNS: [10.96.0.10]
evictionHard: {nodefs.available: "1%", imagefs.available: "1%", nodefs.inodesFree: "1%"}
makeIPTablesUtilChains: false
maxPods: 100
address: 127.0.0.1
healthzBindAddress: 127.0.0.1
C
start containerd containerd -c containerd.toml
until_ready 30 ctr -a containerd.sock version
# image NAME ENTRYPOINT FILE:PATH...: made of files of this machine, with the libraries that they take.
image() {
  python3 "$here/image.py" image.tar "$@"
  ctr -a containerd.sock -n k8s.io images import image.tar >/dev/null
}
cc -static -O2 -o pause "$here/pause.c"
image npc.test/pause:1 /pause pause:/pause
image npc.test/agnhost:1 /agnhost "$TOOLS/agnhost:/agnhost"
[ -z "${NPC_NODE_BINARIES:-}" ] ||
  image npc.test/npc-node:1 /npc-node "$NPC_NODE_BINARIES/npc-node:/npc-node" "$NPC_NODE_BINARIES/npc-cni:/npc-cni"
start kube-controller-manager kube-controller-manager --kubeconfig="$KUBECONFIG" --service-account-private-key-file=accounts.key \
  --root-ca-file=certificates/apiserver.crt --leader-elect=false
start kube-scheduler kube-scheduler --kubeconfig="$KUBECONFIG" --leader-elect=false
start kubelet kubelet --config=kubelet.yaml --kubeconfig="$KUBECONFIG" --hostname-override=node-1 --node-ip=192.0.2.10 \
  --root-dir="$STATE/kubelet" --cert-dir="$STATE/kubelet-certificates"
start kube-proxy kube-proxy --kubeconfig="$KUBECONFIG" --hostname-override=node-1 --proxy-mode=iptables \
  --cluster-cidr=10.244.0.0/16 --conntrack-max-per-core=0 --healthz-bind-address=127.0.0.1:10256
until_ready 90 kubectl wait --for=condition=Ready node/node-1 --timeout=1s ||
  { echo "the node does not become ready: $STATE/kubelet.log" >&2; exit 1; }
echo "Kubernetes $KUBERNETES_VERSION runs with one node: KUBECONFIG=$KUBECONFIG"
