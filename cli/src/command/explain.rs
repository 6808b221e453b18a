//! `npc explain`

use npc_diagnostics::nearest;

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
    print(page(code))?;
    Ok(Outcome::Fine)
}

/// A page as it is printed: without the words on fences that are for the tests.
fn page(code: &npc_diagnostics::Code) -> String {
    let mut text = String::new();
    for line in code.page.lines() {
        let line = line.strip_prefix(' ').unwrap_or(line);
        text.push_str(if line.starts_with("```np") { "```np" } else { line });
        text.push('\n');
    }
    let rest = text.trim_start().strip_prefix("# ").map(str::to_owned);
    match rest {
        Some(rest) => format!("# {}: {rest}", code.id),
        None => text,
    }
}
