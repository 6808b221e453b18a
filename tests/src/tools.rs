//! External programs that the tests compare with.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::settings::skip;

/// The folder with the tools that `tests/all` builds. Without it, prints that the test is left out.
#[must_use]
pub fn tools(test: &str, needs: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("NPC_TEST_TOOLS") else {
        skip(test, &format!("needs {needs}, which `tests/all` builds"));
        return None;
    };
    Some(PathBuf::from(folder))
}

/// Runs a command and waits for its end.
///
/// # Panics
///
/// If it cannot be started.
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a command that must succeed, and returns its output.
///
/// # Panics
///
/// If it fails.
pub fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The name and path of each example.
#[must_use]
pub fn examples() -> Vec<(String, PathBuf)> {
    let folder = crate::root().join("examples");
    let mut found: Vec<(String, PathBuf)> = std::fs::read_dir(&folder)
        .expect("the examples are in the checkout")
        .filter_map(|entry| {
            let entry = entry.ok()?;
            entry.path().is_dir().then(|| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        })
        .collect();
    found.sort();
    found
}

/// The sources of an example, by name.
#[must_use]
pub fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut sources: Vec<(String, String)> = std::fs::read_dir(folder)
        .expect("an example is a folder")
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?.to_owned();
            name.ends_with(".np").then(|| (name, std::fs::read_to_string(&path).expect("a source is text")))
        })
        .collect();
    sources.sort();
    sources
}
