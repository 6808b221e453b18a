//! `npc compile`

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use npc_cluster::Cluster;
use npc_diagnostics::{Diagnostic, Level};
use npc_driver::Config;
use npc_expand::Generated;
use npc_targets::{AnyTarget, KyvernoVersion, Options, Output, yaml};

use crate::Outcome;
use crate::arguments::{Compile, Guard};
use crate::files::{Error, folder_of, is_manifest, print, write_all};
use crate::project::{Project, cluster, read_cluster};
use crate::report::{Reporter, error_line, line};

pub(crate) fn run(arguments: &Compile, colour: bool) -> Result<Outcome, Error> {
    if arguments.watch {
        watch(arguments, colour)
    } else {
        once(arguments, colour).map(|(outcome, _)| outcome)
    }
}

/// The options of the targets: those in `npc.toml`, overridden by the command line.
pub(crate) fn options(
    config: &Config,
    version: Option<KyvernoVersion>,
    guard: Option<Guard>,
    targets: &[AnyTarget],
) -> Result<Options, Error> {
    let mut options = config.options.clone();
    if let Some(version) = version {
        options.kyverno_version = version;
    }
    if let Some(guard) = guard {
        if !targets.iter().any(|target| target.capabilities().by_kyverno) {
            let names = AnyTarget::with(|target| target.by_kyverno).map(|target| format!("`{target}`"));
            let names = names.collect::<Vec<_>>().join(" or ");
            return Err(Error::new(format!("`--with-guard` requires the target {names}")));
        }
        options.guard = Some(guard.into());
    }
    Ok(options)
}

/// Prints the objects that Kyverno generates from existing policies, written by hand or by this
/// compiler.
fn expand_files(arguments: &Compile) -> Result<Outcome, Error> {
    let Some(path) = &arguments.input.cluster else { return Ok(Outcome::CouldNotRun) };
    let cluster = match read_cluster(path)? {
        Ok(cluster) => cluster,
        Err(diagnostic) => return Err(Error::new(diagnostic.message)),
    };
    let mut generated = Generated::default();
    for input in &arguments.input.inputs {
        let text = std::fs::read_to_string(input).map_err(|error| Error::io("read", input, &error))?;
        let made = npc_expand::expand(&text, &cluster)
            .map_err(|error| Error::new(format!("{} cannot be evaluated: {error}", input.display())))?;
        generated.objects.extend(made.objects);
    }
    generated.objects.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    print_generated(&generated, &Options::default())?;
    Ok(Outcome::Fine)
}

/// Compiles once. The second value is the folder of the project, if one was found.
fn once(arguments: &Compile, colour: bool) -> Result<(Outcome, Option<PathBuf>), Error> {
    let mut reporter = Reporter::new(arguments.input.format, colour, false);
    if let Some(yaml) = arguments.input.inputs.iter().find(|input| is_manifest(input)) {
        if !arguments.expand || !arguments.input.inputs.iter().all(|input| is_manifest(input)) {
            return Err(Error::new(format!(
                "{} is not a program: Kyverno policies are only accepted with `--expand`, and not together with a program",
                yaml.display()
            )));
        }
        return expand_files(arguments).map(|outcome| (outcome, None));
    }
    let project = match Project::find(&arguments.input.inputs)? {
        Ok(project) => project,
        Err(broken) => {
            reporter.print(&broken.diagnostics, &broken.sources)?;
            return Ok((Outcome::CouldNotRun, Some(broken.root)));
        }
    };
    reporter.style.prefix.clone_from(&project.prefix);
    let root = Some(project.root.clone());
    let Some(cluster) = cluster(arguments.input.cluster.as_deref(), &reporter)? else {
        return Ok((Outcome::CouldNotRun, root));
    };
    let targets = targets(arguments, &project.config);
    if let Some(target) = targets.iter().find(|target| arguments.expand && !target.capabilities().text) {
        return Err(Error::new(format!(
            "`--expand` does not support the target `{target}`: it prints what Kyverno will generate"
        )));
    }
    let to_stdout = arguments.output.as_os_str() == "-";
    if (to_stdout || arguments.expand) && targets.len() > 1 {
        return Err(Error::new("standard output supports only one target: choose it with `--target`"));
    }

    let checked = npc_driver::check(&project.disk, &project.roots, &project.config, cluster.as_ref());
    let mut diagnostics = checked.report.diagnostics.clone();
    if checked.report.has_errors() {
        reporter.print(&diagnostics, checked.sources())?;
        return Ok((if checked.is_unread() { Outcome::CouldNotRun } else { Outcome::Found }, root));
    }
    let options = options(&project.config, arguments.kyverno_version, arguments.with_guard, &targets)?;
    let outputs = npc_driver::compile(&checked, &targets, &options, cluster.as_ref());
    diagnostics.extend(npc_driver::target_diagnostics(&outputs));
    diagnostics.sort_by_key(Diagnostic::location);
    reporter.print(&diagnostics, checked.sources())?;
    if diagnostics.iter().any(|d| d.level == Level::Error) {
        return Ok((Outcome::Found, root));
    }
    if arguments.expand {
        expand(&outputs, cluster.as_ref(), &options)?;
    } else if to_stdout {
        for output in &outputs {
            print(output.bytes())?;
        }
    } else {
        write(arguments, &project, &outputs, options.guard.is_some())?;
    }
    Ok((Outcome::Fine, root))
}

fn targets(arguments: &Compile, config: &Config) -> Vec<AnyTarget> {
    let chosen = if arguments.target.is_empty() { &config.targets } else { &arguments.target };
    let mut targets = Vec::new();
    for target in chosen {
        if !targets.contains(target) {
            targets.push(*target);
        }
    }
    if targets.is_empty() {
        targets.extend(AnyTarget::ALL.first());
    }
    targets
}

fn write(arguments: &Compile, project: &Project, outputs: &[Output], guard: bool) -> Result<(), Error> {
    let files: Vec<(PathBuf, &[u8])> = outputs
        .iter()
        .map(|output| {
            let name = format!("{}.{}", project.name, output.target.extension());
            (arguments.output.join(name), output.bytes())
        })
        .collect();
    write_all(&files)?;
    for ((path, _), output) in files.iter().zip(outputs) {
        let path = path.strip_prefix(".").unwrap_or(path);
        let [one, several] = output.target.nouns();
        let noun = if output.objects == 1 { one } else { several };
        let guards = match (guard && output.target.capabilities().by_kyverno, output.guards) {
            (false, _) => String::new(),
            (true, 0) => " and no guard: the program has no denial to guard".to_owned(),
            (true, 1) => " and 1 guard".to_owned(),
            (true, guards) => format!(" and {guards} guards"),
        };
        line(&format!("wrote {}: {} {noun}{guards}", path.display(), output.objects));
    }
    Ok(())
}

/// Prints the objects that Kyverno will generate. NetworkPolicies are printed unchanged.
fn expand(outputs: &[Output], cluster: Option<&Cluster>, options: &Options) -> Result<(), Error> {
    let Some(cluster) = cluster else { return Ok(()) };
    for output in outputs {
        if !output.target.capabilities().by_kyverno {
            print(&output.text)?;
            continue;
        }
        let generated = npc_expand::expand(&output.text, cluster)
            .map_err(|error| Error::new(format!("the policies cannot be evaluated: {error}")))?;
        print_generated(&generated, options)?;
    }
    Ok(())
}

fn print_generated(generated: &Generated, options: &Options) -> Result<(), Error> {
    let mut text = String::new();
    let mut filtered: Vec<&str> = Vec::new();
    for object in &generated.objects {
        if options.filtered_namespaces.contains(&object.namespace)
            && !filtered.contains(&object.namespace.as_str())
        {
            filtered.push(&object.namespace);
        }
        text.push_str("---\n");
        yaml::write_to(&mut text, &object.value).map_err(|error| Error::new(error.to_string()))?;
    }
    print(&text)?;
    if !filtered.is_empty() {
        line(&format!(
            "note: Kyverno will not generate the objects for {}, because its configuration excludes these namespaces (npc explain NP0606)",
            filtered.join(", ")
        ));
    }
    Ok(())
}

/// Compiles whenever a source, the configuration or the cluster file changes.
fn watch(arguments: &Compile, colour: bool) -> Result<Outcome, Error> {
    use notify::{EventKind, RecursiveMode, Watcher as _};

    if arguments.input.inputs.iter().any(|input| input.as_os_str() == "-") {
        return Err(Error::new("standard input cannot be watched"));
    }
    let cluster = arguments.input.cluster.as_ref().and_then(|path| path.file_name()).map(ToOwned::to_owned);
    let (sender, receiver) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Ignores the files that this command writes.
        let relevant = |event: &notify::Event| {
            !matches!(event.kind, EventKind::Access(_))
                && event.paths.iter().any(|path| {
                    let name = path.file_name();
                    path.extension().is_some_and(|extension| extension == "np")
                        || name.is_some_and(|name| name == "npc.toml")
                        || name.is_some() && name == cluster.as_deref()
                })
        };
        if event.is_ok_and(|event| relevant(&event)) {
            // The receiver lives until the process ends.
            let _ = sender.send(());
        }
    })
    .map_err(|error| Error::new(format!("cannot watch: {error}")))?;

    let mut watched: Vec<PathBuf> = Vec::new();
    let mut said = false;
    loop {
        let root = match once(arguments, colour) {
            Ok((_, root)) => root,
            Err(error) => {
                error_line(&error.to_string());
                None
            }
        };
        // The folder of the project if there is one, otherwise the folders of the inputs.
        let mut wanted: Vec<(PathBuf, RecursiveMode)> = match root {
            Some(root) => vec![(root, RecursiveMode::Recursive)],
            None => arguments
                .input
                .inputs
                .iter()
                .map(|input| {
                    let folder = if input.is_dir() { input } else { folder_of(input) };
                    (folder.to_owned(), RecursiveMode::Recursive)
                })
                .collect(),
        };
        wanted.extend(
            arguments
                .input
                .cluster
                .iter()
                .map(|path| (folder_of(path).to_owned(), RecursiveMode::NonRecursive)),
        );
        for (folder, mode) in wanted {
            if !watched.contains(&folder) {
                watcher
                    .watch(&folder, mode)
                    .map_err(|error| Error::new(format!("cannot watch {}: {error}", folder.display())))?;
                watched.push(folder);
            }
        }
        if !said {
            line("watching; interrupt to stop");
            said = true;
        }
        if receiver.recv().is_err() {
            return Ok(Outcome::Fine);
        }
        // Editors write a file in several steps: wait until no more events arrive.
        while receiver.recv_timeout(Duration::from_millis(50)).is_ok() {}
    }
}
