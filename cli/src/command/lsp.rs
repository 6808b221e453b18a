//! `npc lsp`

use std::path::Path;

use crate::Outcome;
use crate::files::{Error, STDIN};

pub(crate) fn run() -> Result<Outcome, Error> {
    npc_lsp::serve().map_err(|error| Error::io("serve on", Path::new(STDIN), &error))?;
    Ok(Outcome::Fine)
}
