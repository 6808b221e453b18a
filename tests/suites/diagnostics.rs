//! Broken programs, and what a user reads about them: a snapshot for each file of `tests/broken`.
//!
//! A line `//// NAME` begins another file of the same program. `INSTA_UPDATE=always` writes the
//! snapshots anew: read each as a user would.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use npc_diagnostics::Diagnostic;
use npc_driver::{Checked, codes, compile, of_targets};
use npc_render::{Format, Style, render};
use npc_targets::{Options, Target};
use npc_tests::memory::Memory;
use npc_tests::root;

fn files(name: &str, text: &str) -> Memory {
    let mut files = vec![("a.np".to_owned(), String::new())];
    for line in text.split_inclusive('\n') {
        match line.trim_end().strip_prefix("//// ") {
            Some(other) => files.push((other.to_owned(), String::new())),
            None => files.last_mut().unwrap_or_else(|| panic!("{name}")).1.push_str(line),
        }
    }
    Memory::new(files)
}

/// What is found. Programs that are wrong in one line are not judged as a whole.
fn check(name: &str, text: &str) -> Checked {
    let files = files(name, text);
    if name.starts_with("meaning") { files.check(None) } else { files.check_lines(None) }
}

/// The broken programs: each one's name, and its text.
fn programs() -> Vec<(String, String)> {
    let folder = root().join("tests/broken");
    let mut names = Vec::new();
    let mut folders = vec![folder.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { names.push(path) }
        }
    }
    names.sort();
    names
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&folder).unwrap().with_extension("");
            let name = name.to_string_lossy().replace(['/', '\\'], "__");
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn broken_programs() {
    let programs = programs();
    for (name, text) in &programs {
        let checked = check(name, text);
        let mut found: Vec<Diagnostic> = checked.report.diagnostics.clone();
        if name.starts_with("targets") {
            found.extend(of_targets(&compile(&checked, &[Target::Kyverno], &Options::default(), None)));
        }
        assert!(!found.is_empty(), "{name} is not broken");
        if name == "ten-mistakes" {
            assert_eq!(found.len(), 10, "ten mistakes give ten diagnostics");
        } else {
            assert_eq!(found.len(), 1, "{name}: one mistake gives one diagnostic: {found:#?}");
        }
        let human = render(Format::Human, &found, checked.sources(), &codes(), &Style::default());
        insta::with_settings!({ snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name.as_str(), human);
        });
    }
    println!("{} broken programs", programs.len());
    assert!(programs.len() >= 80);
}

/// What `npc check --fix` does leaves less to do, and never more.
#[test]
fn repairs_repair() {
    let mut repaired_programs = 0;
    for (name, text) in programs() {
        let mut text = text;
        let mut found = usize::MAX;
        for round in 0.. {
            let checked = check(&name, &text);
            let left = checked.report.diagnostics.len();
            let changes = npc_driver::repaired(&checked);
            // The other files of a program have no mistakes that are repaired.
            let Some(changed) = changes.into_values().next() else { break };
            assert!(left < found, "{name}: a repair brings {left} findings where there were {found}\n{text}");
            assert!(round < 10, "{name}: repaired again and again\n{text}");
            found = left;
            let others = text.find("//// ").map_or("", |at| &text[at..]).to_owned();
            text = changed + &others;
            repaired_programs += usize::from(round == 0);
        }
        if found != usize::MAX {
            let left = check(&name, &text).report.diagnostics.len();
            assert!(left < found, "{name}: a repair leaves {left} findings of {found}\n{text}");
        }
    }
    println!("{repaired_programs} broken programs have a repair that needs no decision");
    assert!(repaired_programs >= 20);
}
