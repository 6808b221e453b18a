//! The types of scalars without quotes, as kubectl reads them.
//!
//! kubectl reads YAML with `sigs.k8s.io/yaml`, which follows go-yaml 2: YAML 1.1 without some of its forms
//! (times of day and dates stay strings).

use crate::Value;

/// The value of a scalar without quotes. `None` for numbers that JSON lacks (`.inf`, `.nan`).
#[must_use]
pub fn typed(text: &str) -> Option<Value> {
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            Value::Bool(false)
        }
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" | ".nan"
        | ".NaN" | ".NAN" => return None,
        _ if text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) => {
            match number(text) {
                Some(number) => number?,
                None => Value::String(text.to_owned()),
            }
        }
        _ => Value::String(text.to_owned()),
    };
    Some(value)
}

/// The number that the text denotes. `None` if it is not a number; `Some(None)` if JSON cannot represent it.
fn number(text: &str) -> Option<Option<Value>> {
    let plain = text.replace('_', "");
    if let Some(int) = integer(&plain) {
        return Some(Some(int));
    }
    if !is_float(&plain) {
        return None;
    }
    let float: f64 = plain.parse().ok()?;
    if !float.is_finite() {
        return Some(None);
    }
    // JSON does not distinguish `1.0` from `1`.
    let whole = float.fract() == 0.0 && float.abs() < 9e15;
    #[allow(clippy::cast_possible_truncation, reason = "it is whole, and small enough")]
    let value = if whole { Value::Int(float as i64) } else { Value::Float(float) };
    Some(Some(value))
}

/// An integer by Go's rules for base 0: the prefixes `0x`, `0o` and `0b`, and `0` for octal.
fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, lower.get(1..)?)
    } else {
        (10, lower.as_str())
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i128::from_str_radix(digits, radix).ok()?;
    let number = if negative { -number } else { number };
    i64::try_from(number).ok().map(Value::Int)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(m, e)| (m, Some(e)));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa = match mantissa.split_once('.') {
        Some(("", after)) => !after.is_empty() && digits(after),
        Some((before, after)) => digits(before) && digits(after),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let exponent = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    mantissa && exponent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars() {
        for (text, expected) in [
            ("010", Value::Int(8)),
            ("08", Value::Int(8)),
            ("0x1F", Value::Int(31)),
            ("0b11", Value::Int(3)),
            ("1_000", Value::Int(1000)),
            ("1e3", Value::Int(1000)),
            ("1.", Value::Int(1)),
            (".5", Value::Float(0.5)),
            ("+1", Value::Int(1)),
            ("-1", Value::Int(-1)),
            ("Off", Value::Bool(false)),
            ("~", Value::Null),
            ("2024-01-01", Value::String("2024-01-01".to_owned())),
            ("12:30", Value::String("12:30".to_owned())),
            ("10.0.0.0/8", Value::String("10.0.0.0/8".to_owned())),
            ("1e", Value::String("1e".to_owned())),
            ("-a", Value::String("-a".to_owned())),
            ("yEs", Value::String("yEs".to_owned())),
        ] {
            assert_eq!(typed(text), Some(expected), "{text}");
        }
        assert_eq!(typed(".nan"), None);
    }
}
