#!/bin/bash
# Starts etcd, an API server and Kyverno's controllers on loopback, with the accounts, roles and
# webhooks that Kyverno's manifest publishes. There are no nodes and no controller manager.
source "$(dirname "$0")/env.sh"
"$(dirname "$0")/down.sh"
rm -rf "$STATE"; mkdir -p "$STATE"; cd "$STATE"

credentials
start_api --bind-address=127.0.0.1 --disable-admission-plugins=ServiceAccount

# All of the published manifest but the containers.
awk -v RS='---\n' '!/\nkind: Deployment\n/ { printf "---\n%s", $0 }' "$TOOLS/kyverno/config/install-latest-testing.yaml" >kyverno.yaml
kubectl apply --server-side --force-conflicts -f kyverno.yaml >/dev/null
kubectl apply --server-side -f "$TOOLS/cluster-network-policy-$NETWORK_POLICY_API_VERSION.yaml" >/dev/null
# Roles made of others stay empty without a controller manager: bind their parts.
for account in admission background; do
  for role in "kyverno:$account-controller:core" system:aggregate-to-view; do
    kubectl create clusterrolebinding "$account-${role//:/-}" --clusterrole "$role" \
      --serviceaccount "kyverno:kyverno-$account-controller" --dry-run=client -o yaml
    echo ---
  done
done | kubectl apply --server-side -f - >/dev/null
# as ACCOUNT: a configuration with that account's own rights.
as() { sed "s/admin-token/$(kubectl -n kyverno create token "$1" --duration 24h)/" kubeconfig >"$1.kubeconfig"; echo "$STATE/$1.kubeconfig"; }
export KYVERNO_NAMESPACE=kyverno INIT_CONFIG=kyverno METRICS_CONFIG=kyverno-metrics KYVERNO_SVC=kyverno-svc
common=(--otelConfig=prometheus --disableMetrics=true --loggingFormat=text --v=2 --enableReporting=generate --controllerRuntimeMetricsAddress=0)
KYVERNO_POD_NAME=admission KYVERNO_SERVICEACCOUNT_NAME=kyverno-admission-controller KYVERNO_DEPLOYMENT=kyverno-admission-controller \
  KYVERNO_ROLE_NAME=kyverno:admission-controller \
  start kyverno "$TOOLS/kyverno/kyverno" --kubeconfig "$(as kyverno-admission-controller)" \
  --serverIP=127.0.0.1:19443 --webhookServerPort=19443 --webhookServerHost=127.0.0.1 \
  --caSecretName=kyverno-svc.kyverno.svc.kyverno-tls-ca --tlsSecretName=kyverno-svc.kyverno.svc.kyverno-tls-pair \
  --backgroundServiceAccountName=system:serviceaccount:kyverno:kyverno-background-controller \
  --admissionReports=false --metricsPort=18000 "${common[@]}"
KYVERNO_POD_NAME=background KYVERNO_SERVICEACCOUNT_NAME=kyverno-background-controller KYVERNO_DEPLOYMENT=kyverno-background-controller \
  start background-controller "$TOOLS/kyverno/background-controller" --kubeconfig "$(as kyverno-background-controller)" --metricsPort=18001 "${common[@]}"
is_ready() {
  kubectl get validatingwebhookconfigurations -o name | grep -q kyverno-policy &&
    [ "$(curl -sk https://127.0.0.1:19443/health/readiness -o /dev/null -w '%{http_code}')" = 200 ]
}
until_ready 90 is_ready || { echo "Kyverno does not become ready: $STATE/kyverno.log, $STATE/background-controller.log" >&2; exit 1; }
echo "Kyverno $KYVERNO_VERSION runs against Kubernetes $KUBERNETES_VERSION: KUBECONFIG=$KUBECONFIG"
