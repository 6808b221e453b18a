//! Execution of the tests and assertions of a program.

use std::collections::BTreeMap;

use ipnet::IpNet;
use npc_cluster::{Cluster, Index, NAMESPACE_NAME, NamedPort, Namespace, Node, Pod, Service};
use npc_diagnostics::{Location, SourceMap};
use npc_model::Evaluator;
use npc_print::word;
use npc_program::{Assertion, Files, Program, Test};
use npc_proof::{Outcome, Witness, WitnessEnd, prove};
use npc_targets::Options;
use npc_vocabulary::{Port, Traffic, Which};

use super::expect::{Bounds, Expecting};
use super::failure::{Failure, TestResult, Why};
use crate::query::ask;

/// Runs the tests and then the assertions for which `wanted` returns true, in source order. Its arguments are the
/// name of the test or the text of the assertion, and the location.
///
/// `cluster` files of a test are relative to the test's file, by its name in `sources`. Answers use the file names of
/// `shown`, which contains the same files.
#[must_use]
pub fn run(
    program: &Program,
    sources: &SourceMap,
    shown: &SourceMap,
    files: &impl Files,
    options: &Options,
    wanted: impl Fn(&str, Location) -> bool,
) -> Vec<TestResult> {
    let tests = program.tests.iter().filter(|test| wanted(&test.name, test.location));
    let mut ran: Vec<TestResult> = tests.map(|test| run_test(program, sources, shown, files, test)).collect();
    let text = |location: Location| sources.text(location).split_whitespace().collect::<Vec<_>>().join(" ");
    let named = program.asserts.iter().map(|assertion| (text(assertion.location), assertion));
    let assertions: Vec<(String, &Assertion)> =
        named.filter(|(name, assertion)| wanted(name, assertion.location)).collect();
    let outcomes =
        prove(program, assertions.iter().map(|(_, assertion)| *assertion), options.pod_cidrs.blocks());
    for (index, (expected, assertion)) in assertions.into_iter().enumerate() {
        let why = match &outcomes {
            Ok(outcomes) => match outcomes.get(index) {
                Some(Outcome::Proved) => None,
                None => Some(Why::NotEvaluated("it was not evaluated".to_owned())),
                Some(Outcome::Vacuous) => Some(Why::Vacuous),
                Some(Outcome::Refuted(witness)) => Some(refuted(program, shown, witness, assertion.allowed)),
            },
            Err(why) => Some(Why::NotEvaluated(why.to_string())),
        };
        let failures = why
            .map(|why| Failure { location: assertion.location, expected: expected.clone(), why })
            .into_iter()
            .collect();
        ran.push(TestResult {
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
        None => Why::NotEvaluated("the counterexample has no connection".to_owned()),
    }
}

/// The text of a test that shows a witness. `allowed` is the expected verdict: the test fails as long as the program
/// gives the opposite one.
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
) -> TestResult {
    let mut ran = TestResult {
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
            ran.failures.push(Failure { location, expected, why: Why::NotEvaluated(why) });
            return ran;
        }
    };
    let (bounds, index) = (Bounds::new(program), Index::new(&cluster));
    let evaluator = Evaluator::new(program, &cluster);
    let expecting =
        Expecting { program, sources: shown, index: &index, evaluator: &evaluator, bounds: &bounds };
    for expectation in &test.expectations {
        let why = expecting.failure(expectation, &mut ran.connections);
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

/// The cluster of a test: its `cluster` files, and the namespaces and pods that it declares.
fn cluster(test: &Test, sources: &SourceMap, files: &impl Files) -> Result<Cluster, (Location, String)> {
    let mut namespaces: BTreeMap<String, Namespace> = BTreeMap::new();
    let mut pods: BTreeMap<(String, String), Pod> = BTreeMap::new();
    let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
    let mut services: BTreeMap<(String, String), Service> = BTreeMap::new();
    for (path, location) in &test.clusters {
        let own = sources.file(location.file).name();
        let folder = own.rsplit_once('/').map_or("", |(folder, _)| folder);
        let full = if folder.is_empty() { path.clone() } else { format!("{folder}/{path}") };
        let wrong = |why: &str| (*location, format!("{full} cannot be read: {why}"));
        let bytes = files.read(&full).map_err(|error| match error {
            npc_program::ReadError::NotFound(_) => wrong("there is no such file"),
            npc_program::ReadError::Outside => wrong("it is outside the project's folder"),
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
        // If two files contain the same object, the later file wins, as for namespaces and pods.
        nodes.extend(read.nodes.into_iter().map(|node| (node.name.clone(), node)));
        let key = |service: &Service| (service.namespace.clone(), service.name.clone());
        services.extend(read.services.into_iter().map(|service| (key(&service), service)));
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
            labels: owned(&pod.labels).into(),
            addresses: pod.addresses.iter().map(IpNet::addr).collect(),
            ports: pod.ports.iter().filter_map(named).collect(),
            ..Pod::default()
        };
        pods.insert((pod.namespace.to_string(), pod.name.to_string()), made);
    }
    let mut cluster = Cluster {
        namespaces: namespaces.into_values().collect(),
        pods: Vec::with_capacity(pods.len()),
        nodes: nodes.into_values().collect(),
        services: services.into_values().collect(),
    };
    for ((namespace, name), mut pod) in pods {
        let Some(place) = cluster.namespace(&namespace) else {
            return Err((
                test.location,
                format!("the namespace `{namespace}` of the pod `{name}` does not exist"),
            ));
        };
        pod.namespace = place;
        cluster.pods.push(pod);
    }
    cluster.pods.sort_by(|a, b| (a.namespace, &a.name).cmp(&(b.namespace, &b.name)));
    Ok(cluster)
}
