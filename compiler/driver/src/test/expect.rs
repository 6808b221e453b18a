//! Evaluation of the expectations of tests, for every connection that they cover.

use std::net::IpAddr;

use ipnet::IpNet;
use npc_cluster::{
    AddressOwner, Index, NEITHER_IS_A_POD, Service, ServicePort, ServiceRoute, Via, end_at, is_pod,
};
use npc_diagnostics::SourceMap;
use npc_model::Evaluator;
use npc_program::values::address::Block;
use npc_program::{End, Expectation, Peer, Program};
use npc_vocabulary::{Connection, Endpoint, Port, Protocol, Traffic, Which};

use super::failure::Why;
use crate::query::Explainer;

/// The boundaries of the CIDRs and port ranges of a program. No rule distinguishes addresses or ports between two
/// boundaries, so it suffices to evaluate one of them.
pub(crate) struct Bounds {
    nets: Vec<IpNet>,
    ports: Vec<(u16, u16)>,
}

impl Bounds {
    pub(crate) fn new(program: &Program) -> Self {
        let mut bounds = Self { nets: Vec::new(), ports: Vec::new() };
        for rule in program.policies.iter().flat_map(|policy| &policy.rules) {
            for peer in &rule.peers {
                match peer {
                    Peer::Anywhere { except, .. } => except.iter().for_each(|block| bounds.block(block)),
                    Peer::Block(term) => bounds.block(&term.block),
                    Peer::Pods(_) => {}
                }
            }
            bounds.ports.extend(rule.ports.iter().filter_map(|term| match term.port.which {
                Which::Range(first, last) => Some((first, last)),
                _ => None,
            }));
        }
        bounds.nets.sort_unstable();
        bounds.nets.dedup();
        bounds.ports.sort_unstable();
        bounds.ports.dedup();
        bounds
    }

    fn block(&mut self, block: &Block) {
        self.nets.push(block.net);
        self.nets.extend(&block.except);
    }

    /// Addresses that represent all addresses of a block, including each address that a pod, node or Service of the
    /// cluster has.
    fn addresses(&self, block: &Block, index: &Index<'_>) -> Vec<IpAddr> {
        let mut starts = vec![block.net.network()];
        for net in self.nets.iter().chain(&block.except).filter(|net| block.net.contains(*net)) {
            starts.push(net.network());
            starts.extend(next(net.broadcast()));
        }
        for address in index.addresses().filter(|address| block.net.contains(address)) {
            starts.push(address);
            starts.extend(next(address));
        }
        starts.sort_unstable();
        starts.dedup();
        starts.retain(|address| block.contains(address));
        starts
    }

    /// Ports that represent all ports of a port term at a destination.
    fn ports(&self, port: &Port, destination: &Endpoint<'_>) -> Result<Vec<Traffic>, String> {
        let protocol = port.protocol;
        let (first, last) = match &port.which {
            Which::All => (1, u16::MAX),
            Which::Range(first, last) => (*first, *last),
            Which::Named(name) => {
                let Some((pod, _)) = destination.selectable() else {
                    return Err(format!("{destination} has no port called `{name}`"));
                };
                let own = pod.port_named(protocol, name).ok_or_else(|| {
                    format!("{destination} has no {} port called `{name}`", protocol.as_str())
                })?;
                (own, own)
            }
        };
        let mut starts = vec![first];
        for (start, end) in &self.ports {
            starts.extend([Some(*start), end.checked_add(1)].into_iter().flatten());
        }
        if let Endpoint::Pod { pod, .. } = destination {
            for own in &pod.ports {
                starts.extend([Some(own.port), own.port.checked_add(1)].into_iter().flatten());
            }
        }
        starts.sort_unstable();
        starts.dedup();
        starts.retain(|start| (first..=last).contains(start));
        Ok(starts.into_iter().map(|port| Traffic::Port(protocol, port)).collect())
    }
}

/// The next address, if there is one.
fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => u32::from(v4).checked_add(1).map(|next| IpAddr::V4(next.into())),
        IpAddr::V6(v6) => u128::from(v6).checked_add(1).map(|next| IpAddr::V6(next.into())),
    }
}

/// The context in which the expectations of a test are evaluated.
pub(crate) struct Expecting<'a> {
    pub(crate) program: &'a Program,
    pub(crate) sources: &'a SourceMap,
    pub(crate) index: &'a Index<'a>,
    pub(crate) evaluator: &'a Evaluator<'a>,
    pub(crate) bounds: &'a Bounds,
}

impl<'a> Expecting<'a> {
    /// Evaluates an expectation. Returns the first connection with a different verdict, or the reason why the
    /// expectation cannot be evaluated. Adds the number of evaluated connections to `asked`.
    pub(crate) fn failure(&self, expectation: &Expectation, asked: &mut usize) -> Option<Why> {
        let pair = self
            .ends(&expectation.source)
            .and_then(|sources| Ok((sources, self.ends(&expectation.destination)?)));
        let (from, to) = match pair {
            Ok(pair) => pair,
            Err(why) => return Some(Why::NotEvaluated(why)),
        };
        // A block may contain the address of the other end. Connections of that pod to itself are not covered.
        let is_block =
            |end: &End, found: &[Endpoint<'_>]| matches!(end, End::Addresses(_)) && found.len() > 1;
        let by_block = is_block(&expectation.source, &from) || is_block(&expectation.destination, &to);
        let (mut any, mut any_of_one_family) = (false, false);
        for source in &from {
            for destination in &to {
                let families = source.address().zip(destination.address());
                if families.is_some_and(|(a, b)| a.is_ipv4() != b.is_ipv4()) {
                    continue;
                }
                any_of_one_family = true;
                if by_block && source.is_same_pod(destination) {
                    continue;
                }
                let connections = match self.connections(expectation, source, destination) {
                    Ok(connections) => connections,
                    Err(why) => return Some(Why::NotEvaluated(why)),
                };
                for connection in connections {
                    if !is_pod(&connection.source) && !is_pod(&connection.destination) {
                        continue;
                    }
                    any = true;
                    *asked += 1;
                    let verdict = self.evaluator.verdict(&connection);
                    if verdict.allowed() != expectation.allowed {
                        let explainer = Explainer::new(self.program, self.sources);
                        return Some(Why::Verdict(Box::new(explainer.explain(&connection, &verdict))));
                    }
                }
            }
        }
        let why = if any_of_one_family {
            NEITHER_IS_A_POD
        } else {
            "the two ends have no addresses of the same family"
        };
        (!any).then(|| Why::NotEvaluated(why.to_owned()))
    }

    fn ends(&self, end: &End) -> Result<Vec<Endpoint<'a>>, String> {
        match end {
            End::Addresses(blocks) => blocks
                .iter()
                .flat_map(|block| self.bounds.addresses(block, self.index))
                .flat_map(|address| match self.index.owner(address) {
                    // Two pods have the address; evaluate both.
                    Some(AddressOwner::Pods(first, second)) => {
                        let cluster = self.index.cluster;
                        let pod = |place| cluster.endpoint(place, Some(address)).map(Ok);
                        [first, second].into_iter().filter_map(pod).collect()
                    }
                    _ => vec![end_at(address, Some(self.index))],
                })
                .collect(),
            End::Pod(namespace, name) => {
                let cluster = self.index.cluster;
                let place = self.index.pod(namespace, name);
                let place = place.ok_or_else(|| format!("there is no pod `{namespace}/{name}`"))?;
                let addresses = cluster.pods.get(place).map_or(&[][..], |pod| &pod.addresses);
                let addresses: Vec<Option<IpAddr>> = match addresses {
                    [] => vec![None],
                    some => some.iter().copied().map(Some).collect(),
                };
                let pods = addresses.into_iter().filter_map(|address| cluster.endpoint(place, address));
                Ok(pods.collect())
            }
        }
    }

    /// The connections between two ends that an expectation covers. If the destination is an address of a Service,
    /// they go to its endpoints.
    fn connections(
        &self,
        expectation: &Expectation,
        source: &Endpoint<'a>,
        destination: &Endpoint<'a>,
    ) -> Result<Vec<Connection<'a>>, String> {
        let mut all = Vec::new();
        let services = match destination {
            Endpoint::Pod { .. } => Vec::new(),
            Endpoint::Node { address, .. } | Endpoint::Outside(address) => self.index.services_at(*address),
        };
        let mut taken: Vec<Traffic> = Vec::new();
        for (service, via) in &services {
            for own in &service.ports {
                let Some(port) = own.number(*via) else { continue };
                taken.push(Traffic::Port(own.protocol, port));
                if asks_for(expectation, own, port) {
                    let is_v4 = destination.address().map(|address| address.is_ipv4());
                    let route = ServiceRoute { index: self.index, service, via: *via };
                    all.extend(route.connections(std::slice::from_ref(source), own.protocol, port, is_v4)?);
                }
            }
        }
        let is_only_a_service = services.iter().any(|(_, via)| *via == Via::Cluster);
        if is_only_a_service {
            // Only the Service has the address, so there are no direct connections.
            return if all.is_empty() { Err(no_such_port(&services)) } else { Ok(all) };
        }
        let traffic = self.traffic(expectation, destination)?;
        let direct = traffic.into_iter().filter(|one| !taken.contains(one));
        all.extend(direct.map(|traffic| Connection::direct(*source, *destination, traffic)));
        Ok(all)
    }

    fn traffic(&self, expectation: &Expectation, destination: &Endpoint<'_>) -> Result<Vec<Traffic>, String> {
        let mut all = Vec::new();
        if expectation.ports.is_empty() {
            all.push(Traffic::Other);
            for protocol in Protocol::ALL {
                all.extend(self.bounds.ports(&Port { protocol, which: Which::All }, destination)?);
            }
        }
        for term in &expectation.ports {
            all.extend(self.bounds.ports(&term.port, destination)?);
        }
        Ok(all)
    }
}

/// Whether an expectation covers a port of a Service; `number` is the port that clients connect to.
fn asks_for(expectation: &Expectation, own: &ServicePort, number: u16) -> bool {
    expectation.ports.is_empty()
        || expectation.ports.iter().any(|term| {
            term.port.protocol == own.protocol
                && match &term.port.which {
                    Which::All => true,
                    Which::Range(first, last) => (*first..=*last).contains(&number),
                    Which::Named(name) => **name == *own.name,
                }
        })
}

fn no_such_port(services: &[(&Service, Via)]) -> String {
    let names: Vec<String> = services.iter().map(|(service, _)| service.full_name()).collect();
    format!("`{}` has none of these ports", names.join("`, `"))
}
