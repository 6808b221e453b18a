//! Reading a text again, with what is known of what it was before, gives what reading it anew does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

use fastrand::Rng;
use npc_diagnostics::FileId;
use npc_syntax::{Parsed, expectation, parse, parse_again};
use npc_tests::{programs, random};

/// What may be typed or pasted.
const PIECES: [&str; 28] = [
    " ",
    "\n",
    "\r\n",
    "\r",
    "a",
    "-",
    "/",
    "\"",
    "{",
    "}",
    "(",
    ")",
    ",",
    "=",
    "//",
    "///",
    "//!",
    "\u{feff}",
    "𝕟",
    "policy ",
    "polcy q for all pods in namespace a { isolate ingress }\n",
    "let ",
    "let x = tcp/80\n",
    "allow ",
    "except ",
    "admin ",
    "}\n\npolicy r for all pods in all namespaces {\n",
    "kyverno { synchronize = true }\n",
];

fn edit(random: &mut Rng, text: &str, other: &str) -> String {
    let at = text.floor_char_boundary(random.usize(..=text.len()));
    let to = match random.u8(..3) {
        0 => at,
        1 => text.floor_char_boundary((at + random.usize(..8)).min(text.len())).max(at),
        _ => text.floor_char_boundary((at + random.usize(..200)).min(text.len())).max(at),
    };
    let by = match random.u8(..8) {
        0 => "",
        1 => {
            let from = other.floor_char_boundary(random.usize(..=other.len()));
            let end = other.floor_char_boundary((from + random.usize(..300)).min(other.len())).max(from);
            &other[from..end]
        }
        _ => PIECES[random.usize(..PIECES.len())],
    };
    format!("{}{by}{}", &text[..at], &text[to..])
}

fn compare(again: &Parsed, anew: &Parsed, before: &str, text: &str) {
    let same = again.tree == anew.tree
        && again.tokens == anew.tokens
        && again.comments == anew.comments
        && again.diagnostics == anew.diagnostics
        && again.broken_import == anew.broken_import;
    assert!(same, "before\n{before}\n--- now\n{text}\n--- again\n{again:#?}\n--- anew\n{anew:#?}");
}

#[test]
fn again_is_as_anew() {
    let seed = random::fresh_seed();
    let mut random = Rng::with_seed(seed);
    let files = programs(&["examples", "tests", "deploy", "cli"]);
    let mut texts: Vec<String> = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    texts.retain(|text| text.len() < 20_000);
    texts.extend((0..40).map(|_| random::program_with_tiers(&mut random, 5)));
    let mut edits = 0;
    for index in 0..texts.len() {
        let mut text = texts[index].clone();
        let mut known = parse(FileId(0), &text);
        for round in 0..60 {
            let other = &texts[random.usize(..texts.len())];
            // Now and then all is as it was.
            let next = if round % 20 == 19 { texts[index].clone() } else { edit(&mut random, &text, other) };
            let again = parse_again(FileId(0), &next, &known, &text);
            compare(&again, &parse(FileId(0), &next), &text, &next);
            // What may stand at a place, is the same where only what is near is read.
            let place = next.floor_char_boundary(random.usize(..=next.len()));
            let at = u32::try_from(place).unwrap();
            let clean = again.clean_before(at);
            let (whole, near) = (expectation(&next, at), expectation(&next[clean as usize..], at - clean));
            let same = whole.tokens == near.tokens
                && whole.larger == near.larger
                && whole.in_string == near.in_string
                && (whole.typed.start, whole.typed.end) == (near.typed.start + clean, near.typed.end + clean);
            assert!(same, "at {place} from {clean}: {whole:?}\n{near:?}\n{next}");
            (text, known, edits) = (next, again, edits + 1);
        }
    }
    println!(
        "reading: seed {seed}: {edits} edits of {} texts, each read again as it is read anew",
        texts.len()
    );
}
