//! `npc fmt`

use std::path::{Path, PathBuf};

use npc_diagnostics::SourceMap;
use npc_render::Format;
use npc_syntax::parse;
use similar::TextDiff;

use crate::Outcome;
use crate::arguments::Fmt;
use crate::files::{Error, STDIN, print, read_file, read_stdin, sources_in, write_all};
use crate::report::{Reporter, error_line, line};

pub(crate) fn run(arguments: &Fmt, colour: bool) -> Result<Outcome, Error> {
    let reporter = Reporter::new(Format::Human, colour, false);
    let mut outcome = Outcome::Fine;
    let mut changed: Vec<(PathBuf, String)> = Vec::new();
    let (mut broken, mut sources) = (Vec::new(), SourceMap::new());
    for (name, path) in files(&arguments.inputs)? {
        let bytes = match &path {
            Some(path) => read_file(path)?,
            None => read_stdin()?,
        };
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                error_line(&format!("{name} is not UTF-8 text (byte {})", error.utf8_error().valid_up_to()));
                outcome = Outcome::CouldNotRun;
                continue;
            }
        };
        let file = sources.add(name.as_str(), text.as_str());
        let parsed = parse(file, &text);
        let formatted = match npc_format::format_parsed(&text, &parsed) {
            Ok(formatted) if npc_format::is_same(&parsed, &text, &formatted) => formatted,
            // Never write an output that may have another meaning.
            Ok(_) => {
                return Err(Error::new(format!(
                    "formatting would change the meaning of {name}: this is a bug in npc, please report it"
                )));
            }
            Err(diagnostics) => {
                broken.extend(diagnostics);
                // A filter must not lose its input.
                if path.is_none() && !arguments.check && !arguments.diff {
                    print(&text)?;
                }
                continue;
            }
        };
        let is_changed = formatted != text;
        if is_changed && (arguments.check || arguments.diff) {
            outcome = Outcome::Found.max_of(outcome);
        }
        if is_changed && arguments.diff {
            let diff = TextDiff::from_lines(&text, &formatted);
            print(diff.unified_diff().header(&format!("a/{name}"), &format!("b/{name}")).to_string())?;
        } else if is_changed && arguments.check {
            print(format!("{name}\n"))?;
        }
        match path {
            _ if arguments.check || arguments.diff => {}
            None => print(&formatted)?,
            Some(path) if is_changed => changed.push((path, formatted)),
            Some(_) => {}
        }
    }
    write_all(&changed)?;
    match changed.len() {
        0 => {}
        1 => line("formatted 1 file"),
        count => line(&format!("formatted {count} files")),
    }
    if !broken.is_empty() {
        reporter.print(&broken, &sources)?;
        outcome = Outcome::Found.max_of(outcome);
    }
    Ok(outcome)
}

/// The files to format, with the names that are shown; standard input has no path.
fn files(inputs: &[PathBuf]) -> Result<Vec<(String, Option<PathBuf>)>, Error> {
    let mut files: Vec<(String, Option<PathBuf>)> = Vec::new();
    let named = |path: PathBuf| {
        let name = path.strip_prefix(".").unwrap_or(&path).display().to_string();
        (name, Some(path))
    };
    for given in inputs {
        if given.as_os_str() == "-" {
            if files.iter().any(|(_, path)| path.is_none()) {
                return Err(Error::new("`-` (standard input) can be given only once"));
            }
            files.push((STDIN.to_owned(), None));
        } else if given.is_dir() {
            let found = sources_in(given)?;
            if found.is_empty() {
                return Err(Error::new(format!("there is no .np file in {}", given.display())));
            }
            files.extend(found.into_iter().map(named));
        } else {
            require_source(given)?;
            files.push(named(given.clone()));
        }
    }
    // Formats a file only once, even if it is named twice.
    let mut seen = std::collections::BTreeSet::new();
    files.retain(|(_, path)| seen.insert(path.as_ref().and_then(|path| path.canonicalize().ok())));
    Ok(files)
}

/// Rejects manifests, so that they are not rewritten by mistake.
fn require_source(path: &Path) -> Result<(), Error> {
    if crate::files::is_manifest(path) {
        return Err(Error::new(format!(
            "{} is a manifest: `npc import` converts it to a program",
            path.display()
        )));
    }
    Ok(())
}
