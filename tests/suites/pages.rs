//! Checks the examples on the pages of the codes: an example that `fails` reports exactly that code, and a
//! repaired one reports nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use npc_cluster::Cluster;
use npc_diagnostics::Code;
use npc_driver::{codes, compile};
use npc_program::FailurePolicy;
use npc_targets::{AnyTarget, Options};
use npc_tests::memory::Memory;

/// An example on a page: the words of its fence, and its text.
struct Example {
    words: Vec<String>,
    text: String,
}

impl Example {
    fn word(&self, key: &str) -> Option<&str> {
        self.words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn fails(&self) -> bool {
        self.words.iter().any(|word| word == "fails")
    }
}

fn examples(code: &Code) -> Vec<Example> {
    let mut found = Vec::new();
    let mut open: Option<Example> = None;
    for line in code.page.lines() {
        let line = line.strip_prefix(' ').unwrap_or(line);
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(words)) if words.starts_with("np") => {
                let words = words.split_whitespace().skip(1).map(str::to_owned).collect();
                open = Some(Example { words, text: String::new() });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(example), None) => {
                example.text.push_str(line);
                example.text.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}

/// All codes reported by checking and compiling the example, without lints about the whole program that are
/// not the page's subject.
fn found(files: &Memory, code: &Code, example: &Example) -> Vec<&'static str> {
    let cluster = example.word("cluster").map(|names| {
        let mut text: String = names
            .split(',')
            .map(|name| format!("---\nkind: Namespace\nmetadata: {{name: {name}}}\n"))
            .collect();
        for (index, address) in example.word("pods").iter().flat_map(|pods| pods.split(',')).enumerate() {
            let namespace = names.split(',').next().unwrap();
            let metadata = format!("{{name: p{index}, namespace: {namespace}}}");
            text += &format!("---\nkind: Pod\nmetadata: {metadata}\nstatus: {{podIP: {address}}}\n");
        }
        Cluster::parse(&text).unwrap()
    });
    let as_a_whole = ("NP0803".."NP0809").contains(&code.id);
    let checked = match example.word("cni") {
        Some(cni) => files.check_for(cni.parse().unwrap(), None),
        None if as_a_whole => files.check(cluster.as_ref()),
        None => files.check_lines(cluster.as_ref()),
    };
    let mut found: Vec<&str> = checked.report.diagnostics.iter().map(|d| d.code.id).collect();
    if let Some(target) = example.word("target")
        && !checked.report.has_errors()
    {
        let target = AnyTarget::parse(target).unwrap();
        let guard = example.words.iter().any(|word| word == "guard").then_some(FailurePolicy::Fail);
        let options = Options { guard, ..Options::default() };
        let output = compile(&checked, &[target], &options, cluster.as_ref()).remove(0);
        found.extend(output.diagnostics.iter().map(|d| d.code.id));
    }
    found
}

#[test]
fn examples_report_their_code() {
    let mut run = 0;
    for code in codes() {
        let examples = examples(code);
        // Files with names belong to one program; the other examples are programs of their own.
        let named: Vec<(String, String)> = examples
            .iter()
            .filter_map(|example| Some((example.word("file")?.to_owned(), example.text.clone())))
            .collect();
        for example in &examples {
            if example.word("file").is_some() && !example.fails() {
                continue;
            }
            let files =
                if named.is_empty() { Memory::one(&example.text) } else { Memory::new(named.clone()) };
            let found = found(&files, code, example);
            if example.fails() {
                assert_eq!(found, [code.id], "{}: an example that fails\n{}", code.id, example.text);
            } else {
                assert!(
                    found.is_empty(),
                    "{}: a repaired example reports {found:?}\n{}",
                    code.id,
                    example.text
                );
            }
            run += 1;
        }
    }
    println!("{run} examples of {} codes", codes().len());
    assert!(run > 60, "the examples are not found: {run}");
}

#[test]
fn every_code_is_unique_and_has_a_page() {
    let codes = codes();
    for (index, code) in codes.iter().enumerate() {
        assert!(code.id.len() == 6 && code.id.starts_with("NP"), "{}", code.id);
        assert!(code.page.trim_start().starts_with("# "), "{} has no heading", code.id);
        assert!(code.page.lines().count() > 2, "{} has no text", code.id);
        let twice = |other: &&Code| other.id == code.id || other.name == code.name;
        assert!(!codes.iter().skip(index + 1).any(twice), "{} or its name is there twice", code.id);
    }
}

/// `docs/codes.md` is generated from the pages; `INSTA_UPDATE=always` rewrites it.
#[test]
fn list_of_codes_is_current() {
    let mut text = String::from(
        "# Diagnostics\n\nEvery code, as `npc explain` prints it. Made from the pages beside the checks.\n",
    );
    for code in codes() {
        text.push_str(&format!(
            "\n## {}: {}\n\nLevel: {}. Name: `{}`.\n",
            code.id,
            code.title(),
            code.level,
            code.name
        ));
        for line in code.page.lines().skip(1) {
            let line = line.strip_prefix(' ').unwrap_or(line);
            text.push_str(if line.starts_with("```np") { "```np" } else { line });
            text.push('\n');
        }
    }
    let path = npc_tests::root().join("docs/codes.md");
    if npc_tests::settings::update() {
        std::fs::write(&path, &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap_or_default() == text,
        "docs/codes.md is old; run with INSTA_UPDATE=always"
    );
}

/// Programs in the documentation have no errors.
#[test]
fn programs_in_the_documentation_have_no_errors() {
    let mut run = 0;
    for name in ["README.md", "docs/language.md"] {
        let text = std::fs::read_to_string(npc_tests::root().join(name)).unwrap();
        for part in text.split("```np\n").skip(1) {
            let program = part.split("```").next().unwrap();
            let checked = Memory::one(program).check(None);
            let errors: Vec<_> = checked
                .report
                .diagnostics
                .iter()
                .filter(|d| d.level == npc_diagnostics::Level::Error)
                .collect();
            assert!(errors.is_empty(), "{name}: {errors:#?}\n{program}");
            run += 1;
        }
    }
    assert!(run >= 5, "{run}");
}
