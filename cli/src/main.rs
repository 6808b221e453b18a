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

/// Programs are many small pieces, made and dropped by several threads: this takes half the time of the
/// system's for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All is well.
    Fine,
    /// Something was found that the user asked to be told.
    Found,
    /// The question could not be answered.
    CouldNotRun,
}

impl Outcome {
    /// The worse of two.
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
        // A reader that went away (`npc … | head`) wants no message.
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
