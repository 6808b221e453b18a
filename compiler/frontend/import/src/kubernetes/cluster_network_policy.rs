//! Reads `policy.networking.k8s.io/v1alpha2` ClusterNetworkPolicy.

use npc_manifest::{Fields, Node, Path, Reader};
use npc_program::PortTerm;
use npc_vocabulary::{Action, Port, Protocol, Tier, Which};

use super::metadata::{self, cluster_object};
use super::subject::{Rank, Version, bounded, one_of, policy};
use crate::Imported;

static VERSION: Version = Version {
    kind: "ClusterNetworkPolicy",
    actions: &[("Accept", Action::Allow), ("Deny", Action::Deny), ("Pass", Action::Pass)],
    ports_key: "protocols",
    most: 25,
    optional_namespaces: true,
    ports: protocols,
};

/// Reads a ClusterNetworkPolicy.
pub(crate) fn cluster_network_policy(reader: &mut Reader, node: &Node) -> Option<Imported> {
    let fields = ["tier", "priority", "subject", "ingress", "egress"];
    let (metadata, spec) = cluster_object(reader, node, metadata::Scope::Cluster, &fields)?;
    let path = Path::Root.field("spec");
    let tier_path = path.field("tier");
    let tier = match spec.get("tier") {
        None => {
            reader.require(&tier_path, spec.location);
            None
        }
        Some(node) => match reader.string(&tier_path, node)? {
            "Admin" => Some((Tier::Admin, node.location)),
            "Baseline" => Some((Tier::Baseline, node.location)),
            word => {
                reader.report_invalid(
                    &tier_path,
                    node.location,
                    format!("`{word}` is neither `Admin` nor `Baseline`"),
                );
                None
            }
        },
    };
    let priority = priority(reader, &path, &spec);
    let rank = tier.zip(priority).map(|((tier, location), priority)| Rank { tier, priority, location });
    let mut imported = policy(reader, &VERSION, metadata, node.location, &spec, rank)?;
    if imported.policy.tier == Tier::Baseline {
        // No tier follows the baseline tier, so `Pass` allows.
        for rule in &mut imported.policy.rules {
            if rule.action == Action::Pass {
                rule.action = Action::Allow;
            }
        }
    }
    Some(imported)
}

/// Reads `priority`, 0 to 1000.
pub(crate) fn priority(reader: &mut Reader, path: &Path<'_>, spec: &Fields<'_>) -> Option<u16> {
    let path = path.field("priority");
    let Some(node) = spec.get("priority") else {
        reader.require(&path, spec.location);
        return None;
    };
    let number = reader.integer(&path, node)?;
    let checked = u16::try_from(number).ok().filter(|number| *number <= 1000);
    if checked.is_none() {
        reader.report_invalid(&path, node.location, "priorities go from 0 to 1000");
    }
    checked
}

fn protocols(
    reader: &mut Reader,
    path: &Path<'_>,
    rule: &Fields<'_>,
    addresses: bool,
) -> Option<Vec<PortTerm>> {
    let list_path = path.field("protocols");
    let Some(node) = rule.get("protocols") else { return Some(Vec::new()) };
    let list = bounded(reader, &list_path, node, 1, VERSION.most)?;
    let mut terms = Vec::new();
    let mut fine = true;
    let mut named = false;
    for (index, node) in list.iter().enumerate() {
        let path = list_path.index(index);
        let known = ["tcp", "udp", "sctp", "destinationNamedPort"];
        let Some(fields) = one_of(reader, &path, node, &known) else {
            fine = false;
            continue;
        };
        if let Some(name) = fields.get("destinationNamedPort") {
            named = true;
            let name = reader.string(&path.field("destinationNamedPort"), name)?;
            // The pod's port determines the protocol.
            terms.extend(Protocol::ALL.into_iter().map(|protocol| PortTerm {
                port: Port { protocol, which: Which::Named(name.into()) },
                location: node.location,
            }));
            continue;
        }
        for protocol in Protocol::ALL {
            let key = protocol.as_str();
            let Some(inner) = fields.get(key) else { continue };
            match destination_port(reader, &path.field(key), inner) {
                Some(which) => {
                    terms.push(PortTerm { port: Port { protocol, which }, location: node.location });
                }
                None => fine = false,
            }
        }
    }
    if named && addresses {
        let why = "only pods have named ports, addresses do not: use a number";
        reader.report_invalid(path, rule.location, why);
        fine = false;
    }
    fine.then_some(terms)
}

fn destination_port(reader: &mut Reader, path: &Path<'_>, node: &Node) -> Option<Which> {
    let fields = one_of(reader, path, node, &["destinationPort"])?;
    let path = path.field("destinationPort");
    let fields = one_of(reader, &path, fields.get("destinationPort")?, &["number", "range"])?;
    if fields.get("number").is_some() {
        let port = port_number(reader, &path, &fields, "number")?;
        return Some(Which::Range(port, port));
    }
    let path = path.field("range");
    range(reader, &path, fields.get("range")?)
}

/// Reads a required port number, 1 to 65535.
pub(crate) fn port_number(
    reader: &mut Reader,
    path: &Path<'_>,
    fields: &Fields<'_>,
    key: &str,
) -> Option<u16> {
    let path = path.field(key);
    let Some(node) = fields.get(key) else {
        reader.require(&path, fields.location);
        return None;
    };
    let number = reader.integer(&path, node)?;
    let checked = u16::try_from(number).ok().filter(|number| *number > 0);
    if checked.is_none() {
        reader.report_invalid(&path, node.location, "ports go from 1 to 65535");
    }
    checked
}

/// Reads a port range; `start` must be less than `end`.
fn range(reader: &mut Reader, path: &Path<'_>, node: &Node) -> Option<Which> {
    let fields = reader.object(path, node, &["start", "end"])?;
    let (start, end) =
        (port_number(reader, path, &fields, "start"), port_number(reader, path, &fields, "end"));
    let (start, end) = (start?, end?);
    if start >= end {
        reader.report_invalid(path, fields.location, "`start` must be below `end`");
        return None;
    }
    Some(Which::Range(start, end))
}
