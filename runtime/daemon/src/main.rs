//! The command `npc-node`.

#[cfg(target_os = "linux")]
mod arguments;
#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod command;
#[cfg(target_os = "linux")]
mod control;
#[cfg(target_os = "linux")]
mod enforcer;
#[cfg(target_os = "linux")]
mod flow;
#[cfg(target_os = "linux")]
mod identities;
#[cfg(target_os = "linux")]
mod image_file;
#[cfg(target_os = "linux")]
mod interfaces;
#[cfg(target_os = "linux")]
mod metrics;
#[cfg(target_os = "linux")]
mod question;
#[cfg(target_os = "linux")]
mod source;

use std::process::ExitCode;

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "error: npc-node enforces in the kernel of Linux, and this is none");
    ExitCode::from(2)
}

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use clap::Parser as _;

    let arguments = arguments::Arguments::parse();
    match command::run(&arguments) {
        Ok(code) => code,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}
