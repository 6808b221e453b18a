//! The interpreter of images: computes the verdict for one connection.
//!
//! It defines the meaning of an image. The faster implementations, which are the tables that a node builds
//! and the kernel program that reads them, are tested against it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::image::{Action, Direction, Image, Policy, Protocol, Rule, ScopeBase, Tier, selects};

/// A named port of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
}

/// A pod.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'c> {
    /// Its name.
    pub name: &'c str,
    /// Its namespace's name.
    pub namespace: &'c str,
    /// Its namespace's labels.
    pub namespace_labels: &'c BTreeMap<String, String>,
    /// Its labels.
    pub labels: &'c BTreeMap<String, String>,
    /// The ports that it names.
    pub ports: &'c [Named],
    /// Whether it uses `hostNetwork`. No policy selects such a pod, and no selector matches it as a peer.
    pub host_network: bool,
    /// The addresses of its node.
    pub node_addresses: &'c [IpAddr],
}

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub enum Endpoint<'c> {
    /// A pod, and the address that the connection uses, if known.
    Pod(Pod<'c>, Option<IpAddr>),
    /// An address that no pod has.
    Outside(IpAddr),
}

impl Endpoint<'_> {
    const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Pod(_, address) => *address,
            Self::Outside(address) => Some(*address),
        }
    }
}

/// The protocol and port of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// A protocol that has ports, and the destination port.
    Port(Protocol, u16),
    /// Any other IP protocol.
    Other,
}

/// A connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'c> {
    /// The source.
    pub source: Endpoint<'c>,
    /// The destination, after Service translation.
    pub destination: Endpoint<'c>,
    /// The protocol and port.
    pub traffic: Traffic,
    /// The route.
    pub route: Route,
}

/// How a connection reaches its destination.
#[derive(Clone, Copy, Debug)]
pub enum Route {
    /// The source connects to the destination's own address.
    Direct,
    /// The source connects to a Service, which is translated to the destination's address.
    Service,
    /// As `Service`, and a node replaces the source address by this address of its own.
    Masqueraded(IpAddr),
}

/// The verdict on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Always allowed: source and destination are the same pod, and the route is direct.
    Itself,
    /// Always allowed: the source is the node of the destination pod.
    Node,
    /// The decisions of both ends.
    Decided {
        /// The decision of the source's egress policies.
        egress: Decision,
        /// The decision of the destination's ingress policies.
        ingress: Decision,
    },
}

impl Verdict {
    /// Whether the connection is allowed.
    #[must_use]
    pub fn allowed(&self) -> bool {
        match self {
            Self::Itself | Self::Node => true,
            Self::Decided { egress, ingress } => egress.allowed() && ingress.allowed(),
        }
    }
}

/// The decision of one end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The end is not a pod, so that no policy selects it.
    Outside,
    /// The end is a host-network pod, which no policy selects.
    HostNetwork,
    /// A rule matched.
    Rule {
        /// The index of its policy in [`Image::policies`].
        policy: usize,
        /// The index of the rule in that policy.
        rule: usize,
        /// Whether the rule allows the connection.
        allowed: bool,
    },
    /// Plain policies isolate the pod, and none of their rules matches.
    Isolated {
        /// Their indices in [`Image::policies`].
        policies: Vec<usize>,
    },
    /// Allowed by default: no rule matches, and no plain policy isolates the pod.
    Default,
}

impl Decision {
    /// Whether the decision allows the connection.
    #[must_use]
    pub const fn allowed(&self) -> bool {
        match self {
            Self::Outside | Self::HostNetwork | Self::Default => true,
            Self::Rule { allowed, .. } => *allowed,
            Self::Isolated { .. } => false,
        }
    }
}

/// Returns the verdict of an image on a connection. Audit policies are ignored.
#[must_use]
pub fn verdict(image: &Image, connection: &Connection<'_>) -> Verdict {
    judge(image, connection, |policy| !policy.audit)
}

/// Returns the verdict that an image would give if its audit policies decided like all others.
#[must_use]
pub fn audit(image: &Image, connection: &Connection<'_>) -> Verdict {
    judge(image, connection, |_| true)
}

fn judge(image: &Image, connection: &Connection<'_>, decides: impl Fn(&Policy) -> bool) -> Verdict {
    let Connection { source, destination, .. } = connection;
    if let (Endpoint::Pod(a, _), Endpoint::Pod(b, _)) = (source, destination)
        && (a.namespace, a.name) == (b.namespace, b.name)
        && matches!(connection.route, Route::Direct)
    {
        return Verdict::Itself;
    }
    if let (Some(address), Endpoint::Pod(pod, _)) = (source.address(), destination)
        && pod.node_addresses.contains(&address)
    {
        return Verdict::Node;
    }
    let side = |direction, subject, peer| Side { image, direction, subject, peer, connection };
    let seen_source = match connection.route {
        Route::Masqueraded(address) => &Endpoint::Outside(address),
        Route::Direct | Route::Service => source,
    };
    Verdict::Decided {
        egress: side(Direction::Egress, source, destination).decide(&decides),
        ingress: side(Direction::Ingress, destination, seen_source).decide(&decides),
    }
}

/// One end of a connection, with what is needed to evaluate its policies.
struct Side<'a> {
    image: &'a Image,
    direction: Direction,
    subject: &'a Endpoint<'a>,
    peer: &'a Endpoint<'a>,
    connection: &'a Connection<'a>,
}

impl Side<'_> {
    fn decide(&self, decides: &impl Fn(&Policy) -> bool) -> Decision {
        let Endpoint::Pod(subject, _) = self.subject else { return Decision::Outside };
        if subject.host_network {
            return Decision::HostNetwork;
        }
        let by = |policy, rule, allowed| Decision::Rule { policy, rule, allowed };
        match self.first(&self.policies(Tier::Admin, subject, decides)) {
            Some((policy, rule, Action::Allow)) => return by(policy, rule, true),
            Some((policy, rule, Action::Deny)) => return by(policy, rule, false),
            Some((_, _, Action::Pass)) | None => {}
        }
        let plain = self.policies(Tier::Namespaced, subject, decides);
        if let Some((policy, rule, _)) = self.first(&plain) {
            return by(policy, rule, true);
        }
        if !plain.is_empty() {
            return Decision::Isolated { policies: plain.into_iter().map(|(index, _)| index).collect() };
        }
        match self.first(&self.policies(Tier::Baseline, subject, decides)) {
            Some((policy, rule, action)) => by(policy, rule, action == Action::Allow),
            None => Decision::Default,
        }
    }

    /// Returns the policies of a tier that select the subject and cover the direction, in order of
    /// evaluation.
    fn policies(
        &self,
        tier: Tier,
        subject: &Pod<'_>,
        decides: &impl Fn(&Policy) -> bool,
    ) -> Vec<(usize, &Policy)> {
        let of_tier = |(_, policy): &(usize, &Policy)| {
            policy.tier == tier
                && decides(policy)
                && policy.covers(self.direction)
                && policy.subjects.iter().any(|term| self.selects(*term, subject))
        };
        let mut policies: Vec<_> = self.image.policies.iter().enumerate().filter(of_tier).collect();
        policies.sort_by_key(|(_, policy)| policy.priority);
        policies
    }

    /// Returns the first rule that matches: the index of its policy, its own index, and its action.
    fn first(&self, policies: &[(usize, &Policy)]) -> Option<(usize, usize, Action)> {
        policies.iter().find_map(|(index, policy)| {
            let (place, rule) = policy.rules.iter().enumerate().find(|(_, rule)| self.matches(rule))?;
            Some((*index, place, rule.action))
        })
    }

    fn matches(&self, rule: &Rule) -> bool {
        rule.direction == self.direction && self.is_peer(rule) && self.on_ports(rule)
    }

    fn is_peer(&self, rule: &Rule) -> bool {
        let sets = match self.peer.address() {
            Some(address) => self.image.addresses.of(address),
            None => &self.image.addresses.of_unknown,
        };
        rule.addresses.is_some_and(|set| sets.binary_search(&set).is_ok())
            || match self.peer {
                Endpoint::Pod(pod, _) if !pod.host_network => {
                    rule.pods.iter().any(|term| self.selects(*term, pod))
                }
                Endpoint::Pod(..) | Endpoint::Outside(_) => false,
            }
    }

    fn on_ports(&self, rule: &Rule) -> bool {
        let Some(set) = rule.ports else { return true };
        let Traffic::Port(protocol, port) = self.connection.traffic else { return false };
        if self.image.ports.of(protocol, port).binary_search(&set).is_ok() {
            return true;
        }
        let Endpoint::Pod(destination, _) = &self.connection.destination else { return false };
        if destination.host_network {
            return false;
        }
        self.image.ports.named.get(set as usize).into_iter().flatten().any(|named| {
            named.protocol == protocol
                && destination
                    .ports
                    .iter()
                    .any(|own| own.protocol == protocol && own.port == port && *own.name == *named.name)
        })
    }

    /// Whether a pod term selects a pod. `same` and `sharing` scopes are relative to the subject.
    fn selects(&self, term: u32, pod: &Pod<'_>) -> bool {
        let image = self.image;
        let Some(term) = image.pod_terms.get(term as usize) else { return false };
        let holds = |selector: u32, labels: &BTreeMap<String, String>| {
            let selector = image.selectors.get(selector as usize);
            selector.is_some_and(|list| selects(list, |key| labels.get(key).map(String::as_str)))
        };
        let (Some(scope), Endpoint::Pod(subject, _)) = (image.scopes.get(term.scope as usize), self.subject)
        else {
            return false;
        };
        let base = match &scope.base {
            ScopeBase::All => true,
            ScopeBase::Names(globs) => globs.iter().any(|glob| glob.matches(pod.namespace)),
            ScopeBase::Labels(selector) => holds(*selector, pod.namespace_labels),
            ScopeBase::Same => pod.namespace == subject.namespace,
            ScopeBase::Sharing(keys) => keys.iter().all(|key| {
                let own = subject.namespace_labels.get(&**key);
                own.is_some() && own == pod.namespace_labels.get(&**key)
            }),
        };
        base && !scope.except_names.iter().any(|glob| glob.matches(pod.namespace))
            && !scope.except_selectors.iter().any(|selector| holds(*selector, pod.namespace_labels))
            && holds(term.selector, pod.labels)
    }
}
