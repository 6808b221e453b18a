//! Runs every command of the tutorial and compares the output. `INSTA_UPDATE=always` rewrites the tutorial.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a line in a shell, with `npc` in its path.
fn run(folder: &Path, line: &str) -> String {
    let npc = Path::new(env!("CARGO_BIN_EXE_npc")).parent().unwrap();
    let path = format!("{}:{}", npc.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1; {line}")])
        .current_dir(folder)
        .env("PATH", path)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn tutorial_output_is_current() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/tutorial.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut told = String::new();
    let mut lines = text.lines();
    let mut commands = 0;
    while let Some(line) = lines.next() {
        told.push_str(line);
        told.push('\n');
        let Some(info) = line.strip_prefix("```").filter(|info| !info.is_empty()) else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if info == "console" {
            for line in block.iter().filter_map(|line| line.strip_prefix("$ ")) {
                commands += 1;
                let _ = write!(told, "$ {line}\n{}", run(folder.path(), line));
                if !told.ends_with('\n') {
                    told.push('\n');
                }
            }
        } else {
            let text: String = block.iter().map(|line| format!("{line}\n")).collect();
            let (_, name) =
                info.split_once("file=").unwrap_or_else(|| panic!("a block without a file: {info}"));
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, &text).unwrap();
            told.push_str(&text);
        }
        told.push_str("```\n");
    }
    assert!(commands > 8, "the commands are not found");
    if npc_tests::settings::update() {
        std::fs::write(&file, &told).unwrap();
    } else {
        assert!(
            told == text,
            "docs/tutorial.md is outdated; run with INSTA_UPDATE=always and review the changes"
        );
    }
}
