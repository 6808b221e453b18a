//! Serialization of strings so that every YAML parser returns the same string.

use std::fmt::Write as _;

/// Writes a string as a scalar, on one line.
pub(super) fn write(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
    } else if text.contains('\'') && !text.contains(['"', '\\']) && text.chars().all(is_printable) {
        // Easier to read than doubled quotes.
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else if text.chars().all(is_printable) {
        out.push('\'');
        for c in text.chars() {
            if c == '\'' {
                out.push('\'');
            }
            out.push(c);
        }
        out.push('\'');
    } else {
        write_escaped(out, text);
    }
}

/// Whether a text has several lines and can be written as a literal block.
pub(super) fn is_block(text: &str) -> bool {
    text.as_bytes().contains(&b'\n')
        && !text.starts_with(['\n', ' '])
        && text.chars().all(|c| c == '\n' || is_printable(c))
        && !text.ends_with("\n\n")
        && !text.lines().any(|line| line.ends_with(' '))
}

/// The classes of bytes in a plain scalar. They are bits, so that one number holds the classes of a whole text. The
/// class `LETTER` is allowed everywhere.
const LETTER: u8 = 0;
/// Not allowed at the start.
const INSIDE: u8 = 1;
/// Not allowed.
const NO: u8 = 2;
const SPACE: u8 = 4;
const COLON: u8 = 8;

/// The class of each byte.
#[allow(clippy::indexing_slicing, reason = "runs in the compiler, where an index out of bounds is an error")]
const BYTES: [u8; 256] = {
    let mut table = [NO; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'/' => LETTER,
            b' ' => INSIDE | SPACE,
            b':' => INSIDE | COLON,
            b'_' | b'-' | b'.' | b',' | b';' | b'(' | b')' | b'\'' | b'+' | b'*' | b'<' | b'>' => INSIDE,
            _ => NO,
        };
        byte += 1;
    }
    table
};

fn class(byte: u8) -> u8 {
    BYTES.get(usize::from(byte)).copied().unwrap_or(NO)
}

/// Whether every YAML parser reads the unquoted text as this string.
///
/// Parsers differ in what they read as a number, boolean, date or null: those for YAML 1.1 read `no`, `1_000`, `0o10`
/// and `12:30` differently from those for YAML 1.2. So a text is not plain if any parser may read it as another type.
pub(super) fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if class(*first) != LETTER || matches!(last, b' ' | b':') {
        return false;
    }
    let all = bytes.iter().fold(LETTER, |all, byte| all | class(*byte));
    if all & NO != 0 || all & (SPACE | COLON) == SPACE | COLON && text.contains(": ") {
        return false;
    }
    let has_meaning =
        bytes.len() <= 5 && is_word_with_meaning(text) || first.is_ascii_digit() && may_be_number(text);
    !has_meaning
}

fn is_word_with_meaning(text: &str) -> bool {
    if !text.starts_with(['y', 'Y', 'n', 'N', 'o', 'O', 't', 'T', 'f', 'F']) {
        return false;
    }
    const WORDS: [&str; 12] =
        ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nil", "none", "nan"];
    WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// Whether some parser may read a text that begins with a digit as a number or a date: it contains only characters of
/// numbers and dates.
fn may_be_number(text: &str) -> bool {
    let part = |b: u8| b.is_ascii_hexdigit() || b"xXoOtTzZ_.:+- ".contains(&b);
    text.bytes().all(part)
}

/// Whether YAML allows the unescaped character in a quoted scalar.
fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
        && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn write_escaped(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x100 => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
        }
    }
    out.push('"');
}
