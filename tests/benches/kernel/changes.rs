//! Measures changes of pods and images.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use npc_node::{Endpoint, Loader};
use npc_resolver::{Pod, Resolver};
use npc_targets::{AnyTarget, Options};
use npc_tests::large;
use npc_tests::memory::Memory;
use npc_tests::tables;
use npc_tests::timing::milliseconds;

/// The number of pods in the cluster, and how many of them are on this node.
const PODS: usize = 100_000;
const LOCAL: usize = 250;
const POLICIES: usize = 10_000;
const CHANGES: usize = 10_000;

pub(crate) fn main() {
    let cluster = large::cluster(PODS);
    let checked = Memory::one(&large::program(POLICIES, cluster.namespaces.len())).check(None);
    assert!(!checked.report.has_errors());
    let options = Options::default();
    let output = npc_targets::compile(AnyTarget::EBPF, &checked.program, checked.sources(), &options, None);
    let pods: Vec<Pod> = (0..PODS)
        .map(|place| Pod { local: place % (PODS / LOCAL) == 0, ..tables::pod(&cluster, place) })
        .collect();
    let endpoints: Vec<Endpoint> = (0..PODS)
        .step_by(PODS / LOCAL)
        .zip(1..)
        .map(|(pod, number)| Endpoint::new(pod as u32, number, number))
        .collect();
    // All steps of a node for a new image.
    let begin = Instant::now();
    let image = Arc::new(npc_image::read(&output.image).unwrap());
    let read = begin.elapsed();
    let mut resolver = Resolver::new(image, Vec::new());
    for namespace in &cluster.namespaces {
        resolver.set_namespace(&namespace.name, namespace.labels.clone());
    }
    for (number, pod) in pods.iter().enumerate() {
        resolver.set_pod(number as u32, pod.clone());
    }
    resolver.take_changes();
    let resolved = begin.elapsed();
    let mut loaded = Loader::new(1).load(&resolver, &endpoints).unwrap();
    loaded.put_in_force().unwrap();
    let in_force = begin.elapsed();
    println!(
        "an image of {POLICIES} policies and {} bytes, for {PODS} pods, {LOCAL} of them here: read {:.0} ms, resolved {:.0} ms, in force {:.0} ms; tables of {:.1} MB",
        output.image.len(),
        milliseconds(read),
        milliseconds(resolved),
        milliseconds(in_force),
        loaded.memory() as f64 / 1e6,
    );
    // A pod is replaced by one with another pod's labels and the same address, which is by far the most
    // common change.
    let mut random = Rng::with_seed(5);
    let mut times: Vec<Duration> = Vec::with_capacity(CHANGES);
    let mut anew = 0;
    for _ in 0..CHANGES {
        let place = random.usize(..PODS);
        let other = &pods[random.usize(..PODS)];
        let pod = Pod { addresses: pods[place].addresses.clone(), local: pods[place].local, ..other.clone() };
        let begin = Instant::now();
        resolver.set_pod(place as u32, pod);
        let changes = resolver.take_changes();
        if loaded.apply(&resolver, &changes).is_err() {
            anew += 1;
            loaded = Loader::new(1).load(&resolver, &endpoints).unwrap();
            continue;
        }
        times.push(begin.elapsed());
        resolver.recycle();
    }
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    println!(
        "a change of one of {PODS} pods: p50 {:.1?}, p99 {:.1?}, most {:.1?}; tables made anew {anew} times in {CHANGES}",
        at(0.5),
        at(0.99),
        at(1.0),
    );
}
