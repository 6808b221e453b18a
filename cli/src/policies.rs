//! Policies from files of any kind: programs, and manifests of Kubernetes and Kyverno.

use std::path::PathBuf;

use npc_diagnostics::{Diagnostic, Level, SourceMap};
use npc_driver::{Config, Import};
use npc_program::Program;
use npc_project::with_slashes;

use crate::files::{Error, STDIN, is_manifest, manifests_in, read_file, read_stdin, sources_in};
use crate::project::Project;

/// What was read.
pub(crate) struct Policies {
    /// All policies, tests and assertions.
    pub(crate) program: Program,
    /// The texts that they stand in, by names that are paths from here.
    pub(crate) sources: SourceMap,
    /// What was found.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The configuration, of the programs' project.
    pub(crate) config: Config,
}

impl Policies {
    /// Whether something is wrong.
    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|found| found.level == Level::Error)
    }
}

/// The inputs, by what they are.
#[derive(Default)]
pub(crate) struct Inputs {
    /// Sources of programs, and folders of them.
    pub(crate) programs: Vec<PathBuf>,
    /// Manifests.
    pub(crate) manifests: Vec<PathBuf>,
    /// Standard input, where one of them is `-`.
    pub(crate) piped: Option<Vec<u8>>,
}

impl Inputs {
    /// Tells programs from manifests. A folder is a program where it holds `.np` files, and manifests
    /// otherwise; standard input may be either.
    pub(crate) fn new(inputs: &[PathBuf]) -> Result<Self, Error> {
        let mut all = Self::default();
        for input in inputs {
            if is_manifest(input) {
                all.manifests.push(input.clone());
            } else if input.is_dir() {
                if !sources_in(input)?.is_empty() {
                    all.programs.push(input.clone());
                    continue;
                }
                let found = manifests_in(input)?;
                if found.is_empty() {
                    return Err(Error::new(format!(
                        "there is no program (.np) and no manifest (.yaml, .json) in {}",
                        input.display()
                    )));
                }
                all.manifests.extend(found);
            } else {
                all.programs.push(input.clone());
            }
        }
        if all.programs.iter().any(|input| input.as_os_str() == "-") {
            let bytes = read_stdin()?;
            if looks_like_manifest(&bytes) {
                all.programs.retain(|input| input.as_os_str() != "-");
                all.manifests.push(PathBuf::from("-"));
            }
            all.piped = Some(bytes);
        }
        Ok(all)
    }
}

/// Reads policies of any kind.
pub(crate) fn read(inputs: &[PathBuf]) -> Result<Policies, Error> {
    read_sorted(Inputs::new(inputs)?)
}

/// The same, of inputs that are told apart.
pub(crate) fn read_sorted(inputs: Inputs) -> Result<Policies, Error> {
    let Inputs { programs, manifests, piped } = inputs;
    let mut policies = programs_of(&programs, &piped)?;
    let mut all = Import::default();
    for path in &manifests {
        let (name, bytes) = match (&piped, path.as_os_str() == "-") {
            (Some(bytes), true) => (STDIN.to_owned(), bytes.clone()),
            _ => (with_slashes(path), read_file(path)?),
        };
        let Ok(text) = String::from_utf8(bytes) else {
            return Err(Error::new(format!("{name} is not UTF-8 text")));
        };
        let file = policies.sources.add(name.as_str(), text.as_str());
        let import = npc_driver::import(file, &text);
        all.policies.extend(import.policies);
        policies.diagnostics.extend(import.diagnostics);
    }
    policies.diagnostics.extend(all.conflicts());
    policies.program.policies.extend(all.into_program().policies);
    policies.diagnostics.sort_by_key(Diagnostic::location);
    Ok(policies)
}

fn programs_of(programs: &[PathBuf], piped: &Option<Vec<u8>>) -> Result<Policies, Error> {
    let nothing = Policies {
        program: Program::default(),
        sources: SourceMap::new(),
        diagnostics: Vec::new(),
        config: Config::default(),
    };
    if programs.is_empty() {
        return Ok(nothing);
    }
    let project = match Project::find_with(programs, piped.clone())? {
        Ok(project) => project,
        Err(broken) => {
            return Ok(Policies { diagnostics: broken.diagnostics, sources: broken.sources, ..nothing });
        }
    };
    let checked = npc_driver::check(&project.disk, &project.roots, &project.config, None);
    // Only errors matter to who asks.
    let diagnostics =
        checked.report.diagnostics.into_iter().filter(|found| found.level == Level::Error).collect();
    let mut sources = checked.loaded.sources;
    sources.prefix(&project.prefix);
    Ok(Policies { program: checked.program, sources, diagnostics, config: project.config })
}

/// Whether a text is manifests: its first line of weight is a key or a document's start.
fn looks_like_manifest(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    first.is_some_and(|line| {
        line.starts_with("---")
            || line.starts_with('{')
            || line.starts_with("apiVersion:")
            || line.starts_with("kind:")
    })
}
