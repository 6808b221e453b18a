//! Compares verdicts by running the kernel program on single packets (`BPF_PROG_TEST_RUN`).

use std::net::IpAddr;
use std::process::Command;

use fastrand::Rng;
use npc_cluster::Cluster;
use npc_diagnostics::SourceMap;
use npc_node::{Endpoint, LoadError, Loaded, Loader};
use npc_resolver::layout::LayoutError;
use npc_tests::memory::Memory;
use npc_tests::net::index_of;
use npc_tests::random;
use npc_tests::tables::{cluster, connection, image, pod, resolver};
use npc_tests::vectors::{Case, sets};
use npc_vocabulary::{Connection, Direction, Endpoint as End};

/// The number of interfaces. No case has more pods.
pub(crate) const INTERFACES: usize = 64;

/// Creates an interface and returns its index.
pub(crate) fn interface(number: usize) -> u32 {
    let name = format!("pod{number}");
    let made = Command::new("ip")
        .args(["link", "add", &name, "type", "veth", "peer", "name", &format!("peer{number}")])
        .status()
        .unwrap();
    assert!(made.success());
    index_of(&name)
}

/// The pods of a cluster, each on its own interface.
fn endpoints(cluster: &Cluster, interfaces: &[u32]) -> Vec<Endpoint> {
    assert!(cluster.pods.len() <= INTERFACES);
    let pods = (0..cluster.pods.len() as u32).zip(interfaces);
    pods.map(|(pod, interface)| Endpoint::new(pod, *interface, pod + 1)).collect()
}

/// Resolves and loads a case.
fn load(case: &Case, interfaces: &[u32]) -> (Loaded, Vec<IpAddr>) {
    let mut sources = SourceMap::new();
    let file = sources.add("manifests.yaml", case.manifests());
    let program = npc_import::import(file, &case.manifests()).into_program();
    let cluster = case.cluster();
    let node: Vec<IpAddr> = cluster.pods.iter().flat_map(|pod| pod.node_addresses.iter().copied()).collect();
    let resolver = resolver(&image(&program, &sources), &cluster, &node);
    (Loader::new(1).load(&resolver, &endpoints(&cluster, interfaces)).unwrap(), node)
}

/// The kernel's verdict on a connection: both sides must allow it.
fn ask(loaded: &mut Loaded, node: &[IpAddr], interfaces: &[u32], connection: &Connection<'_>) -> bool {
    let addresses = [&connection.source, &connection.destination].map(|end| end.address().unwrap());
    let mut side = |direction, end: &End<'_>| match end {
        End::Pod { place, .. } => loaded
            .ask(direction, interfaces[*place], addresses, connection.traffic)
            .unwrap()
            .is_some_and(|verdict| verdict.passes),
        End::Node { .. } | End::Outside(_) => true,
    };
    // Packets from the node to its pods are only evaluated at the destination.
    let from_node = node.contains(&addresses[0]);
    (from_node || side(Direction::Egress, &connection.source))
        && side(Direction::Ingress, &connection.destination)
}

/// Random programs and clusters: the loaded program gives the interpreter's verdicts, also after changes of
/// pods are written into the loaded tables.
pub(crate) fn random_programs(interfaces: &[u32]) {
    let seed = npc_tests::settings::seed();
    let programs: u64 = npc_tests::settings::amount("NPC_TEST_PROGRAMS", 30, 30);
    let (mut asked, mut changed, mut applied, mut anew) = (0, 0, 0, 0);
    for index in 0..programs {
        let mut random = Rng::with_seed(seed * 800_000 + index);
        let policies = 1 + random.usize(..25);
        let source = random::program_with_tiers(&mut random, policies);
        let checked = Memory::one(&source).check(None);
        let image = image(&checked.program, checked.sources());
        let mut cluster = cluster(seed * 29 + index, 40);
        let mut resolver = resolver(&image, &cluster, &[]);
        let mut loaded = Loader::new(1).load(&resolver, &endpoints(&cluster, interfaces)).unwrap();
        resolver.take_changes();
        for _ in 0..3 {
            for _ in 0..100 {
                let connection = connection(&mut random, &cluster);
                let expected = npc_model::verdict(&checked.program, &connection).allowed();
                let itself = connection.source.address() == connection.destination.address();
                let found = ask(&mut loaded, &[], interfaces, &connection) || itself;
                assert_eq!(
                    found, expected,
                    "{} -> {} {}\n{source}",
                    connection.source, connection.destination, connection.traffic
                );
                asked += 1;
            }
            // Some pods take the labels, namespace and ports of another one.
            for _ in 0..5 {
                let (one, other) = (random.usize(..cluster.pods.len()), random.usize(..cluster.pods.len()));
                let like = cluster.pods[other].clone();
                let own = &mut cluster.pods[one];
                (own.labels, own.namespace, own.ports) = (like.labels, like.namespace, like.ports);
                own.name = format!("changed-{changed}");
                resolver.set_pod(one as u32, pod(&cluster, one));
                changed += 1;
            }
            let changes = resolver.take_changes();
            match loaded.apply(&resolver, &changes) {
                Ok(()) => applied += 1,
                Err(LoadError::Layout(LayoutError::Full(_))) => {
                    loaded = Loader::new(1).load(&resolver, &endpoints(&cluster, interfaces)).unwrap();
                    anew += 1;
                }
                Err(why) => panic!("{why}"),
            }
            resolver.recycle();
        }
    }
    println!(
        "kernel: seed {seed}: {programs} random programs, {changed} changes of pods, {applied} times applied to loaded tables, {anew} times loaded again; {asked} connections, 0 different"
    );
    // Tables that are always loaded again would hide mistakes of the changes.
    assert!(applied > 2 * anew, "{applied} changes applied, {anew} tables loaded again");
}

/// The known verdicts of the test vectors: 100 cases of each set, or `NPC_TEST_CASES`.
pub(crate) fn known_verdicts(interfaces: &[u32]) {
    let most: usize = npc_tests::settings::amount("NPC_TEST_CASES", 100, 100);
    for (set, all) in sets("kernel", "ACRT") {
        let (mut count, mut probes, mut wrong) = (0, 0, Vec::new());
        for case in all.iter().take(most) {
            let cluster = case.cluster();
            let (mut loaded, node) = load(case, interfaces);
            count += 1;
            for (index, probe) in case.probes.iter().enumerate() {
                probes += 1;
                if ask(&mut loaded, &node, interfaces, &probe.connection(&cluster)) != probe.allowed {
                    wrong.push(format!("{} probe {index}", case.id));
                }
            }
        }
        println!("kernel, set {set}: {count} cases, {probes} probes, {} wrong", wrong.len());
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
