//! Helpers shared by the test suites and benchmarks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and print what they counted"
)]

pub mod large;
pub mod live;
pub mod memory;
pub mod namespaces;
#[cfg(target_os = "linux")]
pub mod net;
pub mod random;
pub mod settings;
pub mod tables;
pub mod timing;
pub mod to_np;
pub mod tools;
pub mod vectors;

use std::path::PathBuf;

/// The root folder of the checkout.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the checkout").to_owned()
}

/// All programs in the given folders of the checkout.
#[must_use]
pub fn programs(folders: &[&str]) -> Vec<PathBuf> {
    let below = folders
        .iter()
        .flat_map(|folder| npc_project::below(&root().join(folder), npc_project::is_source).files);
    below.filter(|path| !path.components().any(|part| part.as_os_str() == "target")).collect()
}
