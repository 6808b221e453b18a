//! `kyverno.io/v1` ClusterPolicy with generate rules.

mod conditions;
pub(crate) mod jmespath;
mod matching;
mod variables;

use npc_cluster::Namespace;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::object::Object;
use conditions::Conditions;
use matching::Filters;
use variables::substitute;

/// The fields of a policy that are evaluated. Any other field is an error.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(
    dead_code,
    reason = "fields that do not change the generated objects are listed, so that they are accepted"
)]
struct Document {
    api_version: String,
    kind: String,
    metadata: Value,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
struct Spec {
    webhook_configuration: Option<Value>,
    rules: Vec<RuleDocument>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
struct RuleDocument {
    name: String,
    r#match: Filters,
    exclude: Option<Filters>,
    preconditions: Option<Conditions>,
    generate: Generate,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
struct Generate {
    generate_existing: Option<bool>,
    synchronize: Option<bool>,
    orphan_downstream_on_policy_delete: Option<bool>,
    api_version: String,
    kind: String,
    name: String,
    namespace: String,
    data: Value,
}

/// A policy that is prepared for evaluation.
pub(crate) struct ClusterPolicy {
    rules: Vec<RuleDocument>,
}

impl ClusterPolicy {
    pub(crate) fn parse(document: Value) -> Result<Self, String> {
        let document: Document = serde_json::from_value(document).map_err(|error| error.to_string())?;
        Ok(Self { rules: document.spec.rules })
    }
}

impl crate::Policy for ClusterPolicy {
    fn generate(&self, namespace: &Namespace) -> Result<Vec<Object>, String> {
        let mut objects = Vec::new();
        for rule in &self.rules {
            let excluded = rule.exclude.as_ref().is_some_and(|exclude| exclude.match_any(namespace));
            if !rule.r#match.match_any(namespace) || excluded {
                continue;
            }
            let context = json!({"request": {"operation": "CREATE", "object": {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": namespace.name, "labels": namespace.labels},
            }}});
            if let Some(preconditions) = &rule.preconditions
                && !preconditions.hold(&context)?
            {
                continue;
            }
            let generate = &rule.generate;
            let mut object = substitute(&generate.data, &context)?;
            let text = |text: &str| match substitute(&Value::String(text.to_owned()), &context)? {
                Value::String(text) => Ok(text),
                other => Err(format!("`{text}` becomes {other}, which is not a string")),
            };
            let (name, own) = (text(&generate.name)?, text(&generate.namespace)?);
            let Value::Object(fields) = &mut object else { return Err("`data` is not an object".to_owned()) };
            fields.insert("apiVersion".to_owned(), text(&generate.api_version)?.into());
            fields.entry("kind").or_insert(text(&generate.kind)?.into());
            let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
            let Value::Object(metadata) = metadata else {
                return Err("`data.metadata` is not an object".to_owned());
            };
            metadata.insert("name".to_owned(), name.into());
            metadata.insert("namespace".to_owned(), own.into());
            objects.push(Object::new(object, generate.generate_existing == Some(true))?);
        }
        Ok(objects)
    }
}
