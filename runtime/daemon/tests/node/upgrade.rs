//! The running version is replaced by another one and back, under traffic.

use std::path::PathBuf;
use std::process::Stdio;

use npc_tests::net::{python, reaches};
use npc_tests::settings::skip;

use crate::daemon::Daemon;
use crate::faults::{INTRUDER, Steady};
use crate::world::{World, address};

/// `NPC_TEST_PREVIOUS` is the path of the previous version's binary, built by tests/previous_version.
pub(crate) fn upgrade(world: &World) {
    let previous = std::env::var_os("NPC_TEST_PREVIOUS").filter(|path| !path.is_empty());
    let Some(previous) = previous.map(PathBuf::from) else {
        skip("node upgrade", "NPC_TEST_PREVIOUS is not the path of a binary of the previous version");
        return;
    };
    let current = PathBuf::from(env!("CARGO_BIN_EXE_npc-node"));
    let mut daemon = Daemon::of(previous.clone(), world);
    let steady = [Steady::new("a", "10.0.0.2"), Steady::new("a", "10.96.0.1"), Steady::new("a", "10.96.0.3")];
    let mut intruder =
        python("c", INTRUDER, &[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    for version in [&current, &previous, &current] {
        std::thread::sleep(std::time::Duration::from_secs(1));
        daemon.become_version(version.clone());
        assert!(reaches("a", "tcp", address("10.96.0.1"), 80) && reaches("a", "udp", address("fd00::2"), 53));
        assert!(!reaches("c", "tcp", address("10.0.0.2"), 80));
    }
    std::thread::sleep(std::time::Duration::from_secs(1));
    intruder.stdin.take();
    let output = intruder.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (tried, got) = text.trim().split_once(' ').unwrap();
    assert_eq!(got, "0", "a packet against the policy passed");
    let messages: usize = steady.into_iter().map(Steady::end).sum();
    daemon.wait("nothing of the version before is left but its records", |_| {
        !PathBuf::from(crate::daemon::PINS).join("in_force").exists()
    });
    daemon.detach();
    println!(
        "node: an upgrade, a return and an upgrade: {messages} messages of 3 open connections, 0 cut; {tried} forbidden connections, 0 passed"
    );
}
