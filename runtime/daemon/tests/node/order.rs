//! Another program is attached before the daemon's on a pod's interface.

use std::time::{Duration, Instant};

use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use aya::{Ebpf, include_bytes_aligned};
use npc_tests::net::reaches;

use crate::daemon::Daemon;
use crate::world::address;

/// Contains a program that accepts every packet and ends the chain.
static OTHER: &[u8] = include_bytes_aligned!("../../../kernel/baseline.bpf.o");

/// How often another program was in front, according to the daemon.
fn displacements(daemon: &Daemon) -> u64 {
    daemon.status()["displacements"].as_u64().unwrap()
}

pub(crate) fn order(daemon: &Daemon) {
    let mut ebpf = Ebpf::load(OTHER).unwrap();
    let program: &mut SchedClassifier = ebpf.program_mut("accept").unwrap().try_into().unwrap();
    program.load().unwrap();
    let (mut count, mut longest) = (0, Duration::ZERO);
    for (host, side) in [("host-b", TcAttachType::Egress), ("host-c", TcAttachType::Ingress)] {
        let before = displacements(daemon);
        assert!(!reaches("c", "tcp", address("10.0.0.2"), 80));
        let first = TcAttachOptions::TcxOrder(LinkOrder::first());
        let link = program.attach_with_options(host, side, first).unwrap();
        let begin = Instant::now();
        daemon.wait("it is reported", |status| status["displacements"].as_u64().unwrap() > before);
        longest = longest.max(begin.elapsed());
        daemon.wait("the program is in front again", |status| {
            status["displaced"].as_array().unwrap().is_empty()
        });
        assert!(!reaches("c", "tcp", address("10.0.0.2"), 80), "{host}: another program lets it pass");
        assert!(reaches("a", "tcp", address("10.0.0.2"), 80), "{host}: what is allowed is cut");
        program.detach(link).unwrap();
        assert!(!reaches("c", "tcp", address("10.0.0.2"), 80));
        count += 1;
    }
    println!(
        "node: {count} times another program took the place in front: reported after at most {} ms, and put behind",
        longest.as_millis()
    );
}
