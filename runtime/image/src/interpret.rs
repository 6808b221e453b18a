//! What an image means: the verdict on one connection.
//!
//! This is the reference for everything that answers faster: the tables that a node makes of an image,
//! and the kernel program that reads them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::image::{Action, Direction, Image, Policy, Protocol, Rule, ScopeBase, Tier, selects};

/// A port that a pod names.
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
    /// Whether it is on its node's network: then it is never a subject, and no selector matches it.
    pub host_network: bool,
    /// The addresses of the node that it runs on.
    pub node_addresses: &'c [IpAddr],
}

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub enum Endpoint<'c> {
    /// A pod, with the address that the connection uses, where one is known.
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

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// A protocol with ports, to this port of the destination.
    Port(Protocol, u16),
    /// Any other IP protocol.
    Other,
}

/// A connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'c> {
    /// Where it comes from.
    pub source: Endpoint<'c>,
    /// Where it goes, after Services are translated.
    pub destination: Endpoint<'c>,
    /// What it speaks.
    pub traffic: Traffic,
    /// How it gets there.
    pub route: Route,
}

/// How a connection gets to its destination.
#[derive(Clone, Copy, Debug)]
pub enum Route {
    /// The source connects to the destination's own address.
    Direct,
    /// The source connects to a Service, which is translated to the destination.
    Service,
    /// The same, and a node puts this address of its own in place of the source's.
    Masqueraded(IpAddr),
}

/// The verdict on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A pod reaches itself.
    Itself,
    /// The node that a pod runs on reaches it.
    Node,
    /// What each side decided.
    Decided {
        /// What the source's side says.
        egress: Decision,
        /// What the destination's side says.
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

/// What one side decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// An address outside decides nothing.
    Outside,
    /// No policy is for a pod on its node's network.
    HostNetwork,
    /// A rule, by the places of its policy in [`Image::policies`] and of itself in that policy.
    Rule {
        /// The policy.
        policy: usize,
        /// The rule.
        rule: usize,
        /// Whether it allows.
        allowed: bool,
    },
    /// These policies isolate the pod, and none of their rules matches.
    Isolated {
        /// By their places.
        policies: Vec<usize>,
    },
    /// No policy says anything.
    Default,
}

impl Decision {
    /// Whether it allows the connection.
    #[must_use]
    pub const fn allowed(&self) -> bool {
        match self {
            Self::Outside | Self::HostNetwork | Self::Default => true,
            Self::Rule { allowed, .. } => *allowed,
            Self::Isolated { .. } => false,
        }
    }
}

/// The verdict of an image on a connection.
#[must_use]
pub fn verdict(image: &Image, connection: &Connection<'_>) -> Verdict {
    judge(image, connection, |policy| !policy.audit)
}

/// The verdict that there would be if audit policies decided as all others do.
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

/// One side of a connection.
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

    /// The policies of a tier that are for the subject and speak of the direction, in the order in
    /// which they are asked.
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

    /// The first rule that matches.
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

    /// Whether a term selects a pod, as the subject sees it.
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
