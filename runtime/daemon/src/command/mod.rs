//! The subcommands.

mod check;
mod detach;
mod flows;
mod install_cni;
mod query;
mod run;
mod status;

use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

use crate::arguments::{Arguments, Command};
use crate::client::Error;

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    match &arguments.command {
        Command::Run(options) => run::run(options),
        Command::Status(options) => status::run(options),
        Command::Flows(options) => flows::run(options),
        Command::Query(options) => query::run(options),
        Command::Detach(place) => detach::run(place),
        Command::Check(options) => check::run(options),
        Command::InstallCni(options) => install_cni::run(options),
    }
}

/// The runtime of the commands other than `run`.
fn runtime() -> Result<Runtime, Error> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|why| Error::Other(format!("cannot start the async runtime: {why}")))
}
