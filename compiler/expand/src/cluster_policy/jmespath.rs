//! JMESPath as Kyverno evaluates it.
//!
//! The grammar is the `jmespath` crate's. Kyverno's engine differs from the standard in one thing
//! that matters here: a key that is missing is an error, not null, except where an operator
//! tolerates it (`||`, `&&`, `!`, comparisons). So the tree is walked here. What is not evaluated
//! (functions, projections) is refused by name.

use std::fmt;

use jmespath::ast::{Ast, Comparator};
use serde_json::Value;

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvaluationError {
    /// The text is not JMESPath.
    Syntax(String),
    /// A key that is not there.
    Missing(String),
    /// Something that is not evaluated here.
    Unsupported(String),
}

impl fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(why) => f.write_str(why),
            Self::Missing(key) => write!(f, "the key `{key}` is missing, so Kyverno generates nothing"),
            Self::Unsupported(what) => write!(f, "{what} in a JMESPath expression is not evaluated"),
        }
    }
}

impl std::error::Error for EvaluationError {}

/// The value of an expression.
///
/// # Errors
///
/// See [`EvaluationError`].
pub fn evaluate(expression: &str, data: &Value) -> Result<Value, EvaluationError> {
    let ast = jmespath::parse(expression).map_err(|error| EvaluationError::Syntax(error.to_string()))?;
    walk(&ast, data, 0)
}

fn walk(ast: &Ast, data: &Value, depth: usize) -> Result<Value, EvaluationError> {
    if depth > 128 {
        return Err(EvaluationError::Unsupported("nesting more than 128 deep".to_owned()));
    }
    let eval = |ast: &Ast, data: &Value| walk(ast, data, depth + 1);
    let tolerant = |ast: &Ast| match eval(ast, data) {
        Err(EvaluationError::Missing(_)) => Ok(Value::Null),
        other => other,
    };
    match ast {
        Ast::Identity { .. } => Ok(data.clone()),
        Ast::Literal { value, .. } => {
            serde_json::to_value(value).map_err(|error| EvaluationError::Syntax(error.to_string()))
        }
        Ast::Field { name, .. } => match data {
            Value::Object(fields) => {
                fields.get(name).cloned().ok_or_else(|| EvaluationError::Missing(name.clone()))
            }
            _ => Ok(Value::Null),
        },
        Ast::Subexpr { lhs, rhs, .. } => eval(rhs, &eval(lhs, data)?),
        Ast::Or { lhs, rhs, .. } => {
            let left = tolerant(lhs)?;
            if truthy(&left) { Ok(left) } else { tolerant(rhs) }
        }
        Ast::And { lhs, rhs, .. } => {
            let left = tolerant(lhs)?;
            if truthy(&left) { eval(rhs, data) } else { Ok(left) }
        }
        Ast::Not { node, .. } => Ok(Value::Bool(!truthy(&tolerant(node)?))),
        Ast::Comparison { comparator, lhs, rhs, .. } => {
            let (left, right) = (tolerant(lhs)?, tolerant(rhs)?);
            match comparator {
                Comparator::Equal => Ok(Value::Bool(left == right)),
                Comparator::NotEqual => Ok(Value::Bool(left != right)),
                _ => Err(EvaluationError::Unsupported("an ordering".to_owned())),
            }
        }
        Ast::Function { name, .. } => Err(EvaluationError::Unsupported(format!("the function `{name}`"))),
        Ast::Index { .. } => Err(EvaluationError::Unsupported("an index".to_owned())),
        _ => Err(EvaluationError::Unsupported("a projection, slice or multi-select".to_owned())),
    }
}

/// JMESPath's truth: everything but null, false and what is empty.
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
