//! NP0805 for a cluster whose DNS pods are known: checks whether each pod's policies allow it to reach one of
//! them.

use std::net::IpAddr;

use npc_cluster::{Cluster, Pod, Via};
use npc_diagnostics::{Diagnostic, Location};
use npc_model::Evaluator;
use npc_program::{Policy, Program};
use npc_vocabulary::{Action, Connection, Direction, Endpoint, Protocol, Tier, Traffic, Verdict, Which};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::meaning::np0805_no_dns::{NO_DNS, needs_no_names};
use crate::portability::Origin;

/// The DNS resolvers of a cluster.
pub(crate) struct Resolvers<'c> {
    cluster: &'c Cluster,
    /// The DNS pods, by index in the cluster, each with the port that it listens on.
    pods: Vec<(usize, u16)>,
}

/// The link-local address on which NodeLocal DNSCache listens on each node.
const NODE_LOCAL: [u8; 4] = [169, 254, 20, 10];

/// The port to which clients send queries.
const PORT: u16 = 53;

impl<'c> Resolvers<'c> {
    /// Finds the DNS pods of a cluster: the endpoints of the DNS Services of kube-system and OpenShift, and
    /// the pods with the labels of their DNS. Returns `None` if the cluster has none.
    pub(crate) fn find(cluster: &'c Cluster) -> Option<Self> {
        let mut pods: Vec<(usize, u16)> = Vec::new();
        for service in &cluster.services {
            let is_dns = match service.namespace.as_str() {
                "kube-system" => service.name.contains("dns"),
                "openshift-dns" => true,
                _ => false,
            };
            if is_dns && let Ok(targets) = service.targets(cluster, Via::Cluster, Protocol::Udp, PORT, None) {
                pods.extend(targets.iter().filter_map(|target| Some((target.pod?, target.port))));
            }
        }
        for (place, pod) in cluster.pods.iter().enumerate() {
            let namespace = cluster.namespaces.get(pod.namespace).map_or("", |own| own.name.as_str());
            let is_dns = match namespace {
                "kube-system" => pod.labels.get("k8s-app").is_some_and(|value| value == "kube-dns"),
                "openshift-dns" => pod.labels.contains_key("dns.operator.openshift.io/daemonset-dns"),
                _ => false,
            };
            if is_dns && !pods.iter().any(|(known, _)| *known == place) {
                pods.push((place, listens_on(pod)));
            }
        }
        pods.sort_unstable();
        pods.dedup();
        (!pods.is_empty()).then_some(Self { cluster, pods })
    }

    /// Refines the findings made without a cluster. For a policy that isolates pods of this cluster, the
    /// verdicts of its pods decide; for other policies the findings stay.
    pub(crate) fn judge(&self, program: &Program, found: Vec<Diagnostic>, origin: Origin) -> Vec<Diagnostic> {
        let evaluator = Evaluator::new(program, self.cluster);
        // The policies that isolate pods of this cluster, and those of them with a pod that cannot reach DNS.
        let mut seen: FxHashSet<usize> = FxHashSet::default();
        let mut lacking: FxHashMap<usize, usize> = FxHashMap::default();
        let mut kinds: FxHashSet<usize> = FxHashSet::default();
        for (place, pod) in self.cluster.pods.iter().enumerate() {
            let is_new = evaluator.kind_of(place).is_some_and(|kind| kinds.insert(kind));
            if !is_new || pod.host_network || self.pods.iter().any(|(dns, _)| *dns == place) {
                continue;
            }
            let isolating = isolating(&evaluator, place);
            if isolating.is_empty() {
                continue;
            }
            seen.extend(&isolating);
            if !self.can_ask(&evaluator, place) {
                for policy in isolating {
                    lacking.entry(policy).or_insert(place);
                }
            }
        }
        // The location of an NP0805 finding is a rule of the policy that it is about.
        let is_seen = |at: Location| {
            let of_policy = |index: &usize| program.policies.get(*index);
            seen.iter().filter_map(of_policy).flat_map(|policy| &policy.rules).any(|rule| rule.location == at)
        };
        let mut all: Vec<Diagnostic> =
            found.into_iter().filter(|one| !one.location().is_some_and(is_seen)).collect();
        let mut lacking: Vec<(usize, usize)> = lacking.into_iter().collect();
        lacking.sort_unstable();
        for (index, place) in lacking {
            let Some(policy) = program.policies.get(index) else { continue };
            let has_rule = policy
                .rules
                .iter()
                .any(|rule| rule.direction == Direction::Egress && rule.action == Action::Allow);
            // A policy without an egress allow rule is a default deny: other policies are expected to allow
            // DNS.
            if policy.tier == Tier::Namespaced && has_rule && !needs_no_names(policy) {
                all.extend(self.report(policy, place, origin));
            }
        }
        all
    }

    /// Whether a pod's egress policies allow it to reach some resolver.
    fn can_ask(&self, evaluator: &Evaluator<'_>, place: usize) -> bool {
        let cluster = self.cluster;
        let source = |address: Option<IpAddr>| {
            let own = cluster.pods.get(place).map(|pod| pod.addresses.as_slice()).unwrap_or_default();
            let fits = |one: &&IpAddr| address.is_none_or(|address| address.is_ipv4() == one.is_ipv4());
            cluster.endpoint(place, own.iter().find(fits).copied())
        };
        let allows = |destination: Endpoint<'_>, port: u16| {
            let Some(source) = source(destination.address()) else { return true };
            let connection = Connection::direct(source, destination, Traffic::Port(Protocol::Udp, port));
            match evaluator.verdict(&connection) {
                Verdict::Decided { egress, .. } => egress.allowed(),
                Verdict::Itself | Verdict::Node => true,
            }
        };
        let of_pod = |(dns, port): &(usize, u16)| {
            let address = cluster.pods.get(*dns).and_then(|pod| pod.addresses.first()).copied();
            cluster.endpoint(*dns, address).is_some_and(|end| allows(end, *port))
        };
        self.pods.iter().any(of_pod) || allows(Endpoint::Outside(IpAddr::from(NODE_LOCAL)), PORT)
    }

    fn report(&self, policy: &Policy, place: usize, origin: Origin) -> Option<Diagnostic> {
        let cluster = self.cluster;
        let name = |place: usize| cluster.endpoint(place, None).map(|end| end.to_string());
        let (dns, port) = *self.pods.first()?;
        let allowed = policy.rules.iter().filter(|rule| rule.direction == Direction::Egress);
        let on_53 = allowed.clone().find(|rule| rule.ports.iter().any(|term| is_port(&term.port.which)));
        let place_of =
            on_53.or_else(|| allowed.clone().next_back()).map_or(policy.location, |rule| rule.location);
        let (what, help) = match (on_53, port) {
            (Some(_), port) if port != PORT => (
                "allows port 53, but that is the port of the Service",
                format!("allow port {port}: policies apply to the port of the pod behind the Service"),
            ),
            (Some(_), _) => ("allows port 53, but not to a DNS pod", self.how_to_name(dns, origin)),
            (None, _) => ("does not allow DNS", self.how_to_name(dns, origin)),
        };
        let message =
            format!("policy `{}` does not allow pod `{}` to reach a DNS pod", policy.name, name(place)?);
        let diagnostic = Diagnostic::new(&NO_DNS, message, place_of, what);
        Some(
            diagnostic
                .note(format!("the cluster's DNS pod is `{}`, which listens on udp/{port}", name(dns)?))
                .help(help),
        )
    }

    /// The help text: a rule that allows egress to a DNS pod.
    fn how_to_name(&self, dns: usize, origin: Origin) -> String {
        let Some(pod) = self.cluster.pods.get(dns) else { return String::new() };
        let namespace = self.cluster.namespaces.get(pod.namespace).map_or("", |own| own.name.as_str());
        let keys = ["k8s-app", "dns.operator.openshift.io/daemonset-dns"];
        let label = keys.into_iter().find_map(|key| Some((key, pod.labels.get(key)?)));
        let port = self.pods.iter().find(|(place, _)| *place == dns).map_or(PORT, |(_, port)| *port);
        match (label, origin) {
            (Some((key, value)), Origin::Program) => format!(
                "add `allow egress to pods {{ {key} = {value} }} in namespace {namespace} on udp/{port}, tcp/{port}`"
            ),
            (None, Origin::Program) => {
                format!("add `allow egress to all pods in namespace {namespace} on udp/{port}, tcp/{port}`")
            }
            (label, Origin::Manifests) => {
                let pods = label
                    .map(|(key, value)| format!(", podSelector: {{matchLabels: {{{key}: {value}}}}}"))
                    .unwrap_or_default();
                format!(
                    "add to `egress`: `- {{to: [{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}{pods}}}], ports: [{{protocol: UDP, port: {port}}}, {{protocol: TCP, port: {port}}}]}}`"
                )
            }
        }
    }
}

fn is_port(which: &Which) -> bool {
    matches!(which, Which::Range(first, last) if (*first..=*last).contains(&PORT))
}

/// The port on which a DNS pod listens: the container port named `dns`, or 53.
fn listens_on(pod: &Pod) -> u16 {
    pod.port_named(Protocol::Udp, "dns").unwrap_or(PORT)
}

/// The plain policies that isolate a pod for egress.
fn isolating(evaluator: &Evaluator<'_>, place: usize) -> Vec<usize> {
    let sides = evaluator.kind_of(place).and_then(|kind| evaluator.sides(kind, Direction::Egress));
    let tier = sides.and_then(|sides| evaluator.tier(sides.plain));
    tier.map(|tier| tier.policies.to_vec()).unwrap_or_default()
}
