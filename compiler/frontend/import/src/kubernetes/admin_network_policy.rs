//! Reads `policy.networking.k8s.io/v1alpha1`: AdminNetworkPolicy and BaselineAdminNetworkPolicy.

use npc_manifest::{Fields, Node, Path, Reader};
use npc_program::{LAST_PRIORITY, PortTerm};
use npc_vocabulary::{Action, Port, Protocol, Tier, Which};

use super::cluster_network_policy::{port_number, priority};
use super::metadata::{self, cluster_object};
use super::network_policy::protocol;
use super::subject::{Rank, Version, bounded, one_of, policy};
use crate::Imported;

const ADMIN: Version = Version {
    kind: "AdminNetworkPolicy",
    actions: &[("Allow", Action::Allow), ("Deny", Action::Deny), ("Pass", Action::Pass)],
    ports_key: "ports",
    most: 100,
    optional_namespaces: false,
    ports,
};

const BASELINE: Version = Version {
    kind: "BaselineAdminNetworkPolicy",
    actions: &[("Allow", Action::Allow), ("Deny", Action::Deny)],
    ..ADMIN
};

/// Reads an AdminNetworkPolicy.
pub(crate) fn admin_network_policy(reader: &mut Reader, node: &Node) -> Option<Imported> {
    read(reader, node, &ADMIN)
}

/// Reads a BaselineAdminNetworkPolicy. A cluster has at most one, with the name `default`.
pub(crate) fn baseline_admin_network_policy(reader: &mut Reader, node: &Node) -> Option<Imported> {
    read(reader, node, &BASELINE)
}

fn read(reader: &mut Reader, node: &Node, version: &Version) -> Option<Imported> {
    let known: &[&str] = match version.kind == ADMIN.kind {
        true => &["priority", "subject", "ingress", "egress"],
        false => &["subject", "ingress", "egress"],
    };
    let (metadata, spec) = cluster_object(reader, node, metadata::Scope::Cluster, known)?;
    let path = Path::Root.field("spec");
    let rank = if version.kind == ADMIN.kind {
        priority(reader, &path, &spec).map(|priority| Rank {
            tier: Tier::Admin,
            priority,
            location: spec.location_of("priority"),
        })
    } else {
        if let Some(metadata) = metadata.as_ref().filter(|metadata| metadata.name != "default") {
            let why = "a BaselineAdminNetworkPolicy must have the name `default`";
            reader.report_invalid(&Path::Root.field("metadata").field("name"), metadata.location, why);
        }
        Some(Rank { tier: Tier::Baseline, priority: LAST_PRIORITY, location: node.location })
    };
    policy(reader, version, metadata, node.location, &spec, rank)
}

fn ports(reader: &mut Reader, path: &Path<'_>, rule: &Fields<'_>, addresses: bool) -> Option<Vec<PortTerm>> {
    let list_path = path.field("ports");
    let Some(node) = rule.get("ports") else { return Some(Vec::new()) };
    let list = bounded(reader, &list_path, node, 0, ADMIN.most)?;
    let mut terms = Vec::new();
    let mut fine = true;
    for (index, node) in list.iter().enumerate() {
        let path = list_path.index(index);
        let Some(fields) = one_of(reader, &path, node, &["portNumber", "portRange", "namedPort"]) else {
            fine = false;
            continue;
        };
        if let Some(name) = fields.get("namedPort") {
            let name_path = path.field("namedPort");
            let name = reader.string(&name_path, name)?;
            if addresses {
                reader.report_invalid(
                    &name_path,
                    node.location,
                    "only pods have named ports, addresses do not: use a number",
                );
                fine = false;
            }
            terms.extend(Protocol::ALL.into_iter().map(|protocol| PortTerm {
                port: Port { protocol, which: Which::Named(name.into()) },
                location: node.location,
            }));
            continue;
        }
        let (key, ends) = if fields.get("portNumber").is_some() {
            ("portNumber", ["port", "port"])
        } else {
            ("portRange", ["start", "end"])
        };
        let path = path.field(key);
        let Some(inner) = fields.get(key) else { continue };
        match numbers(reader, &path, inner, ends) {
            Some(port) => terms.push(PortTerm { port, location: node.location }),
            None => fine = false,
        }
    }
    fine.then_some(terms)
}

fn numbers(reader: &mut Reader, path: &Path<'_>, node: &Node, ends: [&str; 2]) -> Option<Port> {
    let [first_key, last_key] = ends;
    let fields = reader.object(path, node, &["protocol", first_key, last_key])?;
    let protocol = protocol(reader, path, &fields)?;
    let first = port_number(reader, path, &fields, first_key)?;
    let last = port_number(reader, path, &fields, last_key)?;
    if first_key != last_key && first >= last {
        reader.report_invalid(path, fields.location, "`start` must be below `end`");
        return None;
    }
    Some(Port { protocol, which: Which::Range(first, last) })
}
