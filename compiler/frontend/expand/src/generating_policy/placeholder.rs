//! Scans templates for `(( … ))`, as Kyverno's `pkg/cel/policies/gpol/template` does.

/// A part of a scalar.
#[derive(Debug, PartialEq)]
pub enum Segment {
    /// Literal text.
    Literal(String),
    /// A CEL expression that is replaced by its value.
    Expression(String),
}

/// Splits a scalar. `\((` is a literal `((`. Parentheses and quotes inside an expression are balanced.
///
/// # Errors
///
/// If an expression is empty or has no end.
pub fn scan(text: &str) -> Result<Vec<Segment>, String> {
    let mut segments = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    loop {
        if let Some(behind) = rest.strip_prefix("\\((") {
            literal.push_str("((");
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("((") {
            let (expression, behind) = expression(behind)?;
            if !literal.is_empty() {
                segments.push(Segment::Literal(std::mem::take(&mut literal)));
            }
            segments.push(Segment::Expression(expression.to_owned()));
            rest = behind;
        } else if let Some(c) = rest.chars().next() {
            literal.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or("");
        } else {
            break;
        }
    }
    if !literal.is_empty() || segments.is_empty() {
        segments.push(Segment::Literal(literal));
    }
    Ok(segments)
}

/// The expression at the start of the text, up to its `))`, and the rest of the text.
fn expression(text: &str) -> Result<(&str, &str), String> {
    let mut depth = 0usize;
    let mut quote: Option<u8> = None;
    let mut bytes = text.bytes().enumerate();
    while let Some((index, byte)) = bytes.next() {
        match (quote, byte) {
            (Some(_), b'\\') => {
                bytes.next();
            }
            (Some(open), byte) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'(') => depth += 1,
            (None, b')') if depth > 0 => depth -= 1,
            (None, b')') => {
                let expression = text.get(..index).unwrap_or("").trim();
                let behind = text.get(index..).and_then(|rest| rest.strip_prefix("))"));
                return match behind {
                    Some(_) if expression.is_empty() => Err("an empty placeholder".to_owned()),
                    Some(behind) => Ok((expression, behind)),
                    None => Err("unbalanced parenthesis in a placeholder".to_owned()),
                };
            }
            (None, _) => {}
        }
    }
    Err("a placeholder without `))`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Segment, scan};

    fn literal(text: &str) -> Segment {
        Segment::Literal(text.to_owned())
    }

    fn expression(text: &str) -> Segment {
        Segment::Expression(text.to_owned())
    }

    #[test]
    fn scalars() {
        assert_eq!(scan("a"), Ok(vec![literal("a")]));
        assert_eq!(scan(""), Ok(vec![literal("")]));
        assert_eq!(scan("(( a ))"), Ok(vec![expression("a")]));
        assert_eq!(scan("x-(( f(g(a)) ))-y"), Ok(vec![literal("x-"), expression("f(g(a))"), literal("-y")]));
        assert_eq!(scan("(( ':)' ))"), Ok(vec![expression("':)'")]));
        assert_eq!(scan("\\(( a ))"), Ok(vec![literal("(( a ))")]));
        assert_eq!(scan("(a) b))"), Ok(vec![literal("(a) b))")]));
        assert!(scan("(( a").is_err());
        assert!(scan("(( ))").is_err());
        assert!(scan("(( a) ))").is_err());
    }
}
