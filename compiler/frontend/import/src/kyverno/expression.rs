//! Reads CEL expressions on a namespace as conditions and as values.

use std::sync::Arc;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::parser::Parser;
use npc_diagnostics::{FileId, Location, Span};
use npc_program::Requirement;
use npc_program::values::label::{check_key, check_value};
use npc_vocabulary::Operator;

use super::condition::Condition;
use super::object::Part;

/// The variables of a policy, by name.
pub(crate) type Variables = Vec<(String, Expr)>;

/// Parses an expression.
///
/// # Errors
///
/// The parser's message.
pub(crate) fn parse(text: &str) -> Result<Expr, String> {
    let parsed = Parser::new().enable_optional_syntax(true).parse(text);
    parsed.map(|parsed| parsed.expr).map_err(|errors| errors.to_string())
}

/// The value that an expression reads from the namespace.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Name,
    /// The value of a label; an error if the namespace lacks it.
    Label(Arc<str>),
    /// The optional value of a label.
    Optional(Arc<str>),
    /// The value of a label, or a default if the namespace lacks it.
    OrElse(Arc<str>, String),
    Labels,
    OptionalLabels,
    Text(String),
}

/// The part of a string in a generated object that an expression gives.
///
/// # Errors
///
/// The reason that npc cannot determine the value.
pub(crate) fn part(expr: &Expr, variables: &Variables) -> Result<Part, String> {
    if let Expr::Call(call) = expr
        && call.func_name == "sha256"
        && call.target.is_none()
        && let [argument] = call.args.as_slice()
    {
        let mut needs = Vec::new();
        return match joined(argument, variables, &mut needs) {
            true => Ok(Part::Hash(needs)),
            false => Err("npc supports `sha256` only of the name and labels of `object`".to_owned()),
        };
    }
    match value(expr, variables, 0) {
        Some(Value::Name) => Ok(Part::Name),
        Some(Value::Label(key)) => Ok(Part::Label { key, default: None, is_for_empty: false }),
        Some(Value::OrElse(key, default)) => {
            Ok(Part::Label { key, default: Some(default), is_for_empty: false })
        }
        Some(Value::Text(text)) => Ok(Part::Text(text)),
        _ => Err("it is neither the name nor a label of `object`".to_owned()),
    }
}

/// Whether an expression concatenates strings that are read from the namespace. Adds the labels that it
/// needs.
fn joined(expr: &IdedExpr, variables: &Variables, needs: &mut Vec<Arc<str>>) -> bool {
    if let Expr::Call(call) = &expr.expr
        && call.func_name == operators::ADD
    {
        return call.args.iter().all(|part| joined(part, variables, needs));
    }
    match value(&expr.expr, variables, 0) {
        Some(Value::Label(key)) => {
            needs.push(key);
            true
        }
        Some(Value::Name | Value::OrElse(..) | Value::Text(_)) => true,
        _ => false,
    }
}

fn value(expr: &Expr, variables: &Variables, depth: usize) -> Option<Value> {
    // A variable may name another.
    if depth > 16 {
        return None;
    }
    let inner = |expr: &IdedExpr| value(&expr.expr, variables, depth + 1);
    match expr {
        Expr::Literal(LiteralValue::String(text)) => Some(Value::Text(text.inner().to_owned())),
        Expr::Select(select) if !select.test => {
            let field = select.field.as_str();
            if let Expr::Ident(root) = &select.operand.expr
                && root == "variables"
            {
                let (_, named) = variables.iter().find(|(name, _)| name == field)?;
                return value(named, variables, depth + 1);
            }
            if is_metadata(&select.operand.expr) {
                return match field {
                    "name" => Some(Value::Name),
                    "labels" => Some(Value::Labels),
                    _ => None,
                };
            }
            match inner(&select.operand)? {
                Value::Labels => Some(Value::Label(field.into())),
                _ => None,
            }
        }
        Expr::Call(call) => {
            let arguments: Vec<&IdedExpr> =
                call.target.iter().map(|target| &**target).chain(&call.args).collect();
            match (call.func_name.as_str(), arguments.as_slice()) {
                (operators::OPT_SELECT, [object, field]) => {
                    let field = literal(&field.expr)?;
                    if is_metadata(&object.expr) {
                        return (field == "labels").then_some(Value::OptionalLabels);
                    }
                    match inner(object)? {
                        Value::Labels | Value::OptionalLabels => Some(Value::Optional(field.into())),
                        _ => None,
                    }
                }
                (operators::OPT_INDEX, [object, key]) => match inner(object)? {
                    Value::Labels | Value::OptionalLabels => {
                        Some(Value::Optional(literal(&key.expr)?.into()))
                    }
                    _ => None,
                },
                (operators::INDEX, [object, key]) => match inner(object)? {
                    Value::Labels => Some(Value::Label(literal(&key.expr)?.into())),
                    // An element of an optional value is optional.
                    Value::OptionalLabels => Some(Value::Optional(literal(&key.expr)?.into())),
                    _ => None,
                },
                ("orValue", [optional, default]) => match inner(optional)? {
                    Value::Optional(key) => Some(Value::OrElse(key, literal(&default.expr)?.to_owned())),
                    // Every namespace has labels.
                    Value::OptionalLabels => Some(Value::Labels),
                    _ => None,
                },
                ("value", [optional]) => match inner(optional)? {
                    Value::Optional(key) => Some(Value::Label(key)),
                    _ => None,
                },
                _ => None,
            }
        }
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// Whether the expression is `object.metadata`.
fn is_metadata(expr: &Expr) -> bool {
    matches!(expr, Expr::Select(select) if select.field == "metadata" && !select.test
        && matches!(&select.operand.expr, Expr::Ident(root) if root == "object"))
}

/// The namespaces for which an expression is true, and those for which it is false. For all others it is an
/// error: it reads a label without a default, and the namespace lacks the label.
struct Truth {
    holds: Condition,
    fails: Condition,
    /// Whether it is never an error.
    is_total: bool,
}

impl Truth {
    /// The truth of an expression that is never an error.
    fn total(holds: Condition) -> Self {
        Self { fails: Condition::Not(Box::new(holds.clone())), holds, is_total: true }
    }

    fn not(self) -> Self {
        match self.is_total {
            true => Self::total(Condition::Not(Box::new(self.holds))),
            false => Self { holds: self.fails, fails: self.holds, is_total: false },
        }
    }

    /// The conjunction of several expressions (`all`), or their disjunction. As in CEL, one that is false (or
    /// true) decides even if another is an error.
    fn joined(parts: &[&IdedExpr], variables: &Variables, all: bool) -> Result<Self, String> {
        let parts = parts.iter().map(|part| truth(&part.expr, variables));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let is_total = parts.iter().all(|part| part.is_total);
        let (holds, fails): (Vec<_>, Vec<_>) =
            parts.into_iter().map(|truth| (truth.holds, truth.fails)).unzip();
        let holds = if all { Condition::All(holds) } else { any(holds) };
        if is_total {
            return Ok(Self::total(holds));
        }
        let fails = if all { any(fails) } else { Condition::All(fails) };
        Ok(Self { holds, fails, is_total })
    }
}

/// The condition on a namespace that an expression is true. If an expression of a policy is an error for a
/// namespace, the policy generates nothing there.
///
/// # Errors
///
/// The part of the expression that is not supported.
pub(crate) fn condition(expr: &Expr, variables: &Variables) -> Result<Condition, String> {
    truth(expr, variables).map(|truth| truth.holds)
}

fn truth(expr: &Expr, variables: &Variables) -> Result<Truth, String> {
    let unknown = || Err("npc supports only the name and the labels of `object` here".to_owned());
    match expr {
        Expr::Literal(LiteralValue::Boolean(value)) => Ok(Truth::total(Condition::Constant(*value.inner()))),
        Expr::Select(select) if select.test => {
            // `has(object.metadata.labels.env)`
            if is_metadata(&select.operand.expr) && select.field == "labels" {
                return Ok(Truth::total(Condition::Constant(true)));
            }
            match value(&select.operand.expr, variables, 0) {
                Some(Value::Labels) => Ok(Truth::total(label(&select.field, Operator::Exists, Vec::new()))),
                _ => unknown(),
            }
        }
        Expr::Call(call) => {
            let arguments: Vec<&IdedExpr> =
                call.target.iter().map(|target| &**target).chain(&call.args).collect();
            match (call.func_name.as_str(), arguments.as_slice()) {
                (operators::LOGICAL_AND, parts) => Truth::joined(parts, variables, true),
                (operators::LOGICAL_OR, parts) => Truth::joined(parts, variables, false),
                (operators::LOGICAL_NOT, [one]) => Ok(truth(&one.expr, variables)?.not()),
                (operators::EQUALS, [a, b]) => equals(a, b, variables),
                (operators::NOT_EQUALS, [a, b]) => Ok(equals(a, b, variables)?.not()),
                (operators::IN, [one, list]) => is_in(one, list, variables),
                ("hasValue", [optional]) => match value(&optional.expr, variables, 0) {
                    Some(Value::Optional(key)) => Ok(Truth::total(label(&key, Operator::Exists, Vec::new()))),
                    Some(Value::OptionalLabels) => Ok(Truth::total(Condition::Constant(true))),
                    _ => unknown(),
                },
                (function, [one, text]) => name_matches(function, one, text, variables).map(Truth::total),
                _ => unknown(),
            }
        }
        _ => unknown(),
    }
}

/// The disjunction of conditions. `!has(x) || x != 'a'` becomes the single requirement `notin`.
fn any(conditions: Vec<Condition>) -> Condition {
    let inner = |condition| match condition {
        Condition::Any(inner) => inner,
        other => vec![other],
    };
    let mut conditions: Vec<Condition> = conditions.into_iter().flat_map(inner).collect();
    let lacks = |condition: &Condition, key: &str| match condition {
        Condition::Not(inner) => {
            matches!(&**inner, Condition::Label(one) if *one.key == *key && one.operator == Operator::Exists)
        }
        Condition::Label(one) => *one.key == *key && one.operator == Operator::DoesNotExist,
        _ => false,
    };
    let merged = conditions.iter().enumerate().find_map(|(at, condition)| {
        let Condition::All(parts) = condition else { return None };
        let [Condition::Label(there), Condition::Label(other)] = parts.as_slice() else { return None };
        let is_other =
            there.operator == Operator::Exists && other.operator == Operator::NotIn && there.key == other.key;
        let absent = conditions.iter().position(|one| is_other && lacks(one, &other.key))?;
        Some((at, absent, Condition::Label(other.clone())))
    });
    if let Some((at, absent, merged)) = merged {
        if let Some(place) = conditions.get_mut(at) {
            *place = merged;
        }
        conditions.remove(absent);
    }
    match conditions.pop() {
        Some(only) if conditions.is_empty() => only,
        last => {
            conditions.extend(last);
            Condition::Any(conditions)
        }
    }
}

/// A requirement on a label. A label or value that no object can have is treated as absent everywhere.
fn label(key: &str, operator: Operator, mut values: Vec<Arc<str>>) -> Condition {
    let here = Location::new(FileId(0), Span::default());
    values.retain(|value| check_value(value, here).is_ok());
    let never = check_key(key, here).is_err() || operator == Operator::In && values.is_empty();
    match operator {
        Operator::In | Operator::Exists if never => Condition::Constant(false),
        Operator::NotIn | Operator::DoesNotExist if never => Condition::Constant(true),
        _ => Condition::Label(Requirement { key: key.into(), operator, values }),
    }
}

fn equals(a: &IdedExpr, b: &IdedExpr, variables: &Variables) -> Result<Truth, String> {
    let (one, text) = match (value(&a.expr, variables, 0), value(&b.expr, variables, 0)) {
        (Some(one), Some(Value::Text(text))) | (Some(Value::Text(text)), Some(one)) => (one, text),
        _ => return Err("npc compares only the name or a label of `object` with a string".to_owned()),
    };
    one_of(&one, vec![text.into()])
}

fn is_in(one: &IdedExpr, list: &IdedExpr, variables: &Variables) -> Result<Truth, String> {
    // `'env' in object.metadata.labels`
    if let (Some(key), Some(Value::Labels)) = (literal(&one.expr), value(&list.expr, variables, 0)) {
        return Ok(Truth::total(label(key, Operator::Exists, Vec::new())));
    }
    let Expr::List(elements) = &list.expr else {
        return Err("the operand after `in` must be a list of strings".to_owned());
    };
    let values: Option<Vec<Arc<str>>> =
        elements.elements.iter().map(|element| literal(&element.expr).map(Arc::from)).collect();
    match (value(&one.expr, variables, 0), values) {
        (Some(one), Some(values)) => one_of(&one, values),
        _ => Err("npc supports `in` only for the name and the labels of `object`, with a list of strings"
            .to_owned()),
    }
}

/// The condition that a value is one of these texts.
fn one_of(value: &Value, mut texts: Vec<Arc<str>>) -> Result<Truth, String> {
    texts.sort_unstable();
    texts.dedup();
    match value {
        Value::Name if texts.is_empty() => Ok(Truth::total(Condition::Constant(false))),
        Value::Name => Ok(Truth::total(Condition::Name(texts))),
        Value::Label(key) => Ok(Truth {
            holds: label(key, Operator::In, texts.clone()),
            fails: Condition::All(vec![
                label(key, Operator::Exists, Vec::new()),
                label(key, Operator::NotIn, texts),
            ]),
            is_total: false,
        }),
        Value::OrElse(key, default) => {
            let listed = texts.iter().any(|text| **text == **default);
            let is = label(key, Operator::In, texts);
            Ok(Truth::total(if listed {
                Condition::Any(vec![is, label(key, Operator::DoesNotExist, Vec::new())])
            } else {
                is
            }))
        }
        _ => Err("npc compares only the name or a label of `object`".to_owned()),
    }
}

/// The condition that a string function matches the namespace's name.
fn name_matches(
    function: &str,
    one: &IdedExpr,
    text: &IdedExpr,
    variables: &Variables,
) -> Result<Condition, String> {
    let (Some(Value::Name), Some(text)) = (value(&one.expr, variables, 0), literal(&text.expr)) else {
        return Err(format!("npc supports `{function}` only for the name of `object`"));
    };
    let glob = match function {
        "startsWith" => format!("{text}*"),
        "endsWith" => format!("*{text}"),
        "contains" => format!("*{text}*"),
        "matches" => {
            return match pattern(text) {
                Some(glob) => Ok(Condition::Name(vec![glob.into()])),
                None => Err(format!("the language's patterns cannot express `{text}`")),
            };
        }
        _ => return Err(format!("npc does not support the function `{function}`")),
    };
    if text.contains(['*', '?']) {
        return Ok(Condition::Constant(false));
    }
    Ok(Condition::Name(vec![glob.into()]))
}

/// Converts a regular expression to a pattern of names. `None` if that is not possible.
fn pattern(regex: &str) -> Option<String> {
    let mut rest = regex;
    let mut glob = String::new();
    match rest.strip_prefix('^') {
        Some(behind) => rest = behind,
        None => glob.push('*'),
    }
    let anchored = rest.strip_suffix('$');
    rest = anchored.unwrap_or(rest);
    while let Some(c) = rest.chars().next() {
        let (step, text) = if rest.starts_with(".*") {
            (2, "*".to_owned())
        } else if rest.starts_with(".+") {
            (2, "?*".to_owned())
        } else if c == '.' {
            (1, "?".to_owned())
        } else if c.is_ascii_alphanumeric() || c == '-' {
            (1, c.to_string())
        } else {
            return None;
        };
        // A quantifier after a character has no equivalent in patterns.
        if rest.get(step..).is_some_and(|behind| behind.starts_with(['*', '+', '?', '{'])) {
            return None;
        }
        glob.push_str(&text);
        rest = rest.get(step..)?;
    }
    if anchored.is_none() {
        glob.push('*');
    }
    Some(glob)
}

/// Whether an expression is a call that creates objects (`generator.Apply`), for messages.
pub(crate) fn applies(expr: &Expr) -> bool {
    matches!(expr, Expr::Call(CallExpr { func_name, .. }) if func_name == "Apply")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(text: &str) -> Result<String, String> {
        let scopes = condition(&parse(text)?, &Vec::new())?.scopes()?;
        Ok(scopes.iter().map(npc_print::scope_text).collect::<Vec<_>>().join(" | "))
    }

    #[test]
    fn conditions() {
        for (text, expected) in [
            ("true", "all namespaces"),
            ("object.metadata.name == 'a'", "namespace a"),
            ("'a' != object.metadata.name", "all namespaces except (a)"),
            ("!(object.metadata.name in ['b', 'a'])", "all namespaces except (a, b)"),
            ("object.metadata.name.startsWith('team-')", "namespaces (team-*)"),
            ("object.metadata.name.matches('^a.b.*$')", "namespaces (a?b*)"),
            ("has(object.metadata.labels.env)", "namespaces { env }"),
            ("'env' in object.metadata.labels", "namespaces { env }"),
            ("object.metadata.?labels[?'env'].orValue('') == 'prod'", "namespaces { env = prod }"),
            ("object.metadata.labels['env'] == 'prod'", "namespaces { env = prod }"),
            (
                "object.metadata.labels.?env.orValue('') == ''",
                "namespaces { env = \"\" } | namespaces { !env }",
            ),
            (
                "object.metadata.?labels[?'a'].hasValue() && !object.metadata.?labels[?'b'].hasValue()",
                "namespaces { a, !b }",
            ),
            (
                "object.metadata.name.startsWith('x') && has(object.metadata.labels.a)",
                "namespaces (x*) except { !a }",
            ),
            (
                "!(object.metadata.labels.?a.orValue('/') == 'x' && has(object.metadata.labels.b))",
                "all namespaces except { a = x, b }",
            ),
            ("object.metadata.name == 'a' && object.metadata.name == 'b'", ""),
            // A missing label is an error, and nothing is generated; `||` and `&&` may decide without it.
            ("object.metadata.labels['env'] != 'prod'", "namespaces { env, env != prod }"),
            ("!(object.metadata.labels.env in ['a', 'b'])", "namespaces { env, env notin (a, b) }"),
            (
                "!has(object.metadata.labels.netpol) || object.metadata.labels.netpol != 'off'",
                "namespaces { netpol != off }",
            ),
            (
                "has(object.metadata.labels.netpol) && object.metadata.labels.netpol == 'on'",
                "namespaces { netpol, netpol = \"on\" }",
            ),
            (
                "!(object.metadata.labels.a == 'x' && object.metadata.name == 'b')",
                "namespaces { a, a != x } | all namespaces except (b)",
            ),
        ] {
            assert_eq!(scopes(text).as_deref(), Ok(expected), "{text}");
        }
        for bad in [
            "request.operation == 'CREATE'",
            "object.metadata.name.matches('a|b')",
            "size(object.metadata.name) > 3",
            "object.metadata.name ==",
        ] {
            assert!(scopes(bad).is_err(), "{bad}");
        }
    }
}
