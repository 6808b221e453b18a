//! The direction of dependencies between the folders, as docs/architecture.md describes it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Each layer, with the layers that its crates may depend on besides their own. Dependencies of tests do not count.
const LAYERS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("runtime", &["core"]),
    ("compiler/report", &["core"]),
    ("compiler/frontend", &["core", "compiler/report"]),
    ("compiler/analysis", &["core", "compiler/report", "compiler/frontend"]),
    (
        "compiler/backend",
        &["core", "compiler/report", "compiler/frontend", "compiler/analysis/model", "runtime/image"],
    ),
    ("compiler/driver", &["core", "compiler", "runtime/image"]),
    ("lsp", &["core", "compiler"]),
    ("cli", &["core", "compiler", "lsp", "runtime"]),
    ("tests", &["core", "compiler", "lsp", "runtime"]),
];

#[test]
fn crates_depend_only_on_earlier_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let folder = |path: &str| Path::new(path).strip_prefix(root).ok().map(Path::to_path_buf);
    let mut checked = 0;
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let own = folder(package["manifest_path"].as_str().unwrap()).unwrap();
        let own = own.parent().unwrap();
        let layer = LAYERS.iter().find(|(layer, _)| own.starts_with(layer));
        let (layer, allowed) = layer.unwrap_or_else(|| panic!("{} belongs to no layer", own.display()));
        for dependency in package["dependencies"].as_array().unwrap() {
            let Some(other) = dependency["path"].as_str().and_then(folder) else { continue };
            if dependency["kind"] == "dev" {
                continue;
            }
            checked += 1;
            if !other.starts_with(layer) && !allowed.iter().any(|allowed| other.starts_with(allowed)) {
                wrong.push(format!("{} depends on {}", own.display(), other.display()));
            }
        }
    }
    assert!(checked > 50, "only {checked} dependencies were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
