//! `npc-node install-cni`

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::runtime;
use crate::arguments::InstallCni;
use crate::atomic_file::{is_same, put};
use crate::client::{Error, print};

/// The name of the plugin's file, and its `type` in the configuration.
const PLUGIN: &str = "npc-cni";

/// How often the configuration is checked.
const EVERY: Duration = Duration::from_secs(5);

pub(crate) fn run(options: &InstallCni) -> Result<ExitCode, Error> {
    if options.remove {
        remove(options)?;
    } else if options.follow {
        runtime()?.block_on(follow(options))?;
    } else {
        let (list, changed) = install(options)?;
        let said = if changed { "is now the last of" } else { "was already one of" };
        print(&format!("{PLUGIN} {said} the plugins in {}\n", list.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(options: &InstallCni) -> Result<(), Error> {
    let (binary, list) = (options.bin.join(PLUGIN), first_list(&options.conf)?);
    // The configuration first, so that it never names a missing binary.
    let changed = change(&list, |plugins| plugins.retain(|plugin| !is_ours(plugin)))?;
    if let Err(why) = fs::remove_file(&binary)
        && why.kind() != io::ErrorKind::NotFound
    {
        return Err(Error::Other(format!("cannot remove {}: {why}", binary.display())));
    }
    let said = if changed { "no longer in" } else { "was not in" };
    print(&format!("{PLUGIN} {said} {}\n", list.display()))
}

/// Installs the plugin. Returns the configuration file, and whether anything changed.
fn install(options: &InstallCni) -> Result<(PathBuf, bool), Error> {
    let (binary, list) = (options.bin.join(PLUGIN), first_list(&options.conf)?);
    let own = std::env::current_exe()
        .map_err(|why| Error::Other(format!("cannot find the path of this command: {why}")))?;
    let beside = own.with_file_name(PLUGIN);
    let is_there = is_same(&beside, &binary).unwrap_or(false);
    if !is_there {
        let file = File::open(&beside)
            .map_err(|why| Error::Other(format!("cannot read {}: {why}", beside.display())))?;
        put(&binary, file, 0o755).map_err(|why| cannot_write(&binary, &why))?;
    }
    let entry = json!({"type": PLUGIN, "socket": options.socket});
    let changed = change(&list, |plugins| match plugins.iter_mut().find(|plugin| is_ours(plugin)) {
        Some(plugin) => *plugin = entry,
        None => plugins.push(entry),
    })?;
    Ok((list, changed || !is_there))
}

/// Installs the plugin, and again whenever it disappears, until stopped. Networks rewrite their
/// configuration, for example on upgrades.
async fn follow(options: &InstallCni) -> Result<(), Error> {
    let stop = |kind| signal(kind).map_err(|why| Error::Other(format!("cannot catch signals: {why}")));
    let (mut terminate, mut interrupt) = (stop(SignalKind::terminate())?, stop(SignalKind::interrupt())?);
    let mut said = None;
    loop {
        let say = match install(options) {
            Ok((list, true)) => {
                Some(format!("{PLUGIN} is now the last of the plugins in {}", list.display()))
            }
            Ok((list, false)) if said.is_none() => {
                Some(format!("{PLUGIN} is one of the plugins in {}", list.display()))
            }
            Ok((_, false)) => None,
            Err(why) => Some(why.to_string()),
        };
        // The same message is not printed twice in a row.
        if let Some(say) = say.filter(|say| said.as_ref() != Some(say)) {
            print(&format!("{say}\n"))?;
            said = Some(say);
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

fn is_ours(plugin: &Value) -> bool {
    plugin.get("type").and_then(Value::as_str) == Some(PLUGIN)
}

/// The configuration that container runtimes use: the first file by name, which must be a list.
fn first_list(folder: &Path) -> Result<PathBuf, Error> {
    let cannot = |why: io::Error| Error::Other(format!("cannot read {}: {why}", folder.display()));
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let end = path.extension().and_then(|end| end.to_str());
        if matches!(end, Some("conflist" | "conf" | "json")) {
            files.push(path);
        }
    }
    files.sort_unstable();
    let first = files.into_iter().next().ok_or_else(|| {
        Error::Other(format!(
            "{} contains no CNI configuration: install the node's network first",
            folder.display()
        ))
    })?;
    match first.extension().and_then(|end| end.to_str()) {
        Some("conflist") => Ok(first),
        _ => Err(Error::Other(format!(
            "{} configures a single plugin: convert it to a list (`.conflist`), so that another can be chained",
            first.display()
        ))),
    }
}

/// Changes the plugins of a configuration list. Returns whether that changed anything.
fn change(list: &Path, to: impl FnOnce(&mut Vec<Value>)) -> Result<bool, Error> {
    let cannot = |why: String| Error::Other(format!("{}: {why}", list.display()));
    let text = fs::read(list).map_err(|why| cannot(why.to_string()))?;
    let mut configuration: Value = serde_json::from_slice(&text).map_err(|why| cannot(why.to_string()))?;
    let before = configuration.clone();
    let plugins = configuration.get_mut("plugins").and_then(Value::as_array_mut);
    to(plugins.ok_or_else(|| cannot("`plugins` is missing".to_owned()))?);
    if configuration == before {
        return Ok(false);
    }
    let text = serde_json::to_vec_pretty(&configuration).map_err(|why| cannot(why.to_string()))?;
    let mode = fs::metadata(list).map_or(0o600, |metadata| metadata.permissions().mode() & 0o777);
    put(list, text.as_slice(), mode).map_err(|why| cannot_write(list, &why))?;
    Ok(true)
}

fn cannot_write(path: &Path, why: &io::Error) -> Error {
    Error::Other(format!("cannot write {}: {why}", path.display()))
}
