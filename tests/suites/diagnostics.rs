//! Invalid programs and the diagnostics that a user sees: one snapshot for each file in `tests/broken`.
//!
//! A line `//// NAME` starts another file of the same program. `INSTA_UPDATE=always` rewrites the snapshots;
//! review them as a user would.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use npc_diagnostics::{Diagnostic, Edit, FileId, Level};
use npc_driver::{Checked, codes, compile, target_diagnostics};
use npc_render::{Format, Style, render};
use npc_targets::{AnyTarget, Options};
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

/// Checks a program. The lints about the whole program are off, except for programs named `meaning…`.
fn check(name: &str, text: &str) -> Checked {
    let files = files(name, text);
    if name.starts_with("meaning") { files.check(None) } else { files.check_lines(None) }
}

/// The names and texts of the invalid programs.
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
fn invalid_programs_give_one_diagnostic() {
    let programs = programs();
    for (name, text) in &programs {
        let checked = check(name, text);
        let mut found: Vec<Diagnostic> = checked.report.diagnostics.clone();
        if name.starts_with("targets") {
            found.extend(target_diagnostics(&compile(
                &checked,
                &[AnyTarget::KYVERNO],
                &Options::default(),
                None,
            )));
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

/// The text of an invalid program after some edits to its first file.
fn edited(name: &str, text: &str, edits: &[Edit], checked: &Checked) -> String {
    let mut edits: Vec<&Edit> = edits.iter().collect();
    edits.sort_by_key(|edit| std::cmp::Reverse(edit.location.span));
    let mut own = checked.sources().file(FileId(0)).text().to_owned();
    for edit in edits {
        assert_eq!(edit.location.file, FileId(0), "{name}: only the first file has a mistake");
        own.replace_range(edit.location.span.range(), &edit.text);
    }
    own + text.find("//// ").map_or("", |at| &text[at..])
}

fn errors(checked: &Checked) -> Vec<&Diagnostic> {
    checked.report.diagnostics.iter().filter(|found| found.level == Level::Error).collect()
}

/// `npc check --fix` leaves a program that parses, resolves and needs no further fix, or changes nothing.
#[test]
fn automatic_fixes_need_no_further_fix() {
    let mut all = String::new();
    let mut count = 0;
    for (name, text) in programs() {
        let checked = check(&name, &text);
        let repaired = checked.repaired();
        let Some(own) = repaired.get(&FileId(0)) else {
            assert!(repaired.is_empty(), "{name}: only the first file has a mistake");
            continue;
        };
        let others = text.find("//// ").map_or("", |at| &text[at..]);
        let after = check(&name, &format!("{own}{others}"));
        assert!(after.repaired().is_empty(), "{name}: needs a further fix\n{own}");
        // Some of the ten mistakes have no automatic fix.
        if name != "ten-mistakes" {
            assert!(errors(&after).is_empty(), "{name}: {:#?}\n{own}", errors(&after));
        }
        count += 1;
        all.push_str(&format!("{name}\n{own}\n"));
    }
    insta::with_settings!({ snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("repaired", all);
    });
    println!("{count} broken programs are repaired without a decision");
    assert!(count >= 40);
}

/// Each offered fix, applied alone, gives a program without new errors.
#[test]
fn offered_fixes_cause_no_new_errors() {
    let mut count = 0;
    for (name, text) in programs() {
        let checked = check(&name, &text);
        let before: Vec<&str> = errors(&checked).iter().map(|found| found.message.as_str()).collect();
        for found in &checked.report.diagnostics {
            for fix in &found.fixes {
                let own = edited(&name, &text, &fix.edits, &checked);
                let after = check(&name, &own);
                let new = |found: &&&Diagnostic| !before.contains(&found.message.as_str());
                let left = errors(&after);
                assert!(!left.iter().any(|own| new(&own)), "{name}: {left:#?}\n{own}");
                assert!(left.len() < before.len().max(1), "{name}: {left:#?}\n{own}");
                count += 1;
            }
        }
    }
    println!("{count} fixes are offered for broken programs");
    assert!(count >= 80);
}
