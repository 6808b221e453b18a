//! Runs the tests and the assertions of a program.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use npc_cluster::{Cluster, NAMESPACE_NAME, NamedPort, Namespace, Pod};
use npc_diagnostics::{Location, SourceMap};
use npc_import::word;
use npc_model::{Connection, Endpoint, Traffic, verdict};
use npc_program::values::address::Block;
use npc_program::values::port::{Port, Protocol, Which};
use npc_program::{Assertion, End, Expectation, Files, Peer, Program, Test};
use npc_proof::{Outcome, Witness, WitnessEnd, prove};
use npc_targets::Options;

use crate::answer::Answer;
use crate::ask::ask;

/// What became of a test or an assertion.
#[derive(Clone, Debug)]
pub struct Ran {
    /// A test's name, or an assertion's text.
    pub name: String,
    /// Whether it is an assertion.
    pub is_assertion: bool,
    /// Where it stands.
    pub location: Location,
    /// How many connections were asked; of an assertion, every one there could be.
    pub connections: usize,
    /// What failed. Empty where all is as expected.
    pub failures: Vec<Failure>,
}

/// What is not as expected.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Where it is expected.
    pub location: Location,
    /// What is expected, as it stands in the program.
    pub expected: String,
    /// Why it is not so.
    pub why: Why,
}

/// Why an expectation failed.
#[derive(Clone, Debug)]
pub enum Why {
    /// This connection has the other verdict.
    Verdict(Box<Answer>),
    /// So has this one, in a cluster that could be; with a test that shows it.
    Refuted(Box<Answer>, String),
    /// It could not be asked, in words.
    NotAsked(String),
    /// It speaks of no connection that could be.
    Vacuous,
}

/// Runs the tests that are wanted, in their order, and then the assertions: by the name of a test, or the
/// text of an assertion, and where it stands. Others are not looked at. Files that a test names are found
/// beside its own, by its name in `sources`; answers name places as `shown` does, which has the same files.
#[must_use]
pub fn run(
    program: &Program,
    sources: &SourceMap,
    shown: &SourceMap,
    files: &impl Files,
    options: &Options,
    wanted: impl Fn(&str, Location) -> bool,
) -> Vec<Ran> {
    let tests = program.tests.iter().filter(|test| wanted(&test.name, test.location));
    let mut ran: Vec<Ran> = tests.map(|test| run_test(program, sources, shown, files, test)).collect();
    let text = |location: Location| sources.text(location).split_whitespace().collect::<Vec<_>>().join(" ");
    let named = program.asserts.iter().map(|assertion| (text(assertion.location), assertion));
    let assertions: Vec<(String, &Assertion)> =
        named.filter(|(name, assertion)| wanted(name, assertion.location)).collect();
    let outcomes =
        prove(program, assertions.iter().map(|(_, assertion)| *assertion), options.pod_blocks.blocks());
    for (index, (expected, assertion)) in assertions.into_iter().enumerate() {
        let why = match &outcomes {
            Ok(outcomes) => match outcomes.get(index) {
                Some(Outcome::Proved) => None,
                None => Some(Why::NotAsked("it was not looked at".to_owned())),
                Some(Outcome::Vacuous) => Some(Why::Vacuous),
                Some(Outcome::Refuted(witness)) => Some(refuted(program, shown, witness, assertion.allowed)),
            },
            Err(why) => Some(Why::NotAsked(why.to_string())),
        };
        let failures = why
            .map(|why| Failure { location: assertion.location, expected: expected.clone(), why })
            .into_iter()
            .collect();
        ran.push(Ran {
            name: expected,
            is_assertion: true,
            location: assertion.location,
            connections: 0,
            failures,
        });
    }
    ran
}

fn refuted(program: &Program, sources: &SourceMap, witness: &Witness, allowed: bool) -> Why {
    match witness.connection() {
        Some(connection) => Why::Refuted(
            Box::new(ask(program, sources, &connection)),
            test_text("counterexample", witness, allowed),
        ),
        None => Why::NotAsked("the counterexample has no connection".to_owned()),
    }
}

/// A test that shows a witness: it fails as long as the witness has the other verdict.
#[must_use]
pub fn test_text(name: &str, witness: &Witness, allowed: bool) -> String {
    let Witness { cluster, .. } = witness;
    let labels = |labels: &BTreeMap<String, String>| {
        let labels: Vec<String> = labels
            .iter()
            .filter(|(key, _)| *key != NAMESPACE_NAME)
            .map(|(key, value)| format!("{} = {}", word(key), word(value)))
            .collect();
        if labels.is_empty() { String::new() } else { format!(" {{ {} }}", labels.join(", ")) }
    };
    let mut out = format!("test \"{name}\" {{\n");
    for namespace in &cluster.namespaces {
        out.push_str(&format!("  namespace {}{}\n", namespace.name, labels(&namespace.labels)));
    }
    let namespace_of =
        |pod: &Pod| cluster.namespaces.get(pod.namespace).map_or("", |namespace| namespace.name.as_str());
    for pod in &cluster.pods {
        let addresses: Vec<String> = pod.addresses.iter().map(ToString::to_string).collect();
        let ports: Vec<String> = pod
            .ports
            .iter()
            .map(|port| format!("{} = {}/{}", port.name, port.protocol.as_str(), port.port))
            .collect();
        let ports =
            if ports.is_empty() { String::new() } else { format!(" ports {{ {} }}", ports.join(", ")) };
        out.push_str(&format!(
            "  pod {} in {}{} at {}{ports}\n",
            pod.name,
            namespace_of(pod),
            labels(&pod.labels),
            addresses.join(", "),
        ));
    }
    let end = |end: &WitnessEnd| match end {
        WitnessEnd::Pod(place, _) => match cluster.pods.get(*place) {
            Some(pod) => format!("{}/{}", namespace_of(pod), pod.name),
            None => String::new(),
        },
        WitnessEnd::Outside(address) => address.to_string(),
    };
    let on = match witness.traffic {
        Traffic::Port(..) => format!(" on {}", witness.traffic),
        Traffic::Other => String::new(),
    };
    let verdict = if allowed { "allow" } else { "deny" };
    out.push_str(&format!(
        "\n  {verdict} {} -> {}{on}\n}}\n",
        end(&witness.source),
        end(&witness.destination)
    ));
    out
}

fn run_test(
    program: &Program,
    sources: &SourceMap,
    shown: &SourceMap,
    files: &impl Files,
    test: &Test,
) -> Ran {
    let mut ran = Ran {
        name: test.name.clone(),
        is_assertion: false,
        location: test.location,
        connections: 0,
        failures: Vec::new(),
    };
    let cluster = match cluster(test, sources, files) {
        Ok(cluster) => cluster,
        Err((location, why)) => {
            let expected = sources.text(location).to_owned();
            ran.failures.push(Failure { location, expected, why: Why::NotAsked(why) });
            return ran;
        }
    };
    let bounds = Bounds::new(program);
    for expectation in &test.expectations {
        let why = expect(program, shown, &cluster, &bounds, expectation, &mut ran.connections);
        if let Some(why) = why {
            let text = sources.text(expectation.location);
            ran.failures.push(Failure {
                location: expectation.location,
                expected: text.split_whitespace().collect::<Vec<_>>().join(" "),
                why,
            });
        }
    }
    ran
}

/// The cluster of a test: the files that it names, and what it says itself.
fn cluster(test: &Test, sources: &SourceMap, files: &impl Files) -> Result<Cluster, (Location, String)> {
    let mut namespaces: BTreeMap<String, Namespace> = BTreeMap::new();
    let mut pods: BTreeMap<(String, String), Pod> = BTreeMap::new();
    for (path, location) in &test.clusters {
        let own = sources.file(location.file).name();
        let folder = own.rsplit_once('/').map_or("", |(folder, _)| folder);
        let full = if folder.is_empty() { path.clone() } else { format!("{folder}/{path}") };
        let wrong = |why: &str| (*location, format!("{full} cannot be read: {why}"));
        let bytes = files.read(&full).map_err(|error| match error {
            npc_program::ReadError::NotFound(_) => wrong("there is no such file"),
            npc_program::ReadError::Outside => wrong("it lies outside the project's folder"),
            npc_program::ReadError::TooLarge => wrong("it is too large"),
            npc_program::ReadError::Other(why) => wrong(&why),
        })?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8 text"))?;
        let read = Cluster::parse(&text).map_err(|error| wrong(&error.to_string()))?;
        for pod in read.pods {
            let Some(namespace) = read.namespaces.get(pod.namespace) else { continue };
            pods.insert((namespace.name.clone(), pod.name.clone()), pod);
        }
        namespaces.extend(read.namespaces.into_iter().map(|namespace| (namespace.name.clone(), namespace)));
    }
    let owned = |labels: &npc_program::Labels| {
        labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect::<BTreeMap<_, _>>()
    };
    for namespace in &test.namespaces {
        let mut labels = owned(&namespace.labels);
        labels.insert(NAMESPACE_NAME.to_owned(), namespace.name.to_string());
        let name = namespace.name.to_string();
        namespaces.insert(name.clone(), Namespace { name, labels });
    }
    for pod in &test.pods {
        let named = |(name, port): &(std::sync::Arc<str>, Port)| match port.which {
            Which::Range(number, _) => {
                Some(NamedPort { name: name.to_string(), protocol: port.protocol, port: number })
            }
            _ => None,
        };
        let made = Pod {
            name: pod.name.to_string(),
            labels: owned(&pod.labels),
            addresses: pod.addresses.iter().map(IpNet::addr).collect(),
            ports: pod.ports.iter().filter_map(named).collect(),
            ..Pod::default()
        };
        pods.insert((pod.namespace.to_string(), pod.name.to_string()), made);
    }
    let mut cluster = Cluster { namespaces: namespaces.into_values().collect(), pods: Vec::new() };
    for ((namespace, name), mut pod) in pods {
        let Some(place) = cluster.namespace(&namespace) else {
            return Err((
                test.location,
                format!("the namespace `{namespace}` of the pod `{name}` is not there"),
            ));
        };
        pod.namespace = place;
        cluster.pods.push(pod);
    }
    cluster.pods.sort_by(|a, b| (a.namespace, &a.name).cmp(&(b.namespace, &b.name)));
    Ok(cluster)
}

/// Where blocks of addresses and ranges of ports begin and end: between two such places, all addresses
/// and all ports are alike, so that one stands for the others.
struct Bounds {
    nets: Vec<IpNet>,
    ports: Vec<(u16, u16)>,
}

impl Bounds {
    fn new(program: &Program) -> Self {
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

    /// Addresses that stand for all of a block.
    fn addresses(&self, block: &Block) -> Vec<IpAddr> {
        let mut starts = vec![block.net.network()];
        for net in self.nets.iter().chain(&block.except).filter(|net| block.net.contains(*net)) {
            starts.push(net.network());
            starts.extend(next(net.broadcast()));
        }
        starts.sort_unstable();
        starts.dedup();
        starts.retain(|address| block.contains(address));
        starts
    }

    /// Ports that stand for all of a port's, at a destination.
    fn ports(&self, port: &Port, destination: &Endpoint<'_>) -> Result<Vec<Traffic>, String> {
        let protocol = port.protocol;
        let (first, last) = match &port.which {
            Which::All => (1, u16::MAX),
            Which::Range(first, last) => (*first, *last),
            Which::Named(name) => {
                let Endpoint::Pod { pod, .. } = destination else {
                    return Err(format!("{destination} has no port called `{name}`"));
                };
                let own = pod.ports.iter().find(|own| own.name == **name && own.protocol == protocol);
                let own = own.ok_or_else(|| {
                    format!("{destination} has no {} port called `{name}`", protocol.as_str())
                })?;
                (own.port, own.port)
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

/// The address behind one, where there is one.
fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => u32::from(v4).checked_add(1).map(|next| IpAddr::V4(next.into())),
        IpAddr::V6(v6) => u128::from(v6).checked_add(1).map(|next| IpAddr::V6(next.into())),
    }
}

/// Asks every connection that an expectation speaks of. Gives the first that is otherwise.
fn expect(
    program: &Program,
    sources: &SourceMap,
    cluster: &Cluster,
    bounds: &Bounds,
    expectation: &Expectation,
    asked: &mut usize,
) -> Option<Why> {
    let ends = |end: &End| -> Result<Vec<Endpoint<'_>>, String> {
        match end {
            End::Addresses(blocks) => {
                Ok(blocks.iter().flat_map(|block| bounds.addresses(block)).map(Endpoint::Outside).collect())
            }
            End::Pod(namespace, name) => {
                let place = cluster.pod(namespace, name);
                let place = place.ok_or_else(|| format!("there is no pod `{namespace}/{name}`"))?;
                let addresses = cluster.pods.get(place).map(|pod| pod.addresses.clone()).unwrap_or_default();
                let addresses: Vec<Option<IpAddr>> = match addresses.as_slice() {
                    [] => vec![None],
                    some => some.iter().copied().map(Some).collect(),
                };
                Ok(addresses
                    .into_iter()
                    .filter_map(|address| Endpoint::pod(cluster, place, address))
                    .collect())
            }
        }
    };
    let pair = ends(&expectation.source).and_then(|sources| Ok((sources, ends(&expectation.destination)?)));
    let (from, to) = match pair {
        Ok(pair) => pair,
        Err(why) => return Some(Why::NotAsked(why)),
    };
    let mut any = false;
    for source in &from {
        for destination in &to {
            let families = source.address().zip(destination.address());
            if families.is_some_and(|(a, b)| a.is_ipv4() != b.is_ipv4()) {
                continue;
            }
            let traffic = match traffic(bounds, expectation, destination) {
                Ok(traffic) => traffic,
                Err(why) => return Some(Why::NotAsked(why)),
            };
            for traffic in traffic {
                any = true;
                *asked += 1;
                let connection = Connection { source: *source, destination: *destination, traffic };
                if verdict(program, &connection).allowed() != expectation.allowed {
                    return Some(Why::Verdict(Box::new(ask(program, sources, &connection))));
                }
            }
        }
    }
    (!any).then(|| Why::NotAsked("the two ends have no addresses of one family".to_owned()))
}

fn traffic(
    bounds: &Bounds,
    expectation: &Expectation,
    destination: &Endpoint<'_>,
) -> Result<Vec<Traffic>, String> {
    let mut all = Vec::new();
    if expectation.ports.is_empty() {
        all.push(Traffic::Other);
        for protocol in Protocol::ALL {
            all.extend(bounds.ports(&Port { protocol, which: Which::All }, destination)?);
        }
    }
    for term in &expectation.ports {
        all.extend(bounds.ports(&term.port, destination)?);
    }
    Ok(all)
}
