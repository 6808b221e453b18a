//! The tables that a node computes from an image give the verdicts of the image, however pods came and went.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::net::IpAddr;
use std::sync::Arc;

use fastrand::Rng;
use npc_resolver::{Change, Reason, Resolver};
use npc_tests::memory::Memory;
use npc_tests::random;
use npc_tests::tables::{cluster, connection, image, pod, resolver};
use npc_tests::vectors::sets;
use npc_vocabulary::{Connection, Decision, Direction, Endpoint, Verdict};

/// Compares the tables' decisions of both sides with the verdict.
fn compare(resolver: &Resolver, connection: &Connection<'_>, expected: &Verdict) -> usize {
    compare_half(resolver, connection, expected, npc_resolver::Decision::enforced)
}

/// Compares one half, enforced or audited, of each decision.
fn compare_half(
    resolver: &Resolver,
    connection: &Connection<'_>,
    expected: &Verdict,
    half: fn(npc_resolver::Decision) -> u32,
) -> usize {
    let Verdict::Decided { egress, ingress } = expected else { return 0 };
    let traffic = connection.traffic;
    let sides = [
        (Direction::Egress, egress, &connection.source, &connection.destination),
        (Direction::Ingress, ingress, &connection.destination, &connection.source),
    ];
    let mut compared = 0;
    for (direction, decision, subject, peer) in sides {
        let (Endpoint::Pod { place, .. }, Some(address)) = (subject, peer.address()) else { continue };
        if matches!(decision, Decision::HostNetwork) {
            assert!(resolver.endpoint(*place as u32).is_none());
            continue;
        }
        let found =
            resolver.decision(*place as u32, direction, address, traffic).expect("a local pod has rows");
        let found = half(npc_resolver::Decision(found));
        let reason = match decision {
            Decision::Rule { policy, rule, .. } => {
                Reason::Rule { policy: *policy as u32, rule: *rule as u32 }
            }
            Decision::Isolated { policies } => Reason::Isolated { policy: policies[0] as u32 },
            _ => Reason::Default,
        };
        let number = found & npc_resolver::Decision::REASON;
        let allows = found & npc_resolver::Decision::ALLOW != 0;
        assert_eq!(
            (allows, resolver.reasons().reason(number)),
            (decision.allowed(), reason),
            "{direction:?} {} -> {} {}",
            connection.source,
            connection.destination,
            connection.traffic
        );
        compared += 1;
    }
    compared
}

/// Random programs of all tiers, with audit policies: every decision and its reason.
#[test]
fn tables_agree_with_the_image() {
    let seed = npc_tests::settings::seed();
    let programs: u64 = npc_tests::settings::amount("NPC_TEST_PROGRAMS", 30, 200);
    let mut compared = 0;
    for index in 0..programs {
        let mut random = Rng::with_seed(seed * 600_000 + index);
        let policies = if index % 10 == 0 { 200 } else { 1 + random.usize(..15) };
        let source = random::program_with_tiers(&mut random, policies);
        let checked = Memory::one(&source).check(None);
        let mut program = checked.program.clone();
        for policy in &mut program.policies {
            Arc::make_mut(policy).audit = (random.u8(..4) == 0).then_some(policy.location);
        }
        let image = image(&program, checked.sources());
        // The same program with its audit policies enforced.
        let mut in_force = program.clone();
        in_force.policies.iter_mut().for_each(|policy| Arc::make_mut(policy).audit = None);
        let cluster = cluster(seed * 17 + index, 40);
        let resolver = resolver(&image, &cluster, &[]);
        for _ in 0..300 {
            let connection = connection(&mut random, &cluster);
            compared += compare(&resolver, &connection, &npc_model::verdict(&program, &connection));
            let audited = npc_model::verdict(&in_force, &connection);
            compared += compare_half(&resolver, &connection, &audited, npc_resolver::Decision::audited);
        }
    }
    println!("seed {seed}: {compared} decisions of tables, 0 different");
    assert!(compared > 10_000);
}

/// Pods and namespaces are added, changed and removed in any order: the tables give the same decisions as
/// tables computed afresh.
#[test]
fn tables_do_not_depend_on_the_order_of_changes() {
    let seed = npc_tests::settings::seed();
    let programs: u64 = npc_tests::settings::amount("NPC_TEST_PROGRAMS", 15, 80);
    let (mut compared, mut steps) = (0, 0);
    for index in 0..programs {
        let mut random = Rng::with_seed(seed * 700_000 + index);
        let count = 1 + random.usize(..15);
        let source = random::program_with_tiers(&mut random, count);
        let checked = Memory::one(&source).check(None);
        let image = image(&checked.program, checked.sources());
        // The final cluster, and a cluster of pods that are added and removed before.
        let end = cluster(seed * 19 + index, 25);
        let before = cluster(seed * 23 + index, 40);
        let mut resolver = Resolver::new(Arc::clone(&image), Vec::new());
        let mut sizes = Vec::new();
        for _ in 0..4 {
            // The same changes in every round.
            let mut random = Rng::with_seed(seed + index);
            for _ in 0..60 {
                let place = random.usize(..before.pods.len());
                match random.u8(..4) {
                    0 => resolver.remove_pod(place as u32),
                    1 => {
                        let namespace = &before.namespaces[random.usize(..before.namespaces.len())];
                        resolver.set_namespace(&namespace.name, namespace.labels.clone());
                    }
                    _ => resolver.set_pod(place as u32, pod(&before, place)),
                }
                steps += 1;
                if random.bool() {
                    resolver.take_changes();
                    resolver.recycle();
                }
            }
            for place in 0..before.pods.len() {
                resolver.remove_pod(place as u32);
            }
            resolver.recycle();
            sizes.push((resolver.class_count(), resolver.row_count(), resolver.list_count()));
        }
        // Room that removed pods leave is used again. The first round starts without labels of namespaces.
        assert!(sizes[2] == sizes[1] && sizes[3] == sizes[1], "classes, rows and lists: {sizes:?}");
        for namespace in &before.namespaces {
            resolver.remove_namespace(&namespace.name);
        }
        let mut order: Vec<usize> = (0..end.pods.len()).collect();
        random.shuffle(&mut order);
        for (step, place) in order.into_iter().enumerate() {
            resolver.set_pod(place as u32, pod(&end, place));
            // The labels of the namespaces arrive late.
            if step == end.pods.len() / 2 {
                for namespace in &end.namespaces {
                    resolver.set_namespace(&namespace.name, namespace.labels.clone());
                }
            }
        }
        let fresh = npc_tests::tables::resolver(&image, &end, &[]);
        for _ in 0..300 {
            let connection = connection(&mut random, &end);
            let expected = npc_model::verdict(&checked.program, &connection);
            compared += compare(&resolver, &connection, &expected);
            compare(&fresh, &connection, &expected);
        }
    }
    println!("seed {seed}: {steps} changes, then {compared} decisions, 0 different from a fresh start");
    assert!(compared > 5_000);
}

/// Adding a pod costs only its own changes: cells for new classes, and one entry in the trie.
#[test]
fn adding_a_pod_causes_few_changes() {
    let source = random::program_with_tiers(&mut Rng::with_seed(5), 40);
    let checked = Memory::one(&source).check(None);
    let image = image(&checked.program, checked.sources());
    let cluster = cluster(3, 300);
    let mut resolver = resolver(&image, &cluster, &[]);
    resolver.take_changes();
    // A pod like an existing one except for its address.
    let mut twin = pod(&cluster, 7);
    twin.addresses = vec!["10.200.1.2".parse().unwrap()];
    twin.local = false;
    resolver.set_pod(1_000, twin.clone());
    resolver.take_changes();
    twin.addresses = vec!["10.200.1.3".parse().unwrap()];
    resolver.set_pod(1_001, twin);
    let changes = resolver.take_changes();
    assert!(changes.len() <= 3, "{changes:?}");
    assert!(changes.iter().all(|change| !matches!(change, Change::Row { .. } | Change::List { .. })));
}

/// The known verdicts of the test vectors.
#[test]
fn known_verdicts() {
    for (set, cases) in sets("resolver", "ACRT") {
        let (mut probes, mut wrong) = (0, Vec::new());
        for case in &cases {
            let mut sources = npc_diagnostics::SourceMap::new();
            let file = sources.add("manifests.yaml", case.manifests());
            let program = npc_import::import(file, &case.manifests()).into_program();
            let image = image(&program, &sources);
            let cluster = case.cluster();
            let node: Vec<IpAddr> =
                cluster.pods.iter().flat_map(|pod| pod.node_addresses.iter().copied()).collect();
            let resolver = resolver(&image, &cluster, &node);
            for (index, probe) in case.probes.iter().enumerate() {
                let connection = probe.connection(&cluster);
                let expected = npc_model::verdict(&program, &connection);
                assert_eq!(expected.allowed(), probe.allowed, "{}", case.id);
                let traffic = connection.traffic;
                let side = |direction, subject: &Endpoint<'_>, peer: &Endpoint<'_>| match subject {
                    Endpoint::Pod { place, .. } => resolver
                        .decision(*place as u32, direction, peer.address().unwrap(), traffic)
                        .is_none_or(|found| npc_resolver::Decision(found).allows()),
                    Endpoint::Node { .. } | Endpoint::Outside(_) => true,
                };
                let itself = connection.source.address() == connection.destination.address();
                let (source, destination) = (&connection.source, &connection.destination);
                let ingress = side(Direction::Ingress, destination, source);
                let is_node = source.address().is_some_and(|address| node.contains(&address));
                let allowed =
                    itself || (ingress && (is_node || side(Direction::Egress, source, destination)));
                probes += 1;
                if allowed != probe.allowed {
                    wrong.push(format!("{} probe {index}", case.id));
                }
            }
        }
        println!("resolver, set {set}: {} cases, {probes} probes, {} wrong", cases.len(), wrong.len());
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

/// If two pods claim one address, the pod that got it last owns it, even if the other pod is updated later.
#[test]
fn newest_owner_keeps_its_address() {
    const PROGRAM: &str = "policy l for pods { app = local } in namespace x {
  allow ingress from pods { app = old } in same namespace
}
";
    let checked = Memory::one(PROGRAM).check(None);
    let mut resolver = Resolver::new(image(&checked.program, checked.sources()), Vec::new());
    let pod = |app: &str, address: &str, local| npc_resolver::Pod {
        namespace: Arc::from("x"),
        labels: Arc::new([("app".to_owned(), app.to_owned())].into()),
        addresses: vec![address.parse().unwrap()],
        ports: Vec::new(),
        host_network: false,
        local,
    };
    let shared: IpAddr = "10.99.0.9".parse().unwrap();
    let is_allowed = |resolver: &Resolver| {
        let found = resolver.decision(0, Direction::Ingress, shared, npc_vocabulary::Traffic::Other);
        npc_resolver::Decision(found.unwrap()).allows()
    };
    resolver.set_pod(0, pod("local", "10.0.0.1", true));
    resolver.set_pod(1, pod("old", "10.99.0.9", false));
    assert!(is_allowed(&resolver));
    resolver.set_pod(2, pod("new", "10.99.0.9", false));
    assert!(!is_allowed(&resolver), "the address is the new pod's");
    resolver.set_pod(1, pod("old", "10.99.0.9", false));
    assert!(!is_allowed(&resolver), "the old pod takes it back");
    resolver.remove_pod(2);
    assert!(is_allowed(&resolver), "the old pod is the only one that has it");
}
