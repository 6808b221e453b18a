//! Keywords are contextual: every keyword, and every similar word, can be used as a name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::HashSet;

use npc_diagnostics::FileId;
use npc_syntax::{TokenKind, parse};
use npc_tests::memory::Memory;

/// Programs in which `K` is a user-chosen name.
const PROGRAMS: [&str; 36] = [
    "policy p for all pods in namespace K { isolate ingress }",
    "policy p for all pods in all namespaces except K { isolate ingress }",
    "policy p for all pods in namespaces (a, K) { isolate ingress }",
    "policy p for all pods in namespace K, pods { a = b } in namespace c { isolate ingress }",
    "policy p for all pods in namespace a { allow ingress from all pods in namespace K }",
    "policy p for all pods in namespace a { allow ingress from all pods in namespace K allow egress to 10.0.0.1 }",
    "policy p for all pods in namespace a { allow ingress from all pods in namespace K isolate egress }",
    "policy p for all pods in namespace a { allow ingress from all pods in namespace K kyverno { synchronize = true } }",
    "policy p for all pods in namespace a { allow ingress from 10.0.0.1, kyverno { synchronize = true } }",
    "policy p for all pods in namespace a { allow ingress from all pods in namespace K on tcp/80 }",
    "policy p for all pods in namespace a { allow ingress from all pods in namespaces sharing K }",
    "policy p for all pods in namespace a { allow ingress from all pods in namespaces sharing K allow egress to 10.0.0.1 }",
    "policy p for all pods in namespace a { allow ingress from all pods in all namespaces except K isolate egress }",
    "policy p for pods { K } in namespace a { isolate ingress }",
    "policy p for pods { !K } in namespace a { isolate ingress }",
    "policy p for pods { K = x } in namespace a { isolate ingress }",
    "policy p for pods { K in (x, y) } in namespace a { isolate ingress }",
    "policy p for pods { b, K notin (x) } in namespace a { isolate ingress }",
    "policy p for pods { a = K } in namespace a { isolate ingress }",
    "policy p for pods { a = K, K = a } in namespace a { isolate ingress }",
    "policy p for pods { a in (K, b) } in namespace a { isolate ingress }",
    "policy p for all pods in namespaces { K } { isolate ingress }",
    "policy p for all pods in namespaces { K = x } except { K = y } { isolate ingress }",
    "policy K for all pods in namespace a { isolate ingress }",
    "admin policy K priority 5 for all pods in namespace a { deny ingress from anywhere }",
    "let s = pods { a = b } in namespace K\npolicy p for s { isolate ingress }",
    "let s = pods { a = b } in namespace K\naudit policy p for s { isolate ingress }",
    "let s = pods { a = b } in namespace K\nlet t = 10.0.0.1\npolicy p for s { allow ingress from t }",
    "let s = pods { a = b } in namespace K\nkyverno { synchronize = true }\npolicy p for s { isolate ingress }",
    "policy p for all pods in namespace a { isolate ingress }\nlet s = pods { a = b } in namespace K\nassert deny s -> 10.0.0.1",
    "assert deny all pods in namespace a -> all pods in namespace K\npolicy p for all pods in namespace a { isolate ingress }",
    "let s = pods { a = b } in all namespaces except K\npolicy p for s { isolate ingress }",
    "policy p for all pods in namespace a { isolate ingress }\ntest \"x\" { namespace K pod b in K allow K/b -> 10.0.0.1 }",
    "policy p for all pods in namespace a { isolate ingress }\ntest \"x\" { namespace a pod K in a { x = y } allow a/K -> 10.0.0.1 }",
    "let t = 10.0.0.1, 10.0.0.2,\npolicy p for all pods in namespace K { allow ingress from t }",
    "policy K for all pods in namespace K { isolate ingress }\naudit policy x-K for pods { K = K } in namespace K { isolate egress }",
];

/// Programs in which `K` is the name of a set.
const SETS: [&str; 5] = [
    "let K = 10.0.0.1\npolicy p for all pods in namespace a { allow ingress from K }",
    "let K = 10.0.0.1\nlet b = K\npolicy p for all pods in namespace a { allow ingress from b }",
    "let K = 10.0.0.1\nlet b = 10.0.0.2, K\naudit policy p for all pods in namespace a { allow ingress from b }",
    "let K = 10.0.0.1\nlet b = K\nlet c = b\npolicy p for all pods in namespace a { allow ingress from c }",
    "let K = pods { a = b } in namespace c\npolicy p for K { isolate ingress }",
];

const NEARLY: [&str; 10] = [
    "admins",
    "kyverno2",
    "kyverno-dev",
    "audits",
    "tests",
    "asset",
    "lets",
    "policies",
    "imports",
    "base-line",
];

#[test]
fn every_keyword_can_be_a_name() {
    let words = || TokenKind::KEYWORDS.iter().map(|(word, _)| *word).chain(NEARLY);
    let mut programs = 0;
    let mut check = |template: &str, word: &str| {
        let text = template.replace('K', word);
        let checked = Memory::one(&text).check(None);
        assert!(!checked.report.has_errors(), "{word}\n{text}\n{:#?}", checked.report.diagnostics);
        assert_eq!(checked.program.policies.len(), template.matches("policy ").count(), "{word}\n{text}");
        let audited = checked.program.policies.iter().filter(|policy| policy.audit.is_some()).count();
        assert_eq!(audited, template.matches("audit policy").count(), "{word}\n{text}");
        // The formatter keeps them as names.
        let formatted = npc_format::format(FileId(0), &text).unwrap();
        assert!(npc_format::is_same(&parse(FileId(0), &text), &text, &formatted), "{text}\n{formatted}");
        assert_eq!(npc_format::format(FileId(0), &formatted).as_ref(), Ok(&formatted), "{text}");
        programs += 1;
    };
    for word in words() {
        for template in PROGRAMS {
            check(template, word);
        }
        let reserved =
            TokenKind::KEYWORDS.iter().any(|(keyword, kind)| *keyword == word && kind.is_reserved());
        for template in SETS.iter().filter(|_| !reserved) {
            check(template, word);
        }
    }
    println!("{programs} programs with keywords for names");
}

/// Every keyword occurs in the grammar of the reference and in those of the editors.
#[test]
fn every_keyword_is_in_the_grammars() {
    for file in ["np.ebnf", "np.tmLanguage.json", "tree-sitter-np/grammar.js"] {
        let text = std::fs::read_to_string(npc_tests::root().join("grammar").join(file)).unwrap();
        let terminals = terminals(file, &text);
        let words: HashSet<&str> = terminals.split(|c: char| !c.is_ascii_alphabetic()).collect();
        for (keyword, _) in TokenKind::KEYWORDS {
            assert!(words.contains(keyword), "{file} does not know `{keyword}`");
        }
    }
}

/// The parts of a grammar that match text: its quoted strings, or the values of TextMate's patterns. Not its comments
/// or the names of its rules.
fn terminals(file: &str, text: &str) -> String {
    fn patterns(value: &serde_json::Value, out: &mut String) {
        match value {
            serde_json::Value::Array(values) => values.iter().for_each(|value| patterns(value, out)),
            serde_json::Value::Object(fields) => {
                for (key, value) in fields {
                    match value.as_str() {
                        Some(pattern) if ["match", "begin", "end"].contains(&key.as_str()) => {
                            // `\b` is not part of the word that it precedes.
                            out.push_str(&pattern.replace("\\b", " "));
                            out.push(' ');
                        }
                        _ => patterns(value, out),
                    }
                }
            }
            _ => {}
        }
    }
    if file.ends_with(".json") {
        let mut out = String::new();
        patterns(&serde_json::from_str(text).unwrap(), &mut out);
        return out;
    }
    let without_comments: String = if file.ends_with(".js") {
        text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
    } else {
        text.split("(*").map(|part| part.split_once("*)").map_or(part, |(_, rest)| rest)).collect()
    };
    let quoted = |quote: char| {
        let parts = without_comments.split(quote).skip(1).step_by(2);
        parts.collect::<Vec<_>>().join(" ")
    };
    quoted('\'') + " " + &quoted('"')
}
