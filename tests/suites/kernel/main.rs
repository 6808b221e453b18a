//! The kernel gives the known verdicts: the program that enforces is asked itself, packet by packet.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

#[cfg(target_os = "linux")]
mod flows;
#[cfg(target_os = "linux")]
mod verdicts;
#[cfg(target_os = "linux")]
mod wire;

/// Where `ip netns` keeps its names, and where programs are pinned, is the test's own.
#[cfg(target_os = "linux")]
const OWN: &str = "mount -t tmpfs none /run && mount -t bpf none /sys/fs/bpf && exec \"$0\" \"$@\"";

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("kernel: LEFT OUT: the kernel is not Linux");
}

#[cfg(target_os = "linux")]
fn main() {
    use std::process::Command;

    // A network of its own, so that the interfaces are nobody else's.
    if std::env::var_os("NPC_TEST_NETWORK").is_none() {
        if let Err(why) = flows::can_load() {
            println!("kernel: LEFT OUT: it takes root, and Linux 6.6, to load a program: {why}");
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
    let interfaces: Vec<u32> = (0..verdicts::INTERFACES).map(verdicts::interface).collect();
    flows::flows(&interfaces);
    wire::packets();
    verdicts::random_programs(&interfaces);
    verdicts::known_verdicts(&interfaces);
}
