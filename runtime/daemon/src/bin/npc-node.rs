//! The command `npc-node`.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    npc_daemon::node()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "error: npc-node works in the kernel of Linux, and this is none");
    ExitCode::from(2)
}
