//! What a packet costs in the kernel, beside no program at all and what agents of today do for one:
//! `cargo bench -p npc-tests --bench kernel`, as root; a number is the most blocks to try.

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
    changes::main();
    traffic::main();
    packets::main();
}
