//! Evaluates JMESPath as Kyverno does.
//!
//! The grammar and the standard functions come from the `jmespath` crate. Kyverno's engine
//! (`kyverno/go-jmespath`) differs from the standard in one point: a missing key is an error and not null,
//! unless an operator, a projection or a function's argument tolerates it. Therefore the syntax tree is
//! evaluated here. Kyverno's own functions are in [`functions`]. Functions that read a clock, the cluster or
//! a registry, and expression references, are not evaluated: they are errors that name them.

mod functions;

use std::cell::Cell;
use std::fmt;

use jmespath::ast::{Ast, Comparator};
use serde_json::{Map, Value};

/// The reason that an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvaluationError {
    /// The text is not JMESPath.
    Syntax(String),
    /// A key is missing.
    Missing(String),
    /// A function fails for its arguments.
    Function(String),
    /// A part of the expression is not evaluated here.
    Unsupported(String),
}

impl fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(why) | Self::Function(why) => f.write_str(why),
            Self::Missing(key) => write!(f, "the key `{key}` is missing, so Kyverno generates nothing"),
            Self::Unsupported(what) => write!(f, "npc does not evaluate {what} in a JMESPath expression"),
        }
    }
}

impl std::error::Error for EvaluationError {}

type Result<T> = std::result::Result<T, EvaluationError>;

/// The maximal nesting of an expression.
const MAX_DEPTH: usize = 128;

/// The value of an expression.
///
/// # Errors
///
/// See [`EvaluationError`].
pub fn evaluate(expression: &str, data: &Value) -> Result<Value> {
    // The parser is recursive, so reject beforehand what would exhaust its stack.
    let opened = expression.bytes().filter(|byte| b"([{!".contains(byte)).count();
    if opened > MAX_DEPTH {
        return Err(EvaluationError::Unsupported(format!("nesting more than {MAX_DEPTH} deep")));
    }
    let ast = jmespath::parse(expression).map_err(|error| EvaluationError::Syntax(error.to_string()))?;
    Walk { expression, budget: Cell::new(BUDGET) }.eval(&ast, data, 0)
}

/// The maximal size of the values that an expression makes: one for each value, and one more for every 64
/// bytes of a text. Without a limit, flattened lists of lists could grow with every step.
const BUDGET: usize = 1 << 20;

struct Walk<'a> {
    expression: &'a str,
    budget: Cell<usize>,
}

impl Walk<'_> {
    /// Evaluates an expression; a missing key gives null.
    fn tolerant(&self, ast: &Ast, data: &Value, depth: usize) -> Result<Value> {
        match self.eval(ast, data, depth) {
            Err(EvaluationError::Missing(_)) => Ok(Value::Null),
            other => other,
        }
    }

    /// Copies a value and subtracts its size from the budget.
    fn copy(&self, value: &Value) -> Result<Value> {
        self.pay(value)?;
        Ok(value.clone())
    }

    fn pay(&self, value: &Value) -> Result<()> {
        let price = match value {
            Value::String(text) => 1 + text.len() / 64,
            _ => 1,
        };
        let left = self.budget.get().checked_sub(price);
        self.budget.set(
            left.ok_or_else(|| EvaluationError::Unsupported(format!("making more than {BUDGET} values")))?,
        );
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.pay(item)),
            Value::Object(fields) => fields.values().try_for_each(|field| self.pay(field)),
            _ => Ok(()),
        }
    }

    fn eval(&self, ast: &Ast, data: &Value, depth: usize) -> Result<Value> {
        if depth > MAX_DEPTH {
            return Err(EvaluationError::Unsupported(format!("nesting more than {MAX_DEPTH} deep")));
        }
        let deeper = depth + 1;
        let eval = |ast: &Ast, data: &Value| self.eval(ast, data, deeper);
        let tolerant = |ast: &Ast, data: &Value| self.tolerant(ast, data, deeper);
        match ast {
            Ast::Identity { .. } => self.copy(data),
            Ast::Literal { value, .. } => {
                serde_json::to_value(value).map_err(|error| EvaluationError::Syntax(error.to_string()))
            }
            Ast::Field { name, .. } => match data {
                Value::Object(fields) => match fields.get(name) {
                    Some(value) => self.copy(value),
                    None => Err(EvaluationError::Missing(name.clone())),
                },
                _ => Ok(Value::Null),
            },
            // The crate's syntax tree does not distinguish a pipe from a path; the character in the source
            // does. In a pipe, a missing key is null.
            Ast::Subexpr { offset, lhs, rhs } if self.expression.as_bytes().get(*offset) == Some(&b'|') => {
                tolerant(rhs, &tolerant(lhs, data)?)
            }
            Ast::Subexpr { lhs, rhs, .. } => eval(rhs, &eval(lhs, data)?),
            Ast::Or { lhs, rhs, .. } => {
                let left = tolerant(lhs, data)?;
                if truthy(&left) { Ok(left) } else { tolerant(rhs, data) }
            }
            Ast::And { lhs, rhs, .. } => {
                let left = tolerant(lhs, data)?;
                if truthy(&left) { eval(rhs, data) } else { Ok(left) }
            }
            Ast::Not { node, .. } => Ok(Value::Bool(!truthy(&tolerant(node, data)?))),
            Ast::Comparison { comparator, lhs, rhs, .. } => {
                Ok(compare(comparator, &tolerant(lhs, data)?, &tolerant(rhs, data)?))
            }
            Ast::Index { idx, .. } => match data {
                Value::Array(items) => at(items, *idx).map_or(Ok(Value::Null), |item| self.copy(item)),
                _ => Ok(Value::Null),
            },
            Ast::Slice { start, stop, step, .. } => match data {
                Value::Array(items) => {
                    self.pay(data)?;
                    slice(items, *start, *stop, *step).map(Value::Array)
                }
                _ => Ok(Value::Null),
            },
            Ast::Flatten { node, .. } => Ok(match self.eval(node, data, deeper) {
                Ok(Value::Array(items)) => Value::Array(
                    items
                        .into_iter()
                        .flat_map(|item| match item {
                            Value::Array(inner) => inner,
                            other => vec![other],
                        })
                        .collect(),
                ),
                Err(EvaluationError::Unsupported(what)) => return Err(EvaluationError::Unsupported(what)),
                // Kyverno's engine ignores all other errors here.
                _ => Value::Null,
            }),
            Ast::Projection { lhs, rhs, .. } => self.projection(lhs, rhs, data, deeper),
            Ast::MultiList { .. } | Ast::MultiHash { .. } if data.is_null() => Ok(Value::Null),
            Ast::MultiList { elements, .. } => elements
                .iter()
                .map(|element| tolerant(element, data))
                .collect::<Result<_>>()
                .map(Value::Array),
            Ast::MultiHash { elements, .. } => {
                let mut fields = Map::new();
                for pair in elements {
                    fields.insert(pair.key.clone(), tolerant(&pair.value, data)?);
                }
                Ok(Value::Object(fields))
            }
            Ast::Function { name, args, .. } => {
                let args: Vec<Value> = args.iter().map(|arg| tolerant(arg, data)).collect::<Result<_>>()?;
                let value = functions::call(name, &args)?;
                self.pay(&value)?;
                Ok(value)
            }
            Ast::Condition { predicate, then, .. } => {
                if truthy(&tolerant(predicate, data)?) {
                    tolerant(then, data)
                } else {
                    Ok(Value::Null)
                }
            }
            // The order of a map's values is random in Kyverno's engine.
            Ast::ObjectValues { .. } => Err(EvaluationError::Unsupported("a map's values".to_owned())),
            Ast::Expref { .. } => Err(EvaluationError::Unsupported("an expression reference".to_owned())),
        }
    }

    /// Evaluates the expression after `[*]`, `[]`, `[?…]` or a slice for each element, and omits nulls.
    fn projection(&self, lhs: &Ast, rhs: &Ast, data: &Value, depth: usize) -> Result<Value> {
        let left = match self.eval(lhs, data, depth) {
            Err(EvaluationError::Missing(_)) => Value::Null,
            // A filter ignores errors in the expression before it.
            Err(EvaluationError::Function(_)) if matches!(rhs, Ast::Condition { .. }) => Value::Null,
            other => other?,
        };
        let Value::Array(items) = left else { return Ok(Value::Null) };
        let mut out = Vec::with_capacity(items.len());
        for item in &items {
            let value = self.tolerant(rhs, item, depth)?;
            if !value.is_null() {
                out.push(value);
            }
        }
        Ok(Value::Array(out))
    }
}

fn compare(comparator: &Comparator, left: &Value, right: &Value) -> Value {
    let numbers = left.as_f64().zip(right.as_f64());
    let ordered = |holds: fn(&f64, &f64) -> bool| {
        numbers.map_or(Value::Null, |(left, right)| Value::Bool(holds(&left, &right)))
    };
    match comparator {
        Comparator::Equal => Value::Bool(same(left, right)),
        Comparator::NotEqual => Value::Bool(!same(left, right)),
        Comparator::LessThan => ordered(f64::lt),
        Comparator::LessThanEqual => ordered(f64::le),
        Comparator::GreaterThan => ordered(f64::gt),
        Comparator::GreaterThanEqual => ordered(f64::ge),
    }
}

/// Whether two values are equal. Integers and floats are compared as floats.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => left == right,
    }
}

fn at(items: &[Value], index: i32) -> Option<&Value> {
    let from_end = index.unsigned_abs() as usize;
    if index >= 0 {
        items.get(from_end)
    } else {
        items.len().checked_sub(from_end).and_then(|at| items.get(at))
    }
}

/// Takes a slice of a list, as the JMESPath specification defines it.
fn slice(items: &[Value], start: Option<i32>, stop: Option<i32>, step: i32) -> Result<Vec<Value>> {
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let step = i64::from(step);
    if step == 0 {
        return Err(EvaluationError::Function("a slice's step is zero".to_owned()));
    }
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |given: Option<i32>, default: i64| match given.map(i64::from) {
        None => default,
        Some(value) if value < 0 => (value + length).max(low),
        Some(value) => value.min(high),
    };
    let (mut at, end) = if step > 0 {
        (bound(start, 0), bound(stop, length))
    } else {
        (bound(start, length - 1), bound(stop, -1))
    };
    let mut out = Vec::new();
    while if step > 0 { at < end } else { at > end } {
        out.extend(usize::try_from(at).ok().and_then(|at| items.get(at)).cloned());
        at += step;
    }
    Ok(out)
}

/// Whether JMESPath treats a value as true: any value except null, false and empty ones.
fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn missing_keys_are_errors_but_where_they_are_tolerated() {
        let data = json!({"a": {"b": [{"c": 1}, {"d": 2}], "e": ""}, "n": null});
        let missing = |key: &str| Err(EvaluationError::Missing(key.to_owned()));
        for (expression, expected) in [
            ("a.x", missing("x")),
            ("a.x || 'y'", Ok(json!("y"))),
            ("a.x.y || a.z", Ok(Value::Null)),
            ("a.e && a.x", Ok(json!(""))),
            ("!(a.x)", Ok(json!(true))),
            // `!` binds more tightly than a dot.
            ("!a.x", Ok(Value::Null)),
            ("a.x == `null`", Ok(json!(true))),
            ("a.b[*].c", Ok(json!([1]))),
            ("a.b[?c == `1`]", Ok(json!([{"c": 1}]))),
            ("a.b[0].c", Ok(json!(1))),
            ("a.b[-1].d", Ok(json!(2))),
            ("a.b[5]", Ok(Value::Null)),
            // A slice is a projection.
            ("a.b[::-1].d", Ok(json!([2]))),
            ("a.x | 'y'", Ok(json!("y"))),
            ("n.x", Ok(Value::Null)),
            ("length(a.b)", Ok(json!(2))),
            ("split('a-b', '-')[1]", Ok(json!("b"))),
            ("[a.x, a.e]", Ok(json!([null, ""]))),
            ("{x: a.e}", Ok(json!({"x": ""}))),
        ] {
            assert_eq!(evaluate(expression, &data), expected, "{expression}");
        }
    }

    #[test]
    fn what_is_not_evaluated_is_named() {
        for expression in ["time_now()", "a.*", "map(&a, @)", "random('x')"] {
            assert!(
                matches!(evaluate(expression, &json!({"a": {}})), Err(EvaluationError::Unsupported(_))),
                "{expression}"
            );
        }
        // Each step triples the size.
        let grows = "[a, a, a][]".repeat(40);
        let lists = format!("{}[0]", "[@, @, @] | ".repeat(40));
        let text = format!("a{}", " | replace_all(@, 'x', 'xxxxxxxxxxxxxxxx')".repeat(20));
        let data = json!({"a": "x"});
        for expression in [grows.as_str(), lists.trim_end_matches(" | [0]"), &text] {
            let value = evaluate(expression, &data);
            assert!(!matches!(value, Err(EvaluationError::Syntax(_))), "{value:?}");
        }
        assert!(matches!(evaluate(&text, &data), Err(EvaluationError::Unsupported(_))));
        let deep = "(".repeat(100_000);
        assert!(matches!(evaluate(&deep, &json!({})), Err(EvaluationError::Unsupported(_))));
    }
}
