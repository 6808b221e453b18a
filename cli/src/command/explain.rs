//! `npc explain`

use npc_suggest::nearest;

use crate::Outcome;
use crate::arguments::Explain;
use crate::files::{Error, print};
use crate::report::error_line;

pub(crate) fn run(options: &Explain) -> Result<Outcome, Error> {
    let codes = npc_driver::codes();
    let Some(asked) = &options.code else {
        let lines: String = codes
            .iter()
            .map(|code| {
                format!("{}  {:7}  {:20}  {}\n", code.id, code.level.as_str(), code.name, code.title())
            })
            .collect();
        print(&lines)?;
        return Ok(Outcome::Fine);
    };
    let found = codes.iter().find(|code| code.id.eq_ignore_ascii_case(asked) || code.name == asked.as_str());
    let Some(code) = found else {
        let upper = asked.to_ascii_uppercase();
        let near = nearest(&upper, codes.iter().map(|code| code.id))
            .or_else(|| nearest(asked, codes.iter().map(|code| code.name)));
        error_line(&match near {
            Some(near) => format!("there is no code `{asked}`; did you mean {near}?"),
            None => format!("there is no code `{asked}`; `npc explain` lists them"),
        });
        return Ok(Outcome::CouldNotRun);
    };
    print(code.explained())?;
    Ok(Outcome::Fine)
}
