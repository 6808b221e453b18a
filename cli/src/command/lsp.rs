//! `npc lsp`

use std::path::Path;

use crate::Outcome;
use crate::files::{Error, STDIN};

pub(crate) fn run() -> Result<Outcome, Error> {
    let ended = npc_lsp::serve().map_err(|error| Error::io("serve on", Path::new(STDIN), &error))?;
    // LSP requires exit code 1 after an `exit` without a preceding `shutdown`.
    Ok(if ended { Outcome::Fine } else { Outcome::Found })
}
