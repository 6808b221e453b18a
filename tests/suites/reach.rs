//! Reachability between groups: the result for two groups is the interpreter's verdict for every pair of
//! their members.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::HashMap;
use std::net::IpAddr;

use fastrand::Rng;
use npc_cluster::Cluster;
use npc_model::{Family, verdict};
use npc_reach::Reach;
use npc_tests::memory::Memory;
use npc_tests::{namespaces, random};
use npc_vocabulary::{Connection, Endpoint, Protocol, Traffic, Verdict};

/// All traffic that the rules of random programs distinguish, and more.
fn traffic() -> Vec<Traffic> {
    let mut all = vec![Traffic::Other];
    for protocol in Protocol::ALL {
        for port in [1, 9, 53, 79, 80, 81, 7999, 8000, 8050, 8080, 8100, 8101, 65534, 65535] {
            all.push(Traffic::Port(protocol, port));
        }
    }
    all
}

/// The endpoints that a connection can have in an IP family, each with its group.
fn ends<'c>(reach: &Reach<'c>, cluster: &'c Cluster, family: Family) -> Vec<(usize, Endpoint<'c>)> {
    let mut group_of = HashMap::new();
    for (index, group) in reach.groups.iter().enumerate() {
        for pod in &group.pods {
            assert!(group_of.insert(*pod, index).is_none(), "a pod is of two groups");
        }
    }
    assert_eq!(group_of.len(), cluster.pods.len());
    let mut ends = Vec::new();
    for (place, pod) in cluster.pods.iter().enumerate() {
        let own = pod.addresses.iter().copied().find(|address| Family::of(*address) == family);
        if own.is_some() || pod.addresses.is_empty() {
            ends.push((group_of[&place], cluster.endpoint(place, own).unwrap()));
        }
    }
    let outside = [
        "0.0.0.0",
        "9.255.255.255",
        "10.0.0.0",
        "10.1.2.3",
        "10.1.3.1",
        "10.2.3.4",
        "10.2.3.5",
        "10.255.255.255",
        "11.0.0.0",
        "10.96.0.1",
        "169.254.169.253",
        "169.254.169.254",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.2.7",
        "192.0.2.8",
        "255.255.255.255",
        "::",
        "2001:db8::1",
        "2001:db9::",
        "fd00::9",
        "fe00::",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ];
    for address in outside.map(|word| word.parse::<IpAddr>().unwrap()) {
        if Family::of(address) != family {
            continue;
        }
        let within: Vec<usize> = (0..reach.groups.len())
            .filter(|group| {
                let ranges = &reach.groups[*group].addresses;
                ranges
                    .iter()
                    .any(|(first, last)| Family::of(*first) == family && (*first..=*last).contains(&address))
            })
            .collect();
        // If no pod has an address of the family, there is nothing to compare.
        if ends.is_empty() {
            continue;
        }
        assert_eq!(within.len(), 1, "{address} is in {within:?}");
        ends.push((within[0], Endpoint::Outside(address)));
    }
    ends
}

#[test]
fn groups_agree_with_the_interpreter() {
    let seed = npc_tests::settings::seed();
    let programs: u64 = npc_tests::settings::amount("NPC_TEST_PROGRAMS", 30, 150);
    let (mut asked, mut pods, mut groups, mut partly) = (0u64, 0, 0, 0u64);
    for index in 0..programs {
        let mut random = Rng::with_seed(seed * 500_000 + index);
        let policies = 1 + random.usize(..12);
        let source = random::program_with_tiers(&mut random, policies);
        let checked = Memory::one(&source).check(None);
        let mut cluster = namespaces::cluster_with_pods(seed * 13 + index, 24);
        // Give some neighbouring pods the same labels and ports, so that they form groups.
        for at in 1..cluster.pods.len() {
            let (before, rest) = cluster.pods.split_at_mut(at);
            if random.bool() && before[at - 1].namespace == rest[0].namespace {
                rest[0].labels = before[at - 1].labels.clone();
                rest[0].ports = before[at - 1].ports.clone();
            }
        }
        for pod in &mut cluster.pods {
            match random.u8(..12) {
                0 => pod.host_network = true,
                1 => pod.addresses.clear(),
                2 => drop(pod.addresses.remove(0)),
                _ => {}
            }
        }
        let reach = Reach::new(&checked.program, &cluster);
        pods += cluster.pods.len();
        groups += reach.groups.iter().filter(|group| !group.pods.is_empty()).count();
        for family in [Family::V4, Family::V6] {
            let ends = ends(&reach, &cluster, family);
            for (from, source_end) in &ends {
                for (to, destination) in &ends {
                    if matches!((source_end, destination), (Endpoint::Outside(_), Endpoint::Outside(_)))
                        || source_end.is_same_pod(destination)
                    {
                        continue;
                    }
                    let cell = reach.cell(*from, *to);
                    let sets = cell.map(|cell| reach.traffic(cell)).unwrap_or_default();
                    let set = sets.iter().find(|(of, _)| of.is_none_or(|of| of == family));
                    partly += u64::from(set.is_some_and(|(_, set)| !set.is_all() && !set.is_empty()));
                    for traffic in traffic() {
                        let connection = Connection::direct(*source_end, *destination, traffic);
                        let expected = verdict(&checked.program, &connection);
                        assert!(!matches!(expected, Verdict::Node | Verdict::Itself));
                        let found = set.is_some_and(|(_, set)| set.contains(traffic));
                        asked += 1;
                        assert_eq!(
                            found,
                            expected.allowed(),
                            "{source_end} ({from}) -> {destination} ({to}) {traffic}: {expected:?}\n{source}"
                        );
                    }
                }
            }
        }
    }
    println!(
        "seed {seed}: {pods} pods in {groups} groups, {asked} connections, 0 different; {partly} pairs allow a part"
    );
    assert!(groups < pods && partly > 1_000);
}
