//! `npc man`

use clap::CommandFactory as _;

use crate::Outcome;
use crate::arguments::Arguments;
use crate::files::{Error, print};

pub(crate) fn run() -> Result<Outcome, Error> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Arguments::command())
        .render(&mut page)
        .map_err(|error| Error::new(error.to_string()))?;
    for command in Arguments::command().get_subcommands().cloned() {
        if command.get_name() != "help" {
            let name = format!("npc-{}", command.get_name());
            clap_mangen::Man::new(command.name(name))
                .render(&mut page)
                .map_err(|error| Error::new(error.to_string()))?;
        }
    }
    print(page)?;
    Ok(Outcome::Fine)
}
