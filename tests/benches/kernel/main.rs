//! Measures the cost of a packet in the kernel, compared with an empty program and with the work that current
//! agents do: `cargo bench -p npc-tests --bench kernel`, as root. A number in the arguments limits the number
//! of CIDRs. `changes`, `traffic` and `packets` select parts; without them all parts run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

#[cfg(target_os = "linux")]
mod changes;
#[cfg(target_os = "linux")]
mod packets;
#[cfg(target_os = "linux")]
mod traffic;

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("the kernel is not Linux");
}

#[cfg(target_os = "linux")]
fn main() {
    let parts: [(&str, fn()); 3] =
        [("changes", changes::main), ("traffic", traffic::main), ("packets", packets::main)];
    let named: Vec<String> = std::env::args().collect();
    let is_named = |part: &str| named.iter().any(|word| word == part);
    let all = !parts.iter().any(|(part, _)| is_named(part));
    for (_, run) in parts.iter().filter(|(part, _)| all || is_named(part)) {
        run();
    }
}
