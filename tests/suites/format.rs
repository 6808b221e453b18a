//! The formatter keeps the meaning and every comment, and formatting again changes nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use fastrand::Rng;
use npc_diagnostics::{FileId, Level};
use npc_format::{format, is_same};
use npc_syntax::{Parsed, TokenKind, parse};
use npc_tests::memory::Memory;
use npc_tests::{programs, random, root};

fn read(text: &str) -> Option<Parsed> {
    let parsed = parse(FileId(0), text);
    parsed.diagnostics.iter().all(|own| own.level != Level::Error).then_some(parsed)
}

/// The syntax tree without spans; words are replaced by their text.
fn tree(parsed: &Parsed, text: &str) -> String {
    let debug = format!("{:?}", parsed.tree);
    let mut out = String::new();
    let mut rest = debug.as_str();
    while let Some((before, after)) = rest.split_once("Span { start: ") {
        let (place, after) = after.split_once(" }").unwrap();
        let (start, end) = place.split_once(", end: ").unwrap();
        out += before;
        if before.ends_with("Word { span: ") {
            out += &text[start.parse().unwrap()..end.parse().unwrap()];
        }
        rest = after;
    }
    out + rest
}

/// The codes of the diagnostics.
fn found(text: &str) -> Vec<&'static str> {
    let mut codes: Vec<_> =
        Memory::one(text).check(None).report.diagnostics.iter().map(|own| own.code.id).collect();
    codes.sort_unstable();
    codes
}

/// Formats a text and checks all invariants. Returns false if the text has syntax errors.
fn check(text: &str) -> bool {
    let Some(parsed) = read(text) else {
        assert!(format(FileId(0), text).is_err(), "what cannot be read is left as it is\n{text}");
        return false;
    };
    let formatted = format(FileId(0), text).unwrap();
    let after = read(&formatted).unwrap_or_else(|| panic!("cannot be read again\n{text}\n---\n{formatted}"));
    assert!(is_same(&parsed, text, &formatted), "\n{text}\n---\n{formatted}");
    assert_eq!(tree(&parsed, text), tree(&after, &formatted), "\n{text}\n---\n{formatted}");
    // The diagnostics are unchanged, so lists end at the same item and comments suppress the same codes.
    assert_eq!(found(text), found(&formatted), "\n{text}\n---\n{formatted}");
    let again = format(FileId(0), &formatted).unwrap();
    let first = formatted.lines().zip(again.lines()).position(|(one, other)| one != other);
    let near = |text: &str| {
        let lines = text.lines().skip(first.unwrap_or(0).saturating_sub(4)).take(16);
        lines.collect::<Vec<_>>().join("\n")
    };
    assert!(
        again == formatted,
        "written otherwise again\n{}\n--- and then\n{}\n--- of\n{text}",
        near(&formatted),
        near(&again)
    );
    assert!(formatted.is_empty() || formatted.ends_with('\n') && !formatted.ends_with("\n\n"), "{formatted}");
    let mut blank = true;
    for line in formatted.lines() {
        assert!(!line.ends_with([' ', '\t']), "{line:?}\n{formatted}");
        assert!(!(blank && line.is_empty()), "two empty lines, or one at the head\n{formatted}");
        blank = line.is_empty();
    }
    true
}

#[test]
fn formats_all_programs_of_the_project() {
    let (mut whole, mut broken) = (0, 0);
    let files = programs(&["examples", "tests", "deploy", "cli"]);
    let mut texts: Vec<String> = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    for page in ["language", "codes", "tutorial"] {
        let page = std::fs::read_to_string(root().join(format!("docs/{page}.md"))).unwrap();
        let fences =
            page.split("```np").skip(1).filter_map(|rest| rest.split_once('\n')?.1.split("```").next());
        texts.extend(fences.map(str::to_owned));
    }
    for text in &texts {
        if check(text) {
            whole += 1;
        } else {
            broken += 1;
        }
        // Line ends are kept.
        let with_returns = text.replace('\n', "\r\n");
        if let (Ok(one), Ok(other)) = (format(FileId(0), text), format(FileId(0), &with_returns)) {
            assert!(one.replace('\n', "\r\n") == other || !text.contains('\n'), "{one:?}\n{other:?}");
        }
    }
    println!("format: {whole} programs say the same, {broken} broken ones are left as they are");
    assert!(whole > 200 && broken > 40, "{whole} {broken}");
}

#[test]
fn examples_are_formatted() {
    for path in programs(&["examples", "deploy"]) {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(format(FileId(0), &text).unwrap(), text, "{}: run `npc fmt`", path.display());
    }
}

/// Line breaks, comments and empty lines at all positions where they are allowed.
#[test]
fn comments_and_line_breaks_at_any_position() {
    let seed = npc_tests::settings::fresh_seed();
    let mut random = Rng::with_seed(seed);
    let (mut whole, mut broken, mut comments) = (0, 0, 0);
    let programs: u32 = npc_tests::settings::amount("NPC_TEST_PROGRAMS", 400, 4_000);
    for _ in 0..programs {
        let program = match random.u8(..3) {
            0 => random::program_with_tiers(&mut random, 3),
            _ => random::program(&mut random, "p"),
        };
        let Some(parsed) = read(&program) else { continue };
        let mut text = String::new();
        let noise = random.u32(1..40);
        for token in &parsed.tokens {
            let word = token.span.0.of(&program);
            let is_mark = matches!(token.kind, TokenKind::LParen | TokenKind::RParen | TokenKind::Comma);
            match random.u32(..noise) {
                0 => text += " // note\n",
                1 => text += "\n   // line\n ",
                2 => text += "\n\n\n",
                3 => text += "  //\t end \n\n  // more\n",
                4 => text += "\n ",
                5 if is_mark => {}
                _ => text += " ",
            }
            // A list may end with a comma.
            if token.kind == TokenKind::RParen && random.u8(..4) == 0 {
                text += ",";
            }
            text += word;
        }
        text += ["", "\n", "\n\n// end", " // end"][random.usize(..4)];
        if check(&text) {
            whole += 1;
            comments += text.matches("//").count();
        } else {
            broken += 1;
        }
    }
    println!(
        "format: seed {seed}: {whole} random programs with {comments} comments wherever they may stand say the same ({broken} broken by a line that begins with a keyword)"
    );
    assert!(whole > programs / 2, "{whole}");
}

#[test]
fn comments_and_lines() {
    let text = std::fs::read_to_string(root().join("tests/format/comments.np")).unwrap();
    assert!(check(&text));
    // The parentheses show where the list of an `except` ends: without them the next CIDR would seem to be
    // part of it.
    let text = "policy p for all pods in namespace shop {\n  allow egress to 0.0.0.0/0 except (203.0.113.0/24), 10.66.0.13/32\n}\n";
    assert!(check(text));
    assert_eq!(format(FileId(0), text).unwrap(), text);
    let text = std::fs::read_to_string(root().join("tests/format/comments.np")).unwrap();
    insta::assert_snapshot!(format(FileId(0), &text).unwrap());
}

/// `npc import` writes formatted programs.
#[test]
fn imported_programs_are_formatted() {
    let manifests = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web, namespace: shop}\nspec:\n  podSelector: {matchLabels: {app: web}}\n  policyTypes: [Ingress, Egress]\n  ingress:\n  - from: [{podSelector: {matchLabels: {app: front}}, namespaceSelector: {matchLabels: {env: prod}}}, {podSelector: {matchLabels: {app: admin}}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.2.0.0/16]}}]\n    ports: [{port: 80}, {port: 443}, {port: 8080, endPort: 8090}]\n  egress:\n  - to: [{ipBlock: {cidr: 192.0.2.0/24}}]\n";
    let text = npc_import::import(FileId(0), manifests).to_text().0;
    assert_eq!(format(FileId(0), &text).unwrap(), text);
}
