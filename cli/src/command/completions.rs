//! `npc completions`

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::Outcome;
use crate::arguments::Arguments;
use crate::files::{Error, print};

pub(crate) fn run(shell: Shell) -> Result<Outcome, Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "npc", &mut script);
    print(script)?;
    Ok(Outcome::Fine)
}
