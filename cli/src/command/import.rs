//! `npc import`

use std::path::PathBuf;

use npc_diagnostics::{Diagnostic, Level, SourceMap};

use crate::Outcome;
use crate::arguments::Import;
use crate::files::{Error, STDIN, manifests_in, print, read_file, read_stdin, write_all};
use crate::report::Reporter;
use npc_project::with_slashes;

pub(crate) fn run(arguments: &Import, colour: bool) -> Result<Outcome, Error> {
    let reporter = Reporter::new(arguments.format, colour, false);
    let mut sources = SourceMap::new();
    let mut all = npc_driver::Import::default();
    for (name, bytes) in read(&arguments.inputs)? {
        let Ok(text) = String::from_utf8(bytes) else {
            return Err(Error::new(format!("{name} is not UTF-8 text")));
        };
        let file = sources.add(name.as_str(), text.as_str());
        all.extend(npc_driver::import_in(file, &text, arguments.namespace.namespace.as_deref()));
    }
    let mut diagnostics = std::mem::take(&mut all.diagnostics);
    diagnostics.extend(all.conflicts());
    let broken = diagnostics.iter().any(|found| found.level == Level::Error);
    let mut text = String::new();
    if !broken {
        let (written, found) = all.to_text();
        text = written;
        diagnostics.extend(found);
    }
    diagnostics.sort_by_key(Diagnostic::location);
    reporter.print(&diagnostics, &sources)?;
    if broken {
        return Ok(Outcome::Found);
    }
    if arguments.output.as_os_str() == "-" {
        print(&text)?;
    } else {
        write_all(&[(arguments.output.clone(), text)])?;
    }
    Ok(Outcome::Fine)
}

/// Reads the named files, and the manifests in the named folders.
fn read(inputs: &[PathBuf]) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut files = Vec::new();
    for input in inputs {
        if input.as_os_str() == "-" {
            files.push((STDIN.to_owned(), read_stdin()?));
        } else if input.is_dir() {
            let found = manifests_in(input)?;
            if found.is_empty() {
                return Err(Error::new(format!("there is no manifest in {}", input.display())));
            }
            for path in found {
                files.push((with_slashes(&path), read_file(&path)?));
            }
        } else {
            files.push((with_slashes(input), read_file(input)?));
        }
    }
    Ok(files)
}
