//! A text that is edited in one place, as an editor has it: read again it is as read anew, and whatever may
//! stand at the place is found out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use npc_diagnostics::FileId;
use npc_syntax::{expectation, parse, parse_again};

// Where it is edited, how much is taken out, what is put in, and the text.
fuzz_target!(|edit: (u16, u8, &str, &str)| {
    let (from, length, by, text) = edit;
    let start = text.floor_char_boundary(usize::from(from).min(text.len()));
    let end = text.ceil_char_boundary((start + usize::from(length)).min(text.len()));
    let after = format!("{}{by}{}", &text[..start], &text[end..]);
    let before = parse(FileId(0), text);
    let (again, anew) = (parse_again(FileId(0), &after, &before, text), parse(FileId(0), &after));
    assert_eq!(again.tree, anew.tree);
    assert_eq!(again.tokens, anew.tokens);
    assert_eq!(again.comments, anew.comments);
    assert_eq!(again.diagnostics, anew.diagnostics);
    let place = u32::try_from(start + by.len()).unwrap_or(u32::MAX);
    let expected = expectation(&after, place);
    assert!(expected.typed.end <= place);
});
