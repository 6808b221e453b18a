//! Reads `{{ }}` with JMESPath, the placeholders of ClusterPolicies.

use std::sync::Arc;

use jmespath::ast::Ast;

use super::object::{Part, Placeholders};

/// The placeholders `{{ }}` with JMESPath.
pub(crate) struct JmesPath;

impl Placeholders for JmesPath {
    fn parts(&self, text: &str) -> Result<Vec<Part>, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("{{") {
            let (before, behind) = rest.split_at(at);
            if let Some(kept) = before.strip_suffix('\\') {
                literal.push_str(kept);
                literal.push_str("{{");
                rest = behind.get(2..).unwrap_or_default();
                continue;
            }
            literal.push_str(before);
            let behind = behind.get(2..).unwrap_or_default();
            let Some(end) = behind.find("}}") else {
                return Err("this `{{` has no `}}`".to_owned());
            };
            if !literal.is_empty() {
                parts.push(Part::Text(plain(&std::mem::take(&mut literal))?));
            }
            parts.push(expression(behind.get(..end).unwrap_or_default().trim())?);
            rest = behind.get(end + 2..).unwrap_or_default();
        }
        literal.push_str(rest);
        if !literal.is_empty() || parts.is_empty() {
            parts.push(Part::Text(plain(&literal)?));
        }
        Ok(parts)
    }
}

/// Resolves Kyverno's escapes in text without variables.
fn plain(text: &str) -> Result<String, String> {
    if is_reference(&text.replace("\\$(", "")) {
        return Err("npc does not resolve references such as `$( )`".to_owned());
    }
    Ok(text.replace("\\$(", "$("))
}

/// Whether Kyverno reads a `$(` of the text as a reference.
fn is_reference(text: &str) -> bool {
    text.split("$(").skip(1).any(|behind| {
        let mut rest = behind.chars();
        rest.next().is_some_and(|first| first != '\n') && rest.find(|c| matches!(c, ' ' | ')')) == Some(')')
    })
}

/// The value that an expression reads from the namespace.
fn expression(text: &str) -> Result<Part, String> {
    let ast = match jmespath::parse(text) {
        Ok(ast) => ast,
        Err(_) if text.starts_with('.') => {
            return Err(format!("`{text}` is not JMESPath: if this is a Helm template, render it first"));
        }
        Err(_) => return Err(format!("`{text}` is not JMESPath")),
    };
    let (ast, default) = match &ast {
        Ast::Or { lhs, rhs, .. } => match &**rhs {
            Ast::Literal { value, .. } => match value.as_string() {
                Some(default) => (&**lhs, Some(default.clone())),
                None => return Err("the operand after `||` must be a string".to_owned()),
            },
            _ => return Err("the operand after `||` must be a string".to_owned()),
        },
        other => (other, None),
    };
    let mut steps = Vec::new();
    if fields(ast, &mut steps) {
        match steps.as_slice() {
            ["request", "object", "metadata", "name"] => return Ok(Part::Name),
            ["request", "object", "metadata", "labels", key] => {
                // `||` treats an empty string as false, so the default also replaces an empty value.
                return Ok(Part::Label { key: Arc::from(*key), default, is_for_empty: true });
            }
            ["request", "object", "metadata", "annotations", _] => {
                return Err("npc does not read the annotations of namespaces: use a label".to_owned());
            }
            _ => {}
        }
    }
    Err(format!("`{text}` is neither the name nor a label of the namespace"))
}

/// Collects the fields of a path `a.b.c`. Returns whether the expression is such a path.
fn fields<'a>(ast: &'a Ast, steps: &mut Vec<&'a str>) -> bool {
    match ast {
        Ast::Field { name, .. } => {
            steps.push(name);
            true
        }
        Ast::Subexpr { lhs, rhs, .. } => fields(lhs, steps) && fields(rhs, steps),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let label = |key: &str, default: Option<&str>| Part::Label {
            key: key.into(),
            default: default.map(str::to_owned),
            is_for_empty: true,
        };
        let text = |text: &str| Part::Text(text.to_owned());
        for (given, expected) in [
            ("", vec![text("")]),
            ("a", vec![text("a")]),
            ("{{request.object.metadata.name}}", vec![Part::Name]),
            (
                "x-{{ request.object.metadata.labels.team }}-y",
                vec![text("x-"), label("team", None), text("-y")],
            ),
            ("{{request.object.metadata.labels.\"a/b\" || 'c'}}", vec![label("a/b", Some("c"))]),
            ("\\{{a}} \\$(b)", vec![text("{{a}} $(b)")]),
        ] {
            assert_eq!(JmesPath.parts(given), Ok(expected), "{given}");
        }
        for wrong in [
            "{{ .Release.Name }}-deny",
            "{{ request.object.metadata.name",
            "{{ request.object.metadata.annotations.x }}",
            "{{ random('[a-z]{5}') }}",
            "{{ request.object.metadata.labels.a || request.object.metadata.name }}",
            "$(../name)",
        ] {
            assert!(JmesPath.parts(wrong).is_err(), "{wrong}");
        }
    }
}
