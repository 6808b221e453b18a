//! `npc check`

use std::collections::{BTreeMap, BTreeSet};

use npc_diagnostics::{FileId, Level};
use npc_driver::Checked;
use similar::TextDiff;

use crate::Outcome;
use crate::arguments::{Check, Deny};
use crate::command::compile::options;
use crate::files::{Error, print, write_all};
use crate::policies::{Inputs, Purpose, read_sorted};
use crate::project::{Project, cluster};
use crate::report::{Reporter, line};

/// The maximum number of rounds of fixes: a fix can reveal another error, and a file reports at most
/// 1,000 diagnostics at a time.
const MAX_ROUNDS: usize = 1_000;

pub(crate) fn run(arguments: &Check, colour: bool) -> Result<Outcome, Error> {
    let mut reporter = Reporter::new(arguments.format, colour, true);
    let inputs = Inputs::new(&arguments.inputs)?;
    if !inputs.manifests.is_empty() {
        return manifests(arguments, inputs, &reporter);
    }
    let mut project = match Project::find_with(&inputs.programs, inputs.piped)? {
        Ok(project) => project,
        Err(broken) => {
            reporter.print(&broken.diagnostics, &broken.sources)?;
            return Ok(Outcome::CouldNotRun);
        }
    };
    reporter.style.prefix.clone_from(&project.prefix);
    if let Some(cni) = &arguments.cni {
        project.config.cni = Some(cni.clone());
    }
    let project = project;
    let Some(cluster) = cluster(arguments.cluster.as_deref(), &reporter)? else {
        return Ok(Outcome::CouldNotRun);
    };
    let targets =
        if arguments.target.is_empty() { project.config.targets.clone() } else { arguments.target.clone() };
    let options = options(&project.config, arguments.kyverno_version, arguments.with_guard, &targets)?;
    let check = || {
        let mut checked = npc_driver::check(&project.disk, &project.roots, &project.config, cluster.as_ref());
        checked.add_target_diagnostics(&targets, &options, cluster.as_ref());
        checked
    };
    let mut checked = check();
    let mut changes_wanted = false;
    if arguments.diff {
        let changes = checked.repaired();
        changes_wanted = !changes.is_empty();
        for (file, text) in &changes {
            let file = checked.sources().file(*file);
            let name = format!("{}{}", project.prefix, file.name());
            let diff = TextDiff::from_lines(file.text(), text);
            print(diff.unified_diff().header(&format!("a/{name}"), &format!("b/{name}")).to_string())?;
        }
        // The diff is the output, so that the diagnostics go to standard error.
        reporter.is_output = false;
    }
    if arguments.fix {
        let mut repaired_files = BTreeSet::new();
        for _ in 0..MAX_ROUNDS {
            let changes = checked.repaired();
            if changes.is_empty() {
                break;
            }
            apply(&checked, &project, &changes)?;
            repaired_files.extend(changes.keys().map(|file| checked.sources().file(*file).name().to_owned()));
            checked = check();
        }
        match repaired_files.len() {
            0 => {}
            1 => line("fixed 1 file"),
            files => line(&format!("fixed {files} files")),
        }
    }
    reporter.print(&checked.report.diagnostics, checked.sources())?;
    let denied = arguments.deny == Some(Deny::Warnings) && checked.report.count(Level::Warning) > 0;
    Ok(if checked.is_unread() {
        Outcome::CouldNotRun
    } else if checked.report.has_errors() || denied || changes_wanted {
        Outcome::Found
    } else {
        Outcome::Fine
    })
}

/// Checks manifests: reports import errors, and lints the policies.
fn manifests(arguments: &Check, inputs: Inputs, reporter: &Reporter) -> Result<Outcome, Error> {
    if let Some(program) = inputs.programs.first() {
        return Err(Error::new(format!(
            "{} is a program: check programs and manifests separately",
            program.display()
        )));
    }
    if arguments.fix || arguments.diff {
        return Err(Error::new(
            "`--fix` and `--diff` do not support manifests: `npc import` converts them to a program",
        ));
    }
    if !arguments.target.is_empty() || arguments.with_guard.is_some() {
        return Err(Error::new("`--target` and `--with-guard` are for programs: manifests are not compiled"));
    }
    let Some(cluster) = cluster(arguments.cluster.as_deref(), reporter)? else {
        return Ok(Outcome::CouldNotRun);
    };
    let mut policies = read_sorted(inputs, arguments.namespace.namespace.as_deref(), Purpose::Check)?;
    if policies.is_misconfigured {
        reporter.print(&policies.diagnostics, &policies.sources)?;
        return Ok(Outcome::CouldNotRun);
    }
    if let Some(cni) = &arguments.cni {
        policies.config.cni = Some(cni.clone());
    }
    let config = &policies.config;
    let report =
        npc_driver::check_manifests(&policies.program, policies.diagnostics, config, cluster.as_ref());
    reporter.print(&report.diagnostics, &policies.sources)?;
    let denied = arguments.deny == Some(Deny::Warnings) && report.count(Level::Warning) > 0;
    Ok(if report.has_errors() || denied { Outcome::Found } else { Outcome::Fine })
}

fn apply(checked: &Checked, project: &Project, changes: &BTreeMap<FileId, String>) -> Result<(), Error> {
    let mut files = Vec::new();
    for (file, text) in changes {
        let name = checked.sources().file(*file).name();
        if project.disk.is_stdin(name) {
            return Err(Error::new("standard input cannot be fixed in place; use `--diff`"));
        }
        files.push((project.disk.path(name), text.clone()));
    }
    write_all(&files)
}
