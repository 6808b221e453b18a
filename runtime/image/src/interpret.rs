//! The interpreter of images: computes the verdict for one connection.
//!
//! It defines the meaning of an image. The faster implementations, which are the tables that a node builds
//! and the kernel program that reads them, are tested against it.

use std::collections::BTreeMap;

use npc_vocabulary::{
    Action, Connection, Decision, Direction, Endpoint, Namespace, Pod, Route, Tier, Traffic, Verdict,
};

use crate::image::{Image, Policy, Rule, ScopeBase, selects};

/// The verdict of an image on a connection. Its indices are those of [`Image::policies`]. Audit policies are ignored.
#[must_use]
pub fn verdict(image: &Image, connection: &Connection<'_>) -> Verdict {
    judge(image, connection, |policy| !policy.audit)
}

/// The verdict that an image would give if its audit policies decided like all others.
#[must_use]
pub fn audit(image: &Image, connection: &Connection<'_>) -> Verdict {
    judge(image, connection, |_| true)
}

fn judge(image: &Image, connection: &Connection<'_>, decides: impl Fn(&Policy) -> bool) -> Verdict {
    let Connection { source, destination, .. } = connection;
    if source.is_same_pod(destination) && matches!(connection.route, Route::Direct) {
        return Verdict::Itself;
    }
    if let (Some(address), Endpoint::Pod { pod, .. }) = (source.address(), destination)
        && pod.node_addresses.contains(&address)
    {
        return Verdict::Node;
    }
    let side = |direction, subject, peer| Side { image, direction, subject, peer, connection };
    Verdict::Decided {
        egress: side(Direction::Egress, source, destination).decide(&decides),
        ingress: side(Direction::Ingress, destination, connection.seen_source()).decide(&decides),
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
        let subject = match self.subject {
            Endpoint::Outside(_) => return Decision::Outside,
            Endpoint::Node { .. } => return Decision::HostNetwork,
            Endpoint::Pod { pod, .. } if pod.host_network => return Decision::HostNetwork,
            Endpoint::Pod { pod, namespace, .. } => (*pod, *namespace),
        };
        let by = Decision::by_rule;
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
        subject: (&Pod, &Namespace),
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
                Endpoint::Pod { pod, namespace, .. } if !pod.host_network => {
                    rule.pods.iter().any(|term| self.selects(*term, (pod, namespace)))
                }
                Endpoint::Pod { .. } | Endpoint::Node { .. } | Endpoint::Outside(_) => false,
            }
    }

    fn on_ports(&self, rule: &Rule) -> bool {
        let Some(set) = rule.ports else { return true };
        let Traffic::Port(protocol, port) = self.connection.traffic else { return false };
        if self.image.ports.of(protocol, port).binary_search(&set).is_ok() {
            return true;
        }
        let Endpoint::Pod { pod: destination, .. } = &self.connection.destination else { return false };
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
    fn selects(&self, term: u32, (pod, namespace): (&Pod, &Namespace)) -> bool {
        let image = self.image;
        let Some(term) = image.pod_terms.get(term as usize) else { return false };
        let holds = |selector: u32, labels: &BTreeMap<String, String>| {
            let selector = image.selectors.get(selector as usize);
            selector.is_some_and(|list| selects(list, |key| labels.get(key).map(String::as_str)))
        };
        let (Some(scope), Endpoint::Pod { namespace: subject, .. }) =
            (image.scopes.get(term.scope as usize), self.subject)
        else {
            return false;
        };
        let base = match &scope.base {
            ScopeBase::All => true,
            ScopeBase::Names(globs) => globs.iter().any(|glob| glob.matches(&namespace.name)),
            ScopeBase::Labels(selector) => holds(*selector, &namespace.labels),
            ScopeBase::Same => namespace.name == subject.name,
            ScopeBase::Sharing(keys) => keys.iter().all(|key| {
                let own = subject.labels.get(&**key);
                own.is_some() && own == namespace.labels.get(&**key)
            }),
        };
        base && !scope.except_names.iter().any(|glob| glob.matches(&namespace.name))
            && !scope.except_selectors.iter().any(|selector| holds(*selector, &namespace.labels))
            && holds(term.selector, &pod.labels)
    }
}
