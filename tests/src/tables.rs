//! Images, pods and resolvers, built from a program and a cluster as a node does.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use fastrand::Rng;
use npc_cluster::Cluster;
use npc_diagnostics::SourceMap;
use npc_image::Image;
use npc_program::Program;
use npc_resolver::{Pod, Resolver};
use npc_targets::{AnyTarget, Options};
use npc_vocabulary::{Connection, Endpoint};

use crate::namespaces;

/// Compiles a program to an image and reads it back.
pub fn image(program: &Program, sources: &SourceMap) -> Arc<Image> {
    let output = npc_targets::compile(AnyTarget::EBPF, program, sources, &Options::default(), None);
    Arc::new(npc_image::read(&output.image).unwrap())
}

/// A pod of the cluster in the resolver's form, local to this node.
#[must_use]
pub fn pod(cluster: &Cluster, place: usize) -> Pod {
    let pod = &cluster.pods[place];
    Pod::new(cluster.namespaces[pod.namespace].name.as_str(), pod, true)
}

/// A resolver for a cluster all of whose pods are on one node.
#[must_use]
pub fn resolver(image: &Arc<Image>, cluster: &Cluster, node: &[IpAddr]) -> Resolver {
    let mut resolver = Resolver::new(Arc::clone(image), node.to_vec());
    for namespace in &cluster.namespaces {
        resolver.set_namespace(&namespace.name, namespace.labels.clone());
    }
    for place in 0..cluster.pods.len() {
        resolver.set_pod(place as u32, pod(cluster, place));
    }
    resolver
}

/// A cluster in which every pod has an address, and no address is shared.
#[must_use]
pub fn cluster(seed: u64, pods: usize) -> Cluster {
    let mut cluster = namespaces::cluster_with_pods(seed, pods);
    let mut seen = BTreeSet::new();
    for (place, pod) in cluster.pods.iter_mut().enumerate() {
        pod.node_addresses.clear();
        pod.addresses.retain(|address| seen.insert(*address));
        if pod.addresses.is_empty() {
            pod.addresses.push(format!("10.9.{}.{}", place / 250, place % 250 + 1).parse().unwrap());
        }
    }
    cluster
}

/// A random connection in such a cluster, with both ends of the same IP family.
pub fn connection<'c>(random: &mut Rng, cluster: &'c Cluster) -> Connection<'c> {
    let outside = ["10.1.2.3", "169.254.169.254", "192.0.2.7", "8.8.8.8", "2001:db8::1", "fd00::9"];
    loop {
        let mut end = |outside_allowed: bool| {
            if outside_allowed && random.u8(..4) == 0 {
                let address: IpAddr = outside[random.usize(..outside.len())].parse().unwrap();
                if !cluster.pods.iter().any(|pod| pod.addresses.contains(&address)) {
                    return Endpoint::Outside(address);
                }
            }
            let place = random.usize(..cluster.pods.len());
            let addresses = &cluster.pods[place].addresses;
            cluster.endpoint(place, Some(addresses[random.usize(..addresses.len())])).unwrap()
        };
        let first = end(true);
        let is_pod = matches!(first, Endpoint::Pod { .. });
        let second = end(is_pod);
        let (source, destination) = if random.bool() { (first, second) } else { (second, first) };
        let family = |end: &Endpoint<'_>| end.address().map(|address| address.is_ipv4());
        if family(&source) != family(&destination) {
            continue;
        }
        let ports = [53, 80, 8050, 9, 65535, 8080, 1];
        let traffic = match random.u8(..8) {
            0 => npc_vocabulary::Traffic::Other,
            _ => npc_vocabulary::Traffic::Port(
                npc_vocabulary::Protocol::ALL[random.usize(..3)],
                ports[random.usize(..ports.len())],
            ),
        };
        return Connection::direct(source, destination, traffic);
    }
}
