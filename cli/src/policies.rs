//! Policies from files of any kind: programs, and manifests of Kubernetes and Kyverno.

use std::path::PathBuf;

use npc_diagnostics::{Diagnostic, Level, SourceMap};
use npc_driver::{Config, Gaps, Import, keep_in_force, leave_out_filtered};
use npc_program::Program;
use npc_project::with_slashes;

use crate::files::{Error, STDIN, is_manifest, manifests_in, read_file, read_stdin, sources_in};
use crate::project::{Broken, Project, config_of};
use crate::report::{Reporter, line};

/// What was read.
pub(crate) struct Policies {
    /// All policies, tests and assertions.
    pub(crate) program: Program,
    /// The texts that they stand in, by names that are paths from here.
    pub(crate) sources: SourceMap,
    /// What was found.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The configuration, of the programs' project, or of the one that manifests are in.
    pub(crate) config: Config,
    /// Whether the configuration is wrong, so that nothing was read.
    pub(crate) is_misconfigured: bool,
    /// Whether Kyverno generates some of them from its own policies.
    pub(crate) has_generated: bool,
    /// What a running cluster does not have of them.
    pub(crate) gaps: Gaps,
}

/// What policies are read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be checked: as they are written.
    Check,
    /// To answer about a cluster: what Kyverno generates in its namespaces.
    Answer,
    /// To be compared in any cluster: what Kyverno generates in namespaces that its configuration does not leave
    /// out.
    Compare,
}

impl Policies {
    /// Whether something is wrong.
    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|found| found.level == Level::Error)
    }

    /// Whether some of them are a program's.
    pub(crate) fn is_program(&self) -> bool {
        self.sources.files().any(|(_, file)| file.name().ends_with(".np"))
    }

    /// Prints what answers rest on beside the policies as they are written: what was found in manifests, and what the
    /// cluster does not have of them, of the namespaces for which `matters` holds.
    pub(crate) fn print_caveats(
        &self,
        reporter: &Reporter,
        matters: impl Fn(&str) -> bool,
    ) -> Result<(), Error> {
        if !self.diagnostics.is_empty() {
            reporter.print(&self.diagnostics, &self.sources)?;
        }
        print_gaps(&self.gaps, matters);
        Ok(())
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

/// Reads policies of any kind. Objects that say no namespace are of `namespace`.
pub(crate) fn read(inputs: &[PathBuf], namespace: Option<&str>, purpose: Purpose) -> Result<Policies, Error> {
    read_sorted(Inputs::new(inputs)?, namespace, purpose)
}

/// The same, of inputs that are told apart.
pub(crate) fn read_sorted(
    inputs: Inputs,
    namespace: Option<&str>,
    purpose: Purpose,
) -> Result<Policies, Error> {
    let Inputs { programs, manifests, piped } = inputs;
    let mut policies = programs_of(&programs, &piped)?;
    if programs.is_empty() {
        match config_of(&manifests)? {
            Ok(config) => policies.config = config,
            Err(broken) => {
                let Broken { diagnostics, sources, .. } = broken;
                return Ok(Policies { diagnostics, sources, is_misconfigured: true, ..policies });
            }
        }
    }
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
        all.extend(npc_driver::import_in(file, &text, namespace));
    }
    policies.diagnostics.append(&mut all.diagnostics);
    policies.diagnostics.extend(all.conflicts());
    let is_generated = |imported: &&npc_driver::Imported| imported.generated.is_some();
    policies.has_generated = all.policies.iter().any(|imported| is_generated(&imported));
    let options = &policies.config.options;
    match purpose {
        Purpose::Check => {
            let generated = all.policies.iter().filter(is_generated).map(|imported| &imported.policy);
            policies.diagnostics.extend(npc_targets::unreached(generated, options));
        }
        Purpose::Answer => policies.gaps = keep_in_force(&mut all, &options.filtered_namespaces),
        Purpose::Compare => policies.gaps = leave_out_filtered(&mut all, &options.filtered_namespaces),
    }
    policies.program.policies.extend(all.into_program().policies);
    policies.diagnostics.sort_by_key(Diagnostic::location);
    Ok(policies)
}

/// Prints what a cluster does not have of policies, of the namespaces for which `matters` holds.
pub(crate) fn print_gaps(gaps: &Gaps, matters: impl Fn(&str) -> bool) {
    gaps.sentences(matters).iter().for_each(|sentence| line(&format!("note: {sentence}")));
}

fn programs_of(programs: &[PathBuf], piped: &Option<Vec<u8>>) -> Result<Policies, Error> {
    let nothing = Policies {
        program: Program::default(),
        sources: SourceMap::new(),
        diagnostics: Vec::new(),
        config: Config::default(),
        is_misconfigured: false,
        has_generated: false,
        gaps: Gaps::default(),
    };
    if programs.is_empty() {
        return Ok(nothing);
    }
    let project = match Project::find_with(programs, piped.clone())? {
        Ok(project) => project,
        Err(broken) => {
            let Broken { diagnostics, sources, .. } = broken;
            return Ok(Policies { diagnostics, sources, is_misconfigured: true, ..nothing });
        }
    };
    let checked = npc_driver::check(&project.disk, &project.roots, &project.config, None);
    // Only errors matter to who asks.
    let diagnostics =
        checked.report.diagnostics.into_iter().filter(|found| found.level == Level::Error).collect();
    let mut sources = checked.loaded.sources;
    sources.prefix(&project.prefix);
    Ok(Policies { program: checked.program, sources, diagnostics, config: project.config, ..nothing })
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
