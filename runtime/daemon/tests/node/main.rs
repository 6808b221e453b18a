//! Tests the daemon with its command, with real packets between pods in network namespaces, with Services,
//! and with faults of a node.

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
mod evasions;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
mod links;
#[cfg(target_os = "linux")]
mod order;
#[cfg(target_os = "linux")]
mod places;
#[cfg(target_os = "linux")]
mod services;
#[cfg(target_os = "linux")]
mod upgrade;
#[cfg(target_os = "linux")]
mod wire;
#[cfg(target_os = "linux")]
mod world;

#[cfg(not(target_os = "linux"))]
fn main() {
    npc_tests::settings::skip("node", "the kernel is not Linux");
}

#[cfg(target_os = "linux")]
fn main() {
    use npc_tests::net::{can_load, is_in_own_network};

    if !can_load("node") || !is_in_own_network("true", |_| {}) {
        return;
    }
    let world = world::World::new();
    if std::env::var_os("NPC_TEST_CLOCK").is_some() {
        let daemon = daemon::Daemon::new(&world);
        faults::clock_jump();
        daemon.detach();
        return;
    }
    let open = faults::pushed();
    let mut daemon = daemon::Daemon::new(&world);
    open.goes_on("node");
    world::connections(&world, &daemon);
    links::links(&daemon);
    services::translate();
    wire::packets();
    evasions::evasions();
    services::services(&mut daemon);
    places::places(&mut daemon);
    faults::faults(&world, &mut daemon);
    // The first server ended with its network namespace.
    let mut servers = npc_tests::net::Servers::default();
    servers.start("b");
    order::order(&daemon);
    daemon.detach();
    upgrade::upgrade(&world);
}
