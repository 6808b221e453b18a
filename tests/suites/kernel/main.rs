//! Evaluates packets with the kernel program itself and compares the verdicts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

#[cfg(target_os = "linux")]
mod attacks;
#[cfg(target_os = "linux")]
mod flows;
#[cfg(target_os = "linux")]
mod verdicts;
#[cfg(target_os = "linux")]
mod wire;

#[cfg(not(target_os = "linux"))]
fn main() {
    npc_tests::settings::skip("kernel", "the kernel is not Linux");
}

#[cfg(target_os = "linux")]
fn main() {
    use npc_tests::net::{can_load, is_in_own_network};

    if !can_load("kernel") || !is_in_own_network("true", |_| {}) {
        return;
    }
    let interfaces: Vec<u32> = (0..verdicts::INTERFACES).map(verdicts::interface).collect();
    flows::flows(&interfaces);
    attacks::attacks(&interfaces);
    attacks::many_replies(&interfaces);
    wire::packets();
    verdicts::random_programs(&interfaces);
    verdicts::known_verdicts(&interfaces);
}
