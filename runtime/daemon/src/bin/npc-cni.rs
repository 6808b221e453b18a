//! The CNI plugin `npc-cni`.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    npc_daemon::cni()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "error: npc-cni runs only on Linux");
    ExitCode::from(2)
}
