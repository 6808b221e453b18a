//! The daemon `npc-node` and the CNI plugin `npc-cni`, which requests that the daemon enforces a pod before
//! its first packet. The library [`npc_node`] loads the kernel program.

#![cfg(target_os = "linux")]

mod arguments;
mod atomic_file;
mod client;
mod cni;
mod command;
mod conntrack;
mod control;
mod enforcer;
mod flow;
mod interfaces;
mod metrics;
mod pod_state;
mod query;
mod source;
mod watched_file;

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
