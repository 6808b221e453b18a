//! The daemon as it is used: its command, real packets between pods that are network namespaces, services,
//! and all that goes wrong on a node.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

#[cfg(target_os = "linux")]
mod daemon;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
mod services;
#[cfg(target_os = "linux")]
mod wire;
#[cfg(target_os = "linux")]
mod world;

/// The test's own: where `ip netns` keeps its names, where programs are pinned, and control groups.
#[cfg(target_os = "linux")]
const OWN: &str = "mount -t tmpfs none /run && mount -t bpf none /sys/fs/bpf && mkdir /run/cgroup && \
                   mount -t cgroup2 none /run/cgroup && ip link set lo up && exec \"$0\" \"$@\"";

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("node: LEFT OUT: the kernel is not Linux");
}

#[cfg(target_os = "linux")]
fn main() {
    use std::process::Command;

    if std::env::var_os("NPC_TEST_NETWORK").is_none() {
        if let Err(why) = npc_node::probe() {
            println!("node: LEFT OUT: it takes root, and Linux 6.6, to load a program: {why}");
            assert!(std::env::var_os("NPC_TEST_KERNEL").is_none(), "`tests/all` has them");
            return;
        }
        let status = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", OWN])
            .arg(std::env::current_exe().unwrap())
            .args(std::env::args_os().skip(1))
            .env("NPC_TEST_NETWORK", "own")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let world = world::World::new();
    let open = faults::Pushed::before();
    let mut daemon = daemon::Daemon::new(&world);
    open.goes_on();
    world::connections(&world, &daemon);
    services::translate();
    wire::packets();
    services::services(&mut daemon);
    faults::faults(&world, &mut daemon);
    daemon.detach();
}
