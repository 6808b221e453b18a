//! The daemon `npc-node` and the CNI plugin `npc-cni`, which requests that the daemon enforces a pod before
//! its first packet. The library [`npc_node`] loads the kernel program.

#![cfg(target_os = "linux")]

mod arguments;
mod client;
mod cni;
mod command;
mod control;
mod enforcer;
mod flow;
mod followed;
mod interfaces;
mod kept;
mod metrics;
mod open;
mod place;
mod question;
mod source;

use std::io::Write as _;
use std::process::ExitCode;

/// Runs the command `npc-node`.
#[must_use]
pub fn node() -> ExitCode {
    use clap::Parser as _;

    let arguments = arguments::Arguments::parse();
    match command::run(&arguments) {
        Ok(code) => code,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs the CNI plugin `npc-cni`.
#[must_use]
pub fn cni() -> ExitCode {
    cni::run()
}
