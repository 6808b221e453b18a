//! The command `npc`.

mod answer;
mod arguments;
mod command;
mod files;
mod policies;
mod project;
mod report;

use std::process::ExitCode;

use clap::Parser as _;

use arguments::{Arguments, Command};

/// Several threads allocate and free many small objects. Mimalloc takes half the time of the system's
/// allocator for this.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The result of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// No problems; exit code 0.
    Fine,
    /// Problems or differences were found; exit code 1.
    Found,
    /// The command could not run; exit code 2.
    CouldNotRun,
}

impl Outcome {
    /// The worse of two outcomes.
    fn max_of(self, other: Self) -> Self {
        if self as u8 > other as u8 { self } else { other }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let colour = arguments.colour();
    let result = match arguments.command {
        Command::Compile(options) => command::compile::run(&options, colour),
        Command::Check(options) => command::check::run(&options, colour),
        Command::Fmt(options) => command::fmt::run(&options, colour),
        Command::Diff(options) => command::diff::run(&options, colour),
        Command::Test(options) => command::test::run(&options, colour),
        Command::Query(options) => command::query::run(&options, colour),
        Command::Reach(options) => command::reach::run(&options, colour),
        Command::Import(options) => command::import::run(&options, colour),
        Command::Image { command } => command::image::run(&command),
        Command::Lsp { stdio: _ } => command::lsp::run(),
        Command::Explain(options) => command::explain::run(&options),
        Command::Completions { shell } => command::completions::run(shell),
        Command::Man => command::man::run(),
    };
    let outcome = result.unwrap_or_else(|error| {
        // If the reader of the output is gone (`npc … | head`), print no message.
        if !error.is_broken_pipe() {
            report::error_line(&error.to_string());
        }
        Outcome::CouldNotRun
    });
    ExitCode::from(match outcome {
        Outcome::Fine => 0,
        Outcome::Found => 1,
        Outcome::CouldNotRun => 2,
    })
}
