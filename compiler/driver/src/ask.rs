//! Answers: the verdict on a connection with its whole reason.

use std::net::IpAddr;

use npc_cluster::Cluster;
use npc_diagnostics::SourceMap;
use npc_import::rule_text;
use npc_model::{Connection, Decision, Endpoint, Traffic, Verdict, nearest, verdict};
use npc_program::values::port::{Protocol, check_name};
use npc_program::{Direction, Policy, Program, Rule, Tier};
use serde::Serialize;

/// The verdict on a connection, and why.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The source: `namespace/pod` or an address.
    pub source: String,
    /// The address that it uses, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_address: Option<IpAddr>,
    /// The destination.
    pub destination: String,
    /// The address that it uses, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_address: Option<IpAddr>,
    /// `tcp/80`, or `other`.
    pub traffic: String,
    /// Whether the connection is allowed.
    pub allowed: bool,
    /// Which side denies it: `egress`, `ingress` or `both`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied_by: Option<&'static str>,
    /// Why it is allowed whatever the policies say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub always: Option<&'static str>,
    /// What the source's side says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Side>,
    /// What the destination's side says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Side>,
}

/// What one side says.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// Whether it allows the connection.
    pub allowed: bool,
    /// What decided.
    pub reason: Reason,
    /// Where it denies since no rule matches, the rule that comes nearest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<NearestRule>,
}

/// What decided on one side.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reason {
    /// A rule.
    Rule(RuleReference),
    /// These policies isolate the pod, and no rule of theirs matches.
    Isolated {
        /// The policies.
        policies: Vec<PolicyReference>,
    },
    /// No policy says anything of it.
    Default,
    /// An address outside the cluster decides nothing.
    Outside,
    /// No policy selects a pod on its node's network.
    HostNetwork,
}

/// A policy, by its name and place.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyReference {
    /// `admin`, `policy` or `baseline`.
    pub tier: &'static str,
    /// Its name.
    pub policy: String,
    /// `file:line`.
    pub location: String,
}

/// A rule, by its policy and place.
#[derive(Clone, Debug, Serialize)]
pub struct RuleReference {
    /// Its policy.
    #[serde(flatten)]
    pub policy: PolicyReference,
    /// Which rule of the policy, counted from one.
    pub rule: usize,
    /// `file:line` of the rule.
    #[serde(rename = "ruleLocation")]
    pub location: String,
    /// The rule, as a program says it.
    pub text: String,
}

/// The rule that comes nearest, and what is missing.
#[derive(Clone, Debug, Serialize)]
pub struct NearestRule {
    /// The rule.
    #[serde(flatten)]
    pub rule: RuleReference,
    /// What is missing, in words.
    pub lacks: Vec<String>,
}

/// Asks a program, whose texts are in `sources`.
#[must_use]
pub fn ask(program: &Program, sources: &SourceMap, connection: &Connection<'_>) -> Answer {
    let verdict = verdict(program, connection);
    let denied_by = match verdict.denied() {
        (false, false) => None,
        (true, false) => Some("egress"),
        (false, true) => Some("ingress"),
        (true, true) => Some("both"),
    };
    let (always, egress, ingress) = match &verdict {
        Verdict::Itself => (Some("a pod reaches itself"), None, None),
        Verdict::Node => (Some("the node that a pod runs on reaches it"), None, None),
        Verdict::Decided { egress, ingress } => (
            None,
            Some(side(program, sources, Direction::Egress, egress, connection)),
            Some(side(program, sources, Direction::Ingress, ingress, connection)),
        ),
    };
    Answer {
        source: connection.source.to_string(),
        source_address: connection.source.address(),
        destination: connection.destination.to_string(),
        destination_address: connection.destination.address(),
        traffic: connection.traffic.to_string(),
        allowed: verdict.allowed(),
        denied_by,
        always,
        egress,
        ingress,
    }
}

fn side(
    program: &Program,
    sources: &SourceMap,
    direction: Direction,
    decision: &Decision,
    connection: &Connection<'_>,
) -> Side {
    let policy = |index: usize| program.policies.get(index).map(|policy| (index, policy));
    let mut near = None;
    let reason = match decision {
        Decision::Outside => Reason::Outside,
        Decision::HostNetwork => Reason::HostNetwork,
        Decision::Default => Reason::Default,
        Decision::Rule { policy: index, rule, .. } => {
            match policy(*index).and_then(|(_, policy)| Some((policy, policy.rules.get(*rule)?))) {
                Some((policy, found)) => Reason::Rule(rule_reference(sources, policy, *rule, found)),
                None => Reason::Default,
            }
        }
        Decision::Isolated { policies } => {
            let policies: Vec<(usize, &Policy)> =
                policies.iter().filter_map(|index| policy(*index)).collect();
            near = nearest(&policies, direction, connection).and_then(|near| {
                let (_, policy) = policy(near.policy)?;
                let rule = rule_reference(sources, policy, near.rule, policy.rules.get(near.rule)?);
                Some(NearestRule { rule, lacks: near.lacks.iter().map(ToString::to_string).collect() })
            });
            let policies = policies.iter().map(|(_, policy)| policy_reference(sources, policy)).collect();
            Reason::Isolated { policies }
        }
    };
    Side { allowed: decision.allowed(), reason, nearest: near }
}

fn policy_reference(sources: &SourceMap, policy: &Policy) -> PolicyReference {
    PolicyReference {
        tier: match policy.tier {
            Tier::Admin => "admin",
            Tier::Namespaced => "policy",
            Tier::Baseline => "baseline",
        },
        policy: policy.name.to_string(),
        location: sources.line_of(policy.location),
    }
}

fn rule_reference(sources: &SourceMap, policy: &Policy, index: usize, rule: &Rule) -> RuleReference {
    let own = sources.file(rule.location.file).name().ends_with(".np");
    let text = if own {
        let text = sources.text(rule.location);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    } else {
        rule_text(rule)
    };
    RuleReference {
        policy: policy_reference(sources, policy),
        rule: index + 1,
        location: sources.line_of(rule.location),
        text,
    }
}

/// A connection that a user names.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// `namespace/pod`, or an address.
    pub source: &'a str,
    /// The address that it uses, where that is given.
    pub source_address: Option<IpAddr>,
    /// `namespace/pod`, or an address.
    pub destination: &'a str,
    /// The address that it uses, where that is given.
    pub destination_address: Option<IpAddr>,
    /// The protocol: `tcp`, `udp`, `sctp`, or `other` for any without ports.
    pub protocol: &'a str,
    /// The port's number, or its name at the destination.
    pub port: &'a str,
}

impl Question<'_> {
    /// The connection, in a cluster.
    ///
    /// # Errors
    ///
    /// What of it is not there, in words.
    pub fn connection<'c>(&self, cluster: Option<&'c Cluster>) -> Result<Connection<'c>, String> {
        let source = End::find(self.source, self.source_address, cluster)?;
        let destination = End::find(self.destination, self.destination_address, cluster)?;
        // Both ends speak one family; the destination's first address that fits is taken.
        let (from, to) = (source.addresses(), destination.addresses());
        let fits = |a: &IpAddr, b: &IpAddr| a.is_ipv4() == b.is_ipv4();
        let pair = to.iter().find_map(|to| Some((*from.iter().find(|from| fits(from, to))?, *to)));
        if pair.is_none() && !from.is_empty() && !to.is_empty() {
            return Err(format!("{} and {} have no addresses of one family", self.source, self.destination));
        }
        let (from, to) = match pair {
            Some((from, to)) => (Some(from), Some(to)),
            None => (from.first().copied(), to.first().copied()),
        };
        let (source, destination) = (source.endpoint(from, cluster)?, destination.endpoint(to, cluster)?);
        let traffic = traffic(self.protocol, self.port, &destination)?;
        Ok(Connection { source, destination, traffic })
    }
}

/// One end, found in the cluster.
enum End<'c> {
    Pod(usize, &'c npc_cluster::Pod, Option<IpAddr>),
    Outside(IpAddr),
}

impl<'c> End<'c> {
    fn find(name: &str, address: Option<IpAddr>, cluster: Option<&'c Cluster>) -> Result<Self, String> {
        if let Ok(outside) = name.parse() {
            return Ok(Self::Outside(outside));
        }
        if name == "external" {
            return match address {
                Some(address) => Ok(Self::Outside(address)),
                None => Err("`external` needs an address".to_owned()),
            };
        }
        let Some((namespace, pod)) = name.split_once('/') else {
            return Err(format!("`{name}` is neither a pod, as `namespace/name`, nor an address"));
        };
        let Some(cluster) = cluster else {
            return Err(format!("to find the pod `{name}`, give the cluster with `--cluster FILE`"));
        };
        let Some(place) = cluster.pod(namespace, pod) else { return Err(no_pod(cluster, namespace, pod)) };
        let found = cluster.pods.get(place).ok_or_else(|| no_pod(cluster, namespace, pod))?;
        if let Some(address) = address
            && !found.addresses.is_empty()
            && !found.addresses.contains(&address)
        {
            return Err(format!("the pod `{name}` does not have the address {address}"));
        }
        Ok(Self::Pod(place, found, address))
    }

    fn addresses(&self) -> Vec<IpAddr> {
        match self {
            Self::Pod(_, _, Some(address)) => vec![*address],
            Self::Pod(_, pod, None) => pod.addresses.clone(),
            Self::Outside(address) => vec![*address],
        }
    }

    fn endpoint(
        &self,
        address: Option<IpAddr>,
        cluster: Option<&'c Cluster>,
    ) -> Result<Endpoint<'c>, String> {
        match self {
            Self::Outside(address) => Ok(Endpoint::Outside(*address)),
            Self::Pod(place, ..) => cluster
                .and_then(|cluster| Endpoint::pod(cluster, *place, address))
                .ok_or_else(|| "the pod is not there".to_owned()),
        }
    }
}

fn no_pod(cluster: &Cluster, namespace: &str, pod: &str) -> String {
    let Some(place) = cluster.namespace(namespace) else {
        let names = cluster.namespaces.iter().map(|namespace| namespace.name.as_str());
        let near = npc_diagnostics::nearest(namespace, names);
        let meant = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        return format!("there is no namespace `{namespace}`{meant}");
    };
    if cluster.pods.is_empty() {
        return "the cluster file has no pods: print them too, with `kubectl get namespaces,pods -A -o yaml`"
            .to_owned();
    }
    let beside =
        cluster.pods.iter().filter(|other| other.namespace == place).map(|other| other.name.as_str());
    let near = npc_diagnostics::nearest(pod, beside.clone());
    // Pods of a Deployment have names that nobody types.
    let near = near.or_else(|| beside.clone().find(|name| name.starts_with(pod)));
    let meant = near.map(|near| format!("; did you mean `{namespace}/{near}`?")).unwrap_or_default();
    format!("there is no pod `{namespace}/{pod}` that runs{meant}")
}

fn traffic(protocol: &str, port: &str, destination: &Endpoint<'_>) -> Result<Traffic, String> {
    let lower = protocol.to_ascii_lowercase();
    let Some(protocol) = Protocol::parse(&lower) else {
        if matches!(lower.as_str(), "other" | "icmp" | "icmpv6") {
            return Ok(Traffic::Other);
        }
        return Err(format!(
            "`{protocol}` is not a protocol: they are tcp, udp, sctp, and `other` for any else"
        ));
    };
    if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = port.parse().ok().filter(|number| *number > 0);
        return match number {
            Some(number) => Ok(Traffic::Port(protocol, number)),
            None => Err(format!("`{port}` is not a port: they go from 1 to 65535")),
        };
    }
    if let Err(why) = check_name(port) {
        return Err(format!("`{port}` is not a port: {why}"));
    }
    match destination {
        Endpoint::Outside(_) => Err(format!("an address has no port called `{port}`: give its number")),
        Endpoint::Pod { pod, .. } => pod
            .ports
            .iter()
            .find(|own| own.name == port && own.protocol == protocol)
            .map(|own| Traffic::Port(protocol, own.port))
            .ok_or_else(|| format!("{destination} has no {lower} port called `{port}`")),
    }
}
