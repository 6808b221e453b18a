//! Reads `networking.k8s.io/v1` NetworkPolicy.

use std::sync::Arc;

use npc_diagnostics::{Diagnostic, Location};
use npc_manifest::{Fields, Node, Path, Reader, Value};
use npc_program::values::address::{Block, IpNet, parse as parse_address, subtract};
use npc_program::values::label::NAMESPACE_NAME;
use npc_program::values::name::is_label;
use npc_program::{
    CidrTerm, Isolation, LAST_PRIORITY, Peer, PodTerm, Policy, PortTerm, Rule, Scope, ScopeBase, Selector,
    Settings,
};
use npc_vocabulary::{Action, Direction, Operator, Port, Protocol, Tier, Which, check_port_name};

use super::metadata::{self, metadata};
use super::selector::{Checked, nothing, selector};
use crate::Imported;

npc_diagnostics::codes! {
    /// # Rules without effect
    ///
    /// `policyTypes` does not contain the direction of these rules, so Kubernetes ignores them: they neither
    /// isolate a pod nor allow anything. Cilium (1.20) evaluates them all the same (cilium 48703), so one
    /// cluster denies what another allows.
    ///
    /// Remove the rules, or add their direction to `policyTypes`.
    LEFT_OUT_RULES = "NP0905" "left-out-rules" Warning;
}

/// The namespaces, the name and the description of an imported policy.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The namespaces that contain the object.
    pub(crate) scope: Scope,
    /// The policy's name.
    pub(crate) name: Arc<str>,
    /// The location of the name.
    pub(crate) location: Location,
    /// The lines of its description.
    pub(crate) docs: Vec<String>,
}

/// Reads a NetworkPolicy.
pub(crate) fn network_policy(reader: &mut Reader, node: &Node, applied_to: Option<&str>) -> Option<Imported> {
    let object = reader.object(&Path::Root, node, &["apiVersion", "kind", "metadata", "spec"])?;
    let metadata = metadata(reader, &object, metadata::Scope::Namespaced);
    let short_name: Arc<str> = metadata.as_ref().map_or("", |metadata| metadata.name).into();
    let origin = metadata.as_ref().and_then(|metadata| metadata.origin.clone());
    let dropped = metadata.as_ref().map(|metadata| metadata.dropped.clone()).unwrap_or_default();
    let has_namespace = metadata.as_ref().is_some_and(|metadata| metadata.has_namespace);
    let place = metadata.map(|metadata| {
        let namespace = match applied_to {
            Some(namespace) if !metadata.has_namespace => namespace,
            _ => metadata.namespace,
        };
        Place {
            scope: Scope::named(namespace),
            name: format!("{namespace}/{}", metadata.name).into(),
            location: metadata.location,
            docs: metadata.docs,
        }
    });
    // Read `spec` even if the metadata has errors, to report the errors of both.
    let null = Node { value: Value::Null, location: node.location };
    let policy = spec(reader, object.get("spec").unwrap_or(&null), node.location, &place);
    policy.map(|policy| Imported {
        policy,
        short_name,
        origin,
        rule_names: Vec::new(),
        kind: "NetworkPolicy",
        generated: None,
        dropped,
        assumes_namespace: !has_namespace && applied_to.is_none(),
    })
}

/// Reads the selectors of a NetworkPolicy. In a policy that Kyverno generates, they may contain placeholders.
pub(crate) trait Selectors {
    /// Reads the namespaces of a peer.
    fn namespaces(&mut self, reader: &mut Reader, path: &Path<'_>, node: &Node) -> Option<Scope>;
}

struct Plain;

impl Selectors for Plain {
    fn namespaces(&mut self, reader: &mut Reader, path: &Path<'_>, node: &Node) -> Option<Scope> {
        let base = scope_of(selector(reader, path, node, Checked::ByTheServer)?);
        Some(Scope::of(base))
    }
}

/// The scope that a namespace selector means.
pub(crate) fn scope_of(selector: Selector) -> ScopeBase {
    match selector.requirements.as_slice() {
        [] => ScopeBase::All,
        [only] if *only.key == *NAMESPACE_NAME && only.operator == Operator::In => {
            // A label's value need not be a valid name of a namespace.
            let names: Vec<_> = only.values.iter().filter(|name| is_label(name)).cloned().collect();
            if names.is_empty() { ScopeBase::Labels(nothing()) } else { ScopeBase::Names(names) }
        }
        _ => ScopeBase::Labels(selector),
    }
}

fn spec(reader: &mut Reader, node: &Node, whole: Location, place: &Option<Place>) -> Option<Policy> {
    spec_with(reader, &Path::Root.field("spec"), node, whole, place, &mut Plain)
}

/// Reads `spec` as a policy in the namespaces of `place`.
pub(crate) fn spec_with(
    reader: &mut Reader,
    path: &Path<'_>,
    node: &Node,
    whole: Location,
    place: &Option<Place>,
    selectors: &mut impl Selectors,
) -> Option<Policy> {
    let fields = reader.object(path, node, &["podSelector", "policyTypes", "ingress", "egress"])?;
    let pods = match fields.get("podSelector") {
        Some(node) => selector(reader, &path.field("podSelector"), node, Checked::ByTheServer),
        None => Some(Selector::default()),
    };
    let types = policy_types(reader, path, &fields);
    let mut rules = Vec::new();
    let mut isolation = Isolation::default();
    let types_place = if fields.given("policyTypes").is_some() {
        fields.location_of("policyTypes")
    } else {
        fields.location
    };
    let mut wrong = types.is_none();
    let types = types.unwrap_or_default();
    for direction in [Direction::Ingress, Direction::Egress] {
        let (key, word) = match direction {
            Direction::Ingress => ("ingress", "Ingress"),
            Direction::Egress => ("egress", "Egress"),
        };
        let read = rules_of(reader, &path.field(key), &fields, direction, selectors);
        wrong |= read.is_none();
        let read = read.unwrap_or_default();
        if types.contains(&direction) {
            match direction {
                Direction::Ingress => isolation.ingress = Some(types_place),
                Direction::Egress => isolation.egress = Some(types_place),
            }
            rules.extend(read);
        } else if !read.is_empty() && !wrong {
            reader.diagnostics.push(
                Diagnostic::new(
                    &LEFT_OUT_RULES,
                    format!("these {key} rules have no effect"),
                    fields.location_of(key),
                    format!("`policyTypes` does not contain {word}"),
                )
                .label(types_place, "the policy types")
                .help(format!("remove the rules, or add `{word}` to `policyTypes`")),
            );
        }
    }
    let (pods, place) = (pods?, place.as_ref()?);
    if wrong {
        return None;
    }
    let term = PodTerm {
        selector: pods,
        scope: place.scope.clone(),
        location: fields.location_of("podSelector"),
        scope_location: Some(place.location),
    };
    Some(Policy {
        name: Arc::clone(&place.name),
        location: place.location,
        whole,
        docs: place.docs.clone(),
        audit: None,
        tier: Tier::Namespaced,
        tier_location: None,
        priority: LAST_PRIORITY,
        priority_location: None,
        subjects: vec![Arc::new(term)],
        rules,
        isolate: isolation,
        settings: Settings::default(),
    })
}

/// The policy types, or the API server's defaults: Ingress, and Egress if there is an egress rule.
fn policy_types(reader: &mut Reader, path: &Path<'_>, fields: &Fields<'_>) -> Option<Vec<Direction>> {
    let path = path.field("policyTypes");
    let list = match fields.get("policyTypes") {
        Some(node) => reader.list(&path, node)?,
        None => &[],
    };
    if list.is_empty() {
        let rules = fields.get("egress").is_some_and(|node| match &node.value {
            Value::List(rules) => !rules.is_empty(),
            _ => false,
        });
        return Some(if rules {
            vec![Direction::Ingress, Direction::Egress]
        } else {
            vec![Direction::Ingress]
        });
    }
    if list.len() > 2 {
        reader.report_invalid(&path, fields.location_of("policyTypes"), "at most two types");
        return None;
    }
    let mut types = Some(Vec::new());
    for (index, node) in list.iter().enumerate() {
        let path = path.index(index);
        let found = match reader.string(&path, node)? {
            "Ingress" => Some(Direction::Ingress),
            "Egress" => Some(Direction::Egress),
            word => {
                reader.report_invalid(
                    &path,
                    node.location,
                    format!("`{word}` is neither `Ingress` nor `Egress`"),
                );
                None
            }
        };
        types = types.zip(found).map(|(mut types, found)| {
            types.push(found);
            types
        });
    }
    types
}

fn rules_of(
    reader: &mut Reader,
    path: &Path<'_>,
    fields: &Fields<'_>,
    direction: Direction,
    selectors: &mut impl Selectors,
) -> Option<Vec<Rule>> {
    let (key, peers_key) = match direction {
        Direction::Ingress => ("ingress", "from"),
        Direction::Egress => ("egress", "to"),
    };
    let list = match fields.get(key) {
        Some(node) => reader.list(path, node)?,
        None => return Some(Vec::new()),
    };
    let mut rules = Some(Vec::with_capacity(list.len()));
    for (index, node) in list.iter().enumerate() {
        let rule = rule(reader, &path.index(index), node, direction, peers_key, selectors);
        rules = rules.zip(rule).map(|(mut rules, rule)| {
            rules.push(rule);
            rules
        });
    }
    rules
}

fn rule(
    reader: &mut Reader,
    path: &Path<'_>,
    node: &Node,
    direction: Direction,
    peers_key: &str,
    selectors: &mut impl Selectors,
) -> Option<Rule> {
    let fields = reader.object(path, node, &[peers_key, "ports"])?;
    let mut peers = Some(Vec::new());
    let peers_path = path.field(peers_key);
    let list = match fields.get(peers_key) {
        Some(node) => reader.list(&peers_path, node)?,
        None => &[],
    };
    for (index, node) in list.iter().enumerate() {
        let peer = peer(reader, &peers_path.index(index), node, selectors);
        peers = peers.zip(peer).map(|(mut peers, peer)| {
            peers.push(peer);
            peers
        });
    }
    let mut ports = Some(Vec::new());
    let ports_path = path.field("ports");
    let port_list = match fields.get("ports") {
        Some(node) => reader.list(&ports_path, node)?,
        None => &[],
    };
    for (index, node) in port_list.iter().enumerate() {
        let port = port(reader, &ports_path.index(index), node);
        ports = ports.zip(port).map(|(mut ports, port)| {
            ports.push(port);
            ports
        });
    }
    let mut peers = peers?;
    // An empty list of peers means everyone.
    if peers.is_empty() {
        let location = fields.location_of(peers_key);
        peers.push(Peer::Anywhere { except: Vec::new(), location });
    }
    Some(Rule {
        location: node.location,
        action: Action::Allow,
        action_location: node.location,
        direction,
        peers,
        ports: ports?,
        log: None,
    })
}

fn peer(reader: &mut Reader, path: &Path<'_>, node: &Node, selectors: &mut impl Selectors) -> Option<Peer> {
    let fields = reader.object(path, node, &["podSelector", "namespaceSelector", "ipBlock"])?;
    let pods_path = path.field("podSelector");
    let pods = match fields.get("podSelector") {
        Some(node) => Some((selector(reader, &pods_path, node, Checked::ByTheServer)?, node.location)),
        None => None,
    };
    let namespaces_path = path.field("namespaceSelector");
    let namespaces = match fields.get("namespaceSelector") {
        Some(node) => Some((selectors.namespaces(reader, &namespaces_path, node)?, node.location)),
        None => None,
    };
    let block = fields.get("ipBlock");
    if block.is_some() && (pods.is_some() || namespaces.is_some()) {
        reader.report_invalid(
            path,
            fields.location,
            "`ipBlock` cannot be combined with a selector in one peer",
        );
        return None;
    }
    if let Some(node) = block {
        let block = ip_block(reader, &path.field("ipBlock"), node)?;
        return Some(Peer::Block(Arc::new(CidrTerm { block, location: node.location })));
    }
    let (scope, scope_location) = match &namespaces {
        Some((scope, location)) => (scope.clone(), Some(*location)),
        None => (Scope::own(), None),
    };
    if pods.is_none() && namespaces.is_none() {
        reader.report_invalid(
            path,
            fields.location,
            "a peer needs `podSelector`, `namespaceSelector` or `ipBlock`",
        );
        return None;
    }
    let (selector, location) = match pods {
        Some((selector, location)) => (selector, location),
        None => (Selector::default(), scope_location.unwrap_or(fields.location)),
    };
    Some(Peer::Pods(Arc::new(PodTerm { selector, scope, location, scope_location })))
}

fn ip_block(reader: &mut Reader, path: &Path<'_>, node: &Node) -> Option<Block> {
    let fields = reader.object(path, node, &["cidr", "except"])?;
    let cidr_path = path.field("cidr");
    let cidr = match fields.get("cidr") {
        Some(node) => Some((reader.string(&cidr_path, node)?, node.location)),
        None => None,
    };
    let Some((cidr, place)) = cidr.filter(|(cidr, _)| !cidr.is_empty()) else {
        reader.require(&cidr_path, fields.location);
        return None;
    };
    let net = self::cidr(reader, &cidr_path, cidr, place);
    let except_path = path.field("except");
    let list = match fields.get("except") {
        Some(node) => reader.list(&except_path, node)?,
        None => &[],
    };
    let mut except = Some(Vec::new());
    for (index, node) in list.iter().enumerate() {
        let path = except_path.index(index);
        let text = reader.string(&path, node)?;
        let mut inner = self::cidr(reader, &path, text, node.location);
        if let (Some(inside), Some(net)) = (inner, net)
            && !(net.contains(&inside) && net.prefix_len() < inside.prefix_len())
        {
            reader.report_invalid(
                &path,
                node.location,
                format!("`{inside}` is not a strict subset of `{net}`"),
            );
            inner = None;
        }
        except = except.zip(inner).map(|(mut except, inner)| {
            except.push(Block::from(inner));
            except
        });
    }
    // The exceptions are smaller than the CIDR, so exactly one block remains.
    subtract(&[Block::from(net?)], &except?).into_iter().next()
}

/// Parses a CIDR, in the forms that Kubernetes 1.36 accepts.
fn cidr(reader: &mut Reader, path: &Path<'_>, text: &str, place: Location) -> Option<IpNet> {
    if !text.contains('/') {
        reader.report_invalid(path, place, format!("`{text}` is not a CIDR such as `10.0.0.0/8`"));
        return None;
    }
    match parse_address(text, place) {
        Ok(net) => Some(net),
        Err(wrong) => {
            let why = wrong.labels.first().map_or("", |label| label.text.as_str());
            reader.report_invalid(path, place, format!("{}: {why}", wrong.message));
            None
        }
    }
}

/// Reads `protocol`; the API's default is TCP.
pub(crate) fn protocol(reader: &mut Reader, path: &Path<'_>, fields: &Fields<'_>) -> Option<Protocol> {
    let path = path.field("protocol");
    let Some(node) = fields.get("protocol") else { return Some(Protocol::Tcp) };
    let word = reader.string(&path, node)?;
    let known = Protocol::ALL.into_iter().find(|protocol| protocol.api_name() == word);
    if known.is_none() {
        reader.report_invalid(&path, node.location, format!("`{word}` is not one of TCP, UDP and SCTP"));
    }
    known
}

fn port(reader: &mut Reader, path: &Path<'_>, node: &Node) -> Option<PortTerm> {
    let fields = reader.object(path, node, &["protocol", "port", "endPort"])?;
    let protocol = protocol(reader, path, &fields);
    let (port_path, end_path) = (path.field("port"), path.field("endPort"));
    let end = match fields.get("endPort") {
        Some(node) => Some((reader.integer(&end_path, node)?, node.location)),
        None => None,
    };
    let number = |number: i64| u16::try_from(number).ok().filter(|number| *number > 0);
    let which = match fields.get("port").map(|node| (&node.value, node)) {
        None => {
            if let Some((_, place)) = end {
                reader.report_invalid(&end_path, place, "`endPort` needs a `port`");
                return None;
            }
            Some(Which::All)
        }
        Some((Value::Int(first), node)) => {
            let checked = number(*first);
            if checked.is_none() {
                reader.report_invalid(&port_path, node.location, "ports go from 1 to 65535");
            }
            match end {
                None => checked.map(|port| Which::Range(port, port)),
                Some((last, place)) => {
                    let mut fine = true;
                    if last < *first {
                        reader.report_invalid(&end_path, place, "must not be below `port`");
                        fine = false;
                    }
                    if number(last).is_none() {
                        reader.report_invalid(&end_path, place, "ports go from 1 to 65535");
                        fine = false;
                    }
                    checked.zip(number(last)).filter(|_| fine).map(|(first, last)| Which::Range(first, last))
                }
            }
        }
        Some((Value::String(name), node)) => {
            let mut fine = true;
            if let Err(why) = check_port_name(name) {
                reader.report_invalid(&port_path, node.location, format!("`{name}`: {why}"));
                fine = false;
            }
            if let Some((_, place)) = end {
                reader.report_invalid(&end_path, place, "a named port cannot have an `endPort`");
                fine = false;
            }
            fine.then(|| Which::Named(name.as_str().into()))
        }
        Some((other, node)) => {
            reader.report_invalid(
                &port_path,
                node.location,
                format!("expected a number or a name, found {}", other.kind()),
            );
            None
        }
    };
    Some(PortTerm { port: Port { protocol: protocol?, which: which? }, location: node.location })
}
