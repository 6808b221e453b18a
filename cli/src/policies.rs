//! Reads policies from programs and from manifests of Kubernetes and Kyverno.

use std::path::PathBuf;

use npc_diagnostics::{Diagnostic, Level, SourceMap};
use npc_driver::{
    Checked, Config, Depth, Gaps, Import, Input, Session, Uninterrupted, exclude_filtered, retain_in_force,
};
use npc_program::Program;
use npc_project::with_slashes;

use crate::files::{Error, STDIN, is_manifest, manifests_in, read_file, read_stdin, sources_in};
use crate::project::{Broken, Project, config_of};
use crate::report::{Reporter, line};

/// The policies of all inputs.
pub(crate) struct Policies {
    /// All policies, tests and assertions.
    pub(crate) program: Program,
    /// The source texts, with names that are relative to the current folder.
    pub(crate) sources: SourceMap,
    /// The diagnostics.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The configuration of the project that contains the programs, or else the manifests.
    pub(crate) config: Config,
    /// Whether the configuration is invalid. If so, nothing was read.
    pub(crate) is_misconfigured: bool,
    /// Whether Kyverno generates some of the policies.
    pub(crate) has_generated: bool,
    /// The policies that do not exist in a running cluster, because Kyverno does not generate them.
    pub(crate) gaps: Gaps,
}

/// The purpose for which policies are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Check the policies as written.
    Check,
    /// Evaluate connections in a cluster: include what Kyverno generates in the cluster's namespaces.
    Answer,
    /// Compare the policies for any cluster: include what Kyverno generates outside of the namespaces
    /// that its configuration filters.
    Compare,
}

impl Policies {
    /// Whether there is an error.
    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|found| found.level == Level::Error)
    }

    /// Whether some of the policies are from a program.
    pub(crate) fn is_program(&self) -> bool {
        self.sources.files().any(|(_, file)| file.name().ends_with(".np"))
    }

    /// Prints caveats of the answers: the diagnostics of the manifests, and the policies that do not
    /// exist in the cluster, for the namespaces that `matters` accepts.
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

/// The inputs, by kind.
#[derive(Default)]
pub(crate) struct Inputs {
    /// Source files, and folders of them.
    pub(crate) programs: Vec<PathBuf>,
    /// Manifests.
    pub(crate) manifests: Vec<PathBuf>,
    /// The contents of standard input, if an input is `-`.
    pub(crate) piped: Option<Vec<u8>>,
}

impl Inputs {
    /// Classifies the inputs. A folder is a program if it contains `.np` files, otherwise it contains
    /// manifests. Standard input can be either.
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

/// Reads policies of any kind. `namespace` is the namespace of objects that do not set one.
pub(crate) fn read(inputs: &[PathBuf], namespace: Option<&str>, purpose: Purpose) -> Result<Policies, Error> {
    read_sorted(Inputs::new(inputs)?, namespace, purpose)
}

/// Reads policies from classified inputs.
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
        Purpose::Answer => policies.gaps = retain_in_force(&mut all, &options.filtered_namespaces),
        Purpose::Compare => policies.gaps = exclude_filtered(&mut all, &options.filtered_namespaces),
    }
    policies.program.policies.extend(all.into_program().policies);
    policies.diagnostics.sort_by_key(Diagnostic::location);
    Ok(policies)
}

/// Prints the policies that do not exist in the cluster, for the namespaces that `matters` accepts.
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
    let checked = check_errors(&project);
    let mut sources = checked.loaded.sources;
    sources.prefix(&project.prefix);
    Ok(Policies {
        program: checked.program,
        sources,
        diagnostics: checked.report.diagnostics,
        config: project.config,
        ..nothing
    })
}

/// Checks a project for errors only.
pub(crate) fn check_errors(project: &Project) -> Checked {
    let Project { disk, roots, config, .. } = project;
    let input = Input { files: disk, roots, config, cluster: None };
    let Ok(checked) = Session::default().check(&input, Depth::Errors, &Uninterrupted);
    checked
}

/// Whether the text is YAML or JSON: its first significant line is a key or the start of a document.
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
