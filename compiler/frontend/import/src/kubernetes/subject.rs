//! Reads subjects and peers, which the cluster policies (ClusterNetworkPolicy, AdminNetworkPolicy) have in
//! common.

use std::sync::Arc;

use npc_diagnostics::{Diagnostic, Location};
use npc_manifest::{Fields, Node, Path, Reader, Value};
use npc_program::values::address::{Block, IpNet};
use npc_program::{CidrTerm, Isolation, Peer, PodTerm, Policy, PortTerm, Rule, Scope, Selector, Settings};
use npc_vocabulary::{Action, Direction, Tier};
use rustc_hash::FxHashSet;

use super::metadata::Metadata;
use super::network_policy::scope_of;
use super::selector::{Checked, selector};
use crate::{Imported, UNSUPPORTED};

/// A function that reads the ports of a rule in one version of the API. The last argument states whether a
/// peer of the rule names addresses.
pub(crate) type Ports = fn(&mut Reader, &Path<'_>, &Fields<'_>, bool) -> Option<Vec<PortTerm>>;

/// The differences between the kinds of cluster policies.
pub(crate) struct Version {
    /// The kind, for messages.
    pub(crate) kind: &'static str,
    /// The names of the actions.
    pub(crate) actions: &'static [(&'static str, Action)],
    /// The field that holds a rule's ports.
    pub(crate) ports_key: &'static str,
    /// The maximal number of rules, of peers and of ports.
    pub(crate) most: usize,
    /// Whether `pods` may omit `namespaceSelector`, which then selects every namespace.
    pub(crate) optional_namespaces: bool,
    /// Reads ports.
    pub(crate) ports: Ports,
}

/// Reads a list and checks its number of elements.
pub(crate) fn bounded<'n>(
    reader: &mut Reader,
    path: &Path<'_>,
    node: &'n Node,
    least: usize,
    most: usize,
) -> Option<&'n [Node]> {
    let list = reader.list(path, node)?;
    if list.len() < least {
        reader.report_invalid(path, node.location, format!("must have {least} or more elements"));
        return None;
    }
    if list.len() > most {
        reader.report_invalid(
            path,
            node.location,
            format!("must have at most {most} elements, and has {}", list.len()),
        );
        return None;
    }
    Some(list)
}

/// Reads an object that must have exactly one of the fields.
pub(crate) fn one_of<'n>(
    reader: &mut Reader,
    path: &Path<'_>,
    node: &'n Node,
    known: &[&str],
) -> Option<Fields<'n>> {
    let fields = reader.object(path, node, known)?;
    let given = fields.count();
    if given != 1 {
        let why = match given {
            0 => format!("one of {} must be given", known.join(", ")),
            _ => format!("only one of {} may be given", known.join(", ")),
        };
        reader.report_invalid(path, fields.location, why);
        return None;
    }
    Some(fields)
}

/// Reads a subject or a peer given as `namespaces` or `pods`.
pub(crate) fn pods(
    reader: &mut Reader,
    path: &Path<'_>,
    fields: &Fields<'_>,
    optional_namespaces: bool,
) -> Option<PodTerm> {
    let term = |namespaces: Selector, pods: Selector, location: Location| PodTerm {
        selector: pods,
        scope: Scope::of(scope_of(namespaces)),
        location,
        scope_location: Some(location),
    };
    if let Some(node) = fields.get("namespaces") {
        let namespaces = selector(reader, &path.field("namespaces"), node, Checked::ByNobody)?;
        return Some(term(namespaces, Selector::default(), node.location));
    }
    let path = path.field("pods");
    let node = fields.get("pods")?;
    let both = reader.object(&path, node, &["namespaceSelector", "podSelector"])?;
    let mut read = |key: &str, optional: bool| match both.get(key) {
        Some(node) => selector(reader, &path.field(key), node, Checked::ByNobody),
        None if optional => Some(Selector::default()),
        None => {
            reader.require(&path.field(key), both.location);
            None
        }
    };
    let (namespaces, pods) = (read("namespaceSelector", optional_namespaces), read("podSelector", false));
    Some(term(namespaces?, pods?, node.location))
}

/// The tier and the priority of a policy, with their location.
pub(crate) struct Rank {
    pub(crate) tier: Tier,
    pub(crate) priority: u16,
    pub(crate) location: Location,
}

/// Reads the fields of `spec` other than tier and priority.
pub(crate) fn policy(
    reader: &mut Reader,
    version: &Version,
    metadata: Option<Metadata<'_>>,
    whole: Location,
    spec: &Fields<'_>,
    rank: Option<Rank>,
) -> Option<Imported> {
    let path = Path::Root.field("spec");
    let subject_path = path.field("subject");
    let subject = match spec.get("subject") {
        None => {
            reader.require(&subject_path, spec.location);
            None
        }
        Some(node) => one_of(reader, &subject_path, node, &["namespaces", "pods"])
            .and_then(|fields| pods(reader, &subject_path, &fields, version.optional_namespaces)),
    };
    let mut rules = Vec::new();
    let mut rule_names = Vec::new();
    let mut fine = true;
    for direction in [Direction::Ingress, Direction::Egress] {
        let key = match direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        };
        let path = path.field(key);
        let Some(node) = spec.get(key) else { continue };
        let Some(list) = bounded(reader, &path, node, 0, version.most) else {
            fine = false;
            continue;
        };
        for (index, node) in list.iter().enumerate() {
            match rule(reader, version, &path.index(index), node, direction) {
                Some((rule, name)) => {
                    rules.push(rule);
                    rule_names.push(name);
                }
                None => fine = false,
            }
        }
    }
    let (subject, metadata, rank) = (subject?, metadata?, rank?);
    let policy = Policy {
        name: metadata.name.into(),
        location: metadata.location,
        whole,
        docs: metadata.docs,
        audit: None,
        tier: rank.tier,
        tier_location: Some(rank.location),
        priority: rank.priority,
        priority_location: Some(rank.location),
        subjects: vec![Arc::new(subject)],
        rules,
        isolate: Isolation::default(),
        settings: Settings::default(),
    };
    let short_name = Arc::clone(&policy.name);
    fine.then_some(Imported {
        policy,
        short_name,
        origin: metadata.origin,
        rule_names,
        kind: version.kind,
        generated: None,
        dropped: metadata.dropped,
        assumes_namespace: false,
    })
}

fn rule(
    reader: &mut Reader,
    version: &Version,
    path: &Path<'_>,
    node: &Node,
    direction: Direction,
) -> Option<(Rule, Option<String>)> {
    let peers_key = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let fields = reader.object(path, node, &["name", "action", peers_key, version.ports_key])?;
    let name_path = path.field("name");
    let name = match fields.get("name") {
        Some(node) => {
            let name = reader.string(&name_path, node)?;
            if name.len() > 100 {
                reader.report_invalid(&name_path, node.location, "at most 100 bytes");
                return None;
            }
            Some(name.to_owned()).filter(|name| !name.is_empty())
        }
        None => None,
    };
    let action_path = path.field("action");
    let action = match fields.get("action") {
        None => {
            reader.require(&action_path, fields.location);
            None
        }
        Some(node) => {
            let word = reader.string(&action_path, node)?;
            let found = version.actions.iter().find(|(known, _)| *known == word);
            if found.is_none() {
                let words: Vec<&str> = version.actions.iter().map(|(word, _)| *word).collect();
                let why = format!("`{word}` is not one of {}", words.join(", "));
                reader.report_invalid(&action_path, node.location, why);
            }
            found.map(|(_, action)| (*action, node.location))
        }
    };
    let peers_path = path.field(peers_key);
    let mut peers = Vec::new();
    let mut fine = true;
    let mut addresses = false;
    match fields.get(peers_key) {
        None => {
            reader.require(&peers_path, fields.location);
            fine = false;
        }
        Some(node) => match bounded(reader, &peers_path, node, 1, version.most) {
            None => fine = false,
            Some(list) => {
                for (index, node) in list.iter().enumerate() {
                    let path = peers_path.index(index);
                    match peer(reader, version, &path, node, direction, &mut peers) {
                        Some(by_address) => addresses |= by_address,
                        None => fine = false,
                    }
                }
            }
        },
    }
    let ports = (version.ports)(reader, path, &fields, addresses);
    let (action, action_location) = action?;
    let rule =
        Rule { location: node.location, action, action_location, direction, peers, ports: ports?, log: None };
    fine.then_some((rule, name))
}

/// Reads a peer and adds it to `peers`. Returns whether it names addresses, or `None` if it has errors.
fn peer(
    reader: &mut Reader,
    version: &Version,
    path: &Path<'_>,
    node: &Node,
    direction: Direction,
    peers: &mut Vec<Peer>,
) -> Option<bool> {
    let known: &[&str] = match direction {
        Direction::Ingress => &["namespaces", "pods"],
        Direction::Egress => &["namespaces", "pods", "networks", "nodes", "domainNames"],
    };
    let fields = one_of(reader, path, node, known)?;
    for (key, what) in [("nodes", "nodes"), ("domainNames", "domain names")] {
        let Some(node) = fields.get(key) else { continue };
        if key == "domainNames" {
            domain_names(reader, &path.field(key), node)?;
        }
        reader.diagnostics.push(
            Diagnostic::new(
                &UNSUPPORTED,
                format!("npc does not support `{}`", path.field(key)),
                node.location,
                format!("the language has no {what}"),
            )
            .note("it is in the experimental channel of the API; the language has pods and addresses only"),
        );
        return None;
    }
    if let Some(node) = fields.get("networks") {
        let path = path.field("networks");
        let list = bounded(reader, &path, node, 1, version.most)?;
        let mut seen = FxHashSet::default();
        let mut fine = true;
        for (index, node) in list.iter().enumerate() {
            let path = path.index(index);
            let text = reader.string(&path, node)?;
            if !seen.insert(text) {
                reader.report_invalid(&path, node.location, format!("`{text}` is listed twice"));
                fine = false;
                continue;
            }
            match network(text) {
                Some(net) => {
                    let block = Block::from(net);
                    peers.push(Peer::Block(Arc::new(CidrTerm { block, location: node.location })));
                }
                None => {
                    let why = format!("`{text}` is not a CIDR such as `10.0.0.0/8`");
                    reader.report_invalid(&path, node.location, why);
                    fine = false;
                }
            }
        }
        return fine.then_some(true);
    }
    let term = pods(reader, path, &fields, version.optional_namespaces)?;
    peers.push(Peer::Pods(Arc::new(term)));
    Some(false)
}

/// Parses a CIDR. The API accepts host bits here and ignores them.
fn network(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    let plain = !length.is_empty() && (length == "0" || !length.starts_with('0'));
    let net: IpNet = text.parse().ok().filter(|_| plain)?;
    match net {
        // The API rejects an IPv4 address in IPv6 notation.
        IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() || address.contains('.') => None,
        net => Some(net.trunc()),
    }
}

/// Checks domain names: `example.com` or `*.example.com`.
fn domain_names(reader: &mut Reader, path: &Path<'_>, node: &Node) -> Option<()> {
    let list = bounded(reader, path, node, 1, 25)?;
    let mut fine = true;
    for (index, node) in list.iter().enumerate() {
        let path = path.index(index);
        let Value::String(name) = &node.value else {
            reader.report_invalid(&path, node.location, "a domain name must be a string");
            fine = false;
            continue;
        };
        let rest = name.strip_prefix("*.").unwrap_or(name);
        let parts: Vec<&str> = rest.trim_end_matches('.').split('.').collect();
        // The API's own pattern contains `A-z`, which includes `[`, `\`, `]`, `^`, `_` and the backtick.
        let part = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'z').contains(&b) || b == b'-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        if parts.len() < 2 || !parts.iter().all(part) {
            reader.report_invalid(&path, node.location, format!("`{name}` is not a domain name"));
            fine = false;
        }
    }
    fine.then_some(())
}
