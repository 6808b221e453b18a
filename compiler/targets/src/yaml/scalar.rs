//! How a string is written so that every YAML reader gives it back.

use std::fmt::Write as _;

/// Writes a string as a scalar, on one line.
pub(super) fn write(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
    } else if text.contains('\'') && !text.contains(['"', '\\']) && text.chars().all(is_printable) {
        // Reads better than every quote written twice.
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

/// Whether a text of several lines can be written as a literal block.
pub(super) fn is_block(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with(['\n', ' '])
        && text.chars().all(|c| c == '\n' || is_printable(c))
        && !text.ends_with("\n\n")
        && !text.lines().any(|line| line.ends_with(' '))
}

/// Whether every YAML reader takes the bare text for a string, and for this one.
///
/// Readers differ in what they take for a number, a truth value, a date or nothing: those that
/// follow YAML 1.1 read `no`, `1_000`, `0o10` and `12:30` as something else than those that follow
/// 1.2. So whatever any of them may read as anything but a string is not plain.
fn is_plain(text: &str) -> bool {
    let (Some(first), Some(last)) = (text.bytes().next(), text.bytes().last()) else { return false };
    if !(first.is_ascii_alphanumeric() || first == b'/') || last == b' ' || last == b':' {
        return false;
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b" _-./:,;()'+*<>".contains(&b)) {
        return false;
    }
    if text.contains(": ") {
        return false;
    }
    !is_word_with_meaning(text) && !may_be_number(text)
}

fn is_word_with_meaning(text: &str) -> bool {
    const WORDS: [&str; 12] =
        ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nil", "none", "nan"];
    text.len() <= 5 && WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// Whether the text may be a number or a date to some reader: it begins with a digit and goes on
/// with nothing but what numbers and dates are made of.
fn may_be_number(text: &str) -> bool {
    let part = |b: u8| b.is_ascii_hexdigit() || b"xXoOtTzZ_.:+- ".contains(&b);
    text.bytes().next().is_some_and(|b| b.is_ascii_digit()) && text.bytes().all(part)
}

/// Whether YAML allows the character in a quoted scalar as it is.
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
