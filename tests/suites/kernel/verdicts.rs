//! The known verdicts, by test-run.

use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;

use npc_diagnostics::SourceMap;
use npc_image::{Direction, Named, Protocol, Traffic};
use npc_model::Endpoint as End;
use npc_node::{Endpoint, Loaded, Loader};
use npc_resolver::{Pod, Resolver};
use npc_targets::{Options, Target};
use npc_tests::vectors::{Case, Probe, cases, folder};

/// How many interfaces there are: no case has more pods.
pub(crate) const INTERFACES: usize = 64;

/// Makes an interface, and gives its index.
pub(crate) fn interface(number: usize) -> u32 {
    let name = format!("pod{number}");
    let made = Command::new("ip")
        .args(["link", "add", &name, "type", "veth", "peer", "name", &format!("peer{number}")])
        .status()
        .unwrap();
    assert!(made.success());
    index_of(&name)
}

/// The index of an interface.
pub(crate) fn index_of(name: &str) -> u32 {
    let shown = Command::new("ip").args(["-o", "link", "show", name]).output().unwrap();
    String::from_utf8(shown.stdout).unwrap().split(':').next().unwrap().trim().parse().unwrap()
}

fn traffic(probe: npc_model::Traffic) -> Traffic {
    match probe {
        npc_model::Traffic::Port(protocol, port) => Traffic::Port(Protocol::ALL[protocol as usize], port),
        npc_model::Traffic::Other => Traffic::Other,
    }
}

/// A case, resolved and loaded.
fn load(case: &Case, interfaces: &[u32]) -> (Loaded, Vec<IpAddr>) {
    let mut sources = SourceMap::new();
    let file = sources.add("manifests.yaml", case.manifests());
    let program = npc_import::import(file, &case.manifests()).into_program();
    let output = npc_targets::compile(Target::Ebpf, &program, &sources, &Options::default(), None);
    let image = Arc::new(npc_image::read(&output.image).unwrap());
    let cluster = case.cluster();
    let node: Vec<IpAddr> = cluster.pods.iter().flat_map(|pod| pod.node_addresses.iter().copied()).collect();
    let mut resolver = Resolver::new(image, node.clone());
    for namespace in &cluster.namespaces {
        resolver.set_namespace(&namespace.name, namespace.labels.clone());
    }
    let mut endpoints = Vec::new();
    for (place, pod) in cluster.pods.iter().enumerate() {
        let named = pod.ports.iter().map(|port| Named {
            name: port.name.clone(),
            protocol: Protocol::ALL[port.protocol as usize],
            port: port.port,
        });
        let resolved = Pod {
            namespace: Arc::from(cluster.namespaces[pod.namespace].name.as_str()),
            labels: pod.labels.clone(),
            addresses: pod.addresses.clone(),
            ports: named.collect(),
            host_network: pod.host_network,
            local: true,
        };
        let number = place as u32;
        resolver.set_pod(number, resolved);
        endpoints.push(Endpoint { pod: number, interface: interfaces[place], id: number + 1 });
    }
    (Loader::new(1).load(&resolver, &endpoints).unwrap(), node)
}

/// What the kernel says of a connection, on both sides.
fn ask(loaded: &mut Loaded, node: &[IpAddr], interfaces: &[u32], case: &Case, probe: &Probe) -> bool {
    let cluster = case.cluster();
    let connection = probe.connection(&cluster);
    let addresses = [&connection.source, &connection.destination].map(|end| end.address().unwrap());
    let mut side = |direction, end: &End<'_>| match end {
        End::Pod { place, .. } => loaded
            .ask(direction, interfaces[*place], addresses, traffic(connection.traffic))
            .unwrap()
            .is_some_and(|verdict| verdict.passes),
        End::Outside(_) => true,
    };
    // What the node sends to its pods is judged where it arrives only.
    let from_node = node.contains(&addresses[0]);
    (from_node || side(Direction::Egress, &connection.source))
        && side(Direction::Ingress, &connection.destination)
}

/// The known verdicts, by test-run: a hundred cases of each set, or as many as `NPC_TEST_CASES` says.
pub(crate) fn known_verdicts(interfaces: &[u32]) {
    let Some(folder) = folder("kernel") else { return };
    let most: usize = std::env::var("NPC_TEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    for set in "ACRT".chars() {
        let all = cases(&folder.join(format!("set{set}.jsonl")));
        let (mut count, mut probes, mut wrong) = (0, 0, Vec::new());
        for case in all.iter().take(most) {
            assert!(case.cluster().pods.len() <= INTERFACES, "{}", case.id);
            let (mut loaded, node) = load(case, interfaces);
            count += 1;
            for (index, probe) in case.probes.iter().enumerate() {
                probes += 1;
                if ask(&mut loaded, &node, interfaces, case, probe) != probe.allowed {
                    wrong.push(format!("{} probe {index}", case.id));
                }
            }
        }
        println!("kernel, set {set}: {count} cases, {probes} probes, {} wrong", wrong.len());
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
