//! Reads a `LabelSelector`.

use std::sync::Arc;

use npc_diagnostics::{Diagnostic, Location};
use npc_manifest::{Node, Path, Reader};
use npc_program::values::label::{check_key, check_value};
use npc_program::{Requirement, Selector};
use npc_vocabulary::Operator;

npc_diagnostics::codes! {
    /// # Invalid selector that matches nothing
    ///
    /// The API server does not validate the selectors of cluster policies. An invalid selector (an unknown
    /// operator, `In` without values, a label that no object can have) matches nothing: a rule that denies
    /// with it denies nothing, and nothing reports that.
    INVALID_SELECTOR = "NP0906" "invalid-selector" Warning;
}

/// Who validates a selector.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    /// The API server, which rejects it if it is invalid.
    ByTheServer,
    /// Nobody: if it is invalid, it matches nothing.
    ByNobody,
}

/// Reads a selector. `None` if it has errors.
pub(crate) fn selector(
    reader: &mut Reader,
    path: &Path<'_>,
    node: &Node,
    checked: Checked,
) -> Option<Selector> {
    let fields = reader.object(path, node, &["matchLabels", "matchExpressions"])?;
    let mut requirements = Vec::new();
    let before = reader.diagnostics.len();
    let mut valid = true;
    let mut wrong = |reader: &mut Reader, path: &Path<'_>, place: Location, why: String| {
        valid = false;
        match checked {
            Checked::ByTheServer => reader.report_invalid(path, place, why),
            Checked::ByNobody => reader.diagnostics.push(
                Diagnostic::new(
                    &INVALID_SELECTOR,
                    format!("the selector with `{path}` is invalid and matches nothing"),
                    place,
                    why,
                )
                .note("the API server accepts it: a rule that denies with it denies nothing"),
            ),
        }
    };
    let labels = path.field("matchLabels");
    if let Some(node) = fields.get("matchLabels") {
        for (entry, value) in reader.strings(&labels, node)? {
            let label =
                check_key(&entry.key, entry.location).and_then(|()| check_value(value, entry.node.location));
            if let Err(diagnostic) = label {
                let place = diagnostic.location().unwrap_or(entry.location);
                wrong(reader, &labels, place, sentence(&diagnostic));
            }
            requirements.push(requirement(&entry.key, Operator::In, vec![value]));
        }
    }
    let expressions = path.field("matchExpressions");
    let list = match fields.get("matchExpressions") {
        Some(node) => reader.list(&expressions, node)?,
        None => &[],
    };
    for (index, node) in list.iter().enumerate() {
        let path = expressions.index(index);
        let one = reader.object(&path, node, &["key", "operator", "values"])?;
        let mut read = |field: &str| match one.get(field) {
            Some(node) => Some((reader.string(&path.field(field), node)?, node.location)),
            None if checked == Checked::ByNobody => {
                reader.require(&path.field(field), one.location);
                None
            }
            None => Some(("", one.location)),
        };
        let (key, key_place) = read("key")?;
        let (word, operator_place) = read("operator")?;
        if let Err(diagnostic) = check_key(key, key_place) {
            wrong(reader, &path.field("key"), key_place, sentence(&diagnostic));
        }
        let values_path = path.field("values");
        let nodes = match one.get("values") {
            Some(node) => reader.list(&values_path, node)?,
            None => &[],
        };
        let mut values = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let path = values_path.index(index);
            let value = reader.string(&path, node)?;
            if let Err(diagnostic) = check_value(value, node.location) {
                wrong(reader, &path, node.location, sentence(&diagnostic));
            }
            values.push(value);
        }
        let operator = match word {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => {
                let why = format!("`{word}` is not an operator: use In, NotIn, Exists or DoesNotExist");
                wrong(reader, &path.field("operator"), operator_place, why);
                continue;
            }
        };
        let listing = matches!(operator, Operator::In | Operator::NotIn);
        if listing && values.is_empty() {
            let why = format!("`{word}` needs at least one value");
            wrong(reader, &values_path, one.location_of("values"), why);
        } else if !listing && !values.is_empty() {
            wrong(reader, &values_path, one.location_of("values"), format!("`{word}` takes no values"));
        }
        requirements.push(requirement(key, operator, values));
    }
    if !valid && checked == Checked::ByNobody {
        return Some(nothing());
    }
    if !valid && reader.diagnostics.len() == before {
        return None;
    }
    let mut unique: Vec<Requirement> = Vec::with_capacity(requirements.len());
    for requirement in requirements {
        if !unique.contains(&requirement) {
            unique.push(requirement);
        }
    }
    Some(Selector { requirements: unique })
}

/// A selector that matches nothing: it requires one of an empty list of values.
pub(crate) fn nothing() -> Selector {
    let none = Requirement { key: Arc::from(""), operator: Operator::In, values: Vec::new() };
    Selector { requirements: vec![none] }
}

fn requirement(key: &str, operator: Operator, values: Vec<&str>) -> Requirement {
    let mut values: Vec<Arc<str>> = values.into_iter().map(Arc::from).collect();
    values.sort_unstable();
    values.dedup();
    Requirement { key: Arc::from(key), operator, values }
}

/// The message and the label of a diagnostic, in one sentence.
fn sentence(diagnostic: &Diagnostic) -> String {
    match diagnostic.labels.first().map(|label| label.text.as_str()) {
        Some(why) if !why.is_empty() => format!("{}: {why}", diagnostic.message),
        _ => diagnostic.message.clone(),
    }
}
