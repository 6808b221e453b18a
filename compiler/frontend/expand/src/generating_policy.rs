//! `policies.kyverno.io/v1` GeneratingPolicy with templates.

pub mod placeholder;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use cel::{Context, Env, Program};
use npc_cluster::Namespace;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::object::{Object, map_strings};
use placeholder::{Segment, scan};

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
    evaluation: Option<Value>,
    webhook_configuration: Option<Value>,
    match_constraints: MatchConstraints,
    #[serde(default)]
    match_conditions: Vec<Named>,
    #[serde(default)]
    variables: Vec<Named>,
    generate: Vec<Generation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MatchConstraints {
    resource_rules: Vec<ResourceRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceRule {
    api_groups: Vec<String>,
    api_versions: Vec<String>,
    operations: Vec<String>,
    resources: Vec<String>,
}

impl ResourceRule {
    /// Whether the rule matches the creation of namespaces.
    fn takes_namespaces(&self) -> bool {
        let any = |list: &[String], one: &str| list.iter().any(|item| item == one || item == "*");
        any(&self.api_groups, "")
            && any(&self.api_versions, "v1")
            && any(&self.resources, "namespaces")
            && any(&self.operations, "CREATE")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    expression: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generation {
    template: Template,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    interpolate: Option<String>,
    value: String,
}

/// A policy that is prepared for evaluation.
pub(crate) struct GeneratingPolicy {
    env: Arc<Env>,
    matches: bool,
    for_existing: bool,
    conditions: Vec<(String, Program)>,
    variables: Vec<(String, Program)>,
    templates: Vec<Value>,
    /// The expressions in the templates, compiled once.
    placeholders: BTreeMap<String, Program>,
}

/// The functions that expressions may use. Built once, since it is large.
fn environment() -> Arc<Env> {
    static ENVIRONMENT: OnceLock<Arc<Env>> = OnceLock::new();
    Arc::clone(ENVIRONMENT.get_or_init(|| Arc::new(Env::stdlib())))
}

impl GeneratingPolicy {
    pub(crate) fn parse(document: Value) -> Result<Self, String> {
        let document: Document = serde_json::from_value(document).map_err(|error| error.to_string())?;
        let env = environment();
        let spec = document.spec;
        let compile = |named: Vec<Named>| {
            named
                .into_iter()
                .map(|one| {
                    let program =
                        env.compile(&one.expression).map_err(|error| format!("{}: {error}", one.name))?;
                    Ok((one.name, program))
                })
                .collect::<Result<Vec<_>, String>>()
        };
        let conditions = compile(spec.match_conditions)?;
        let variables = compile(spec.variables)?;
        let mut templates = Vec::new();
        for generation in spec.generate {
            if generation.template.interpolate.as_deref() != Some("cel") {
                return Err("a template without `interpolate: cel` is not evaluated".to_owned());
            }
            for document in serde_yaml::Deserializer::from_str(&generation.template.value) {
                let value = Value::deserialize(document).map_err(|error| error.to_string())?;
                if !value.is_null() {
                    templates.push(value);
                }
            }
        }
        let mut placeholders = BTreeMap::new();
        for template in &templates {
            map_strings(
                template,
                &mut |text| {
                    for segment in scan(text)? {
                        if let Segment::Expression(expression) = segment {
                            let program = env
                                .compile(&expression)
                                .map_err(|error| format!("(( {expression} )): {error}"))?;
                            placeholders.insert(expression, program);
                        }
                    }
                    Ok(Value::Null)
                },
                false,
            )?;
        }
        let matches = spec.match_constraints.resource_rules.iter().any(ResourceRule::takes_namespaces);
        let for_existing = spec.evaluation.as_ref().and_then(|own| own.pointer("/generateExisting/enabled"));
        let for_existing = for_existing == Some(&Value::Bool(true));
        Ok(Self { env, matches, for_existing, conditions, variables, templates, placeholders })
    }

    fn context(&self, namespace: &Namespace) -> Result<Context<'static, 'static>, String> {
        let mut context = Context::with_env(Arc::clone(&self.env));
        // The API server omits an empty map of labels.
        let mut metadata = json!({"name": namespace.name});
        if !namespace.labels.is_empty()
            && let Value::Object(fields) = &mut metadata
        {
            fields.insert("labels".to_owned(), json!(namespace.labels));
        }
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        context.add_variable("object", object).map_err(|error| error.to_string())?;
        context
            .add_function("sha256", |text: Arc<String>| -> String {
                Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
            })
            .map_err(|error| error.to_string())?;
        Ok(context)
    }
}

impl crate::Policy for GeneratingPolicy {
    fn generate(&self, namespace: &Namespace) -> Result<Vec<Object>, String> {
        if !self.matches {
            return Ok(Vec::new());
        }
        let mut context = self.context(namespace)?;
        // A condition that is false skips the namespace, even if another condition is an error.
        let mut failed = None;
        for (name, program) in &self.conditions {
            match program.execute(&context) {
                Ok(cel::Value::Bool(true)) => {}
                Ok(cel::Value::Bool(false)) => return Ok(Vec::new()),
                Ok(other) => failed = Some(format!("the condition `{name}` gives {other:?}, not a boolean")),
                Err(error) => failed = Some(format!("the condition `{name}` fails: {error}")),
            }
        }
        if let Some(failed) = failed {
            return Err(failed);
        }
        let mut variables = BTreeMap::new();
        for (name, program) in &self.variables {
            let value =
                program.execute(&context).map_err(|error| format!("the variable `{name}`: {error}"))?;
            variables.insert(name.clone(), native(&value)?);
        }
        context.add_variable("variables", variables).map_err(|error| error.to_string())?;
        self.templates
            .iter()
            .map(|template| {
                let object = map_strings(template, &mut |text| self.render(text, &context), false)?;
                Object::new(object, self.for_existing)
            })
            .collect()
    }
}

impl GeneratingPolicy {
    /// Evaluates the placeholders of a scalar. If the scalar is one placeholder, the result keeps its type.
    fn render(&self, text: &str, context: &Context<'_, '_>) -> Result<Value, String> {
        let segments = scan(text)?;
        let evaluate = |expression: &str| {
            let program = self
                .placeholders
                .get(expression)
                .ok_or_else(|| format!("(( {expression} )) is not compiled"))?;
            let value = program.execute(context).map_err(|error| format!("(( {expression} )): {error}"))?;
            native(&value)
        };
        if let [Segment::Expression(expression)] = segments.as_slice() {
            return evaluate(expression);
        }
        let mut out = String::new();
        for segment in &segments {
            match segment {
                Segment::Literal(literal) => out.push_str(literal),
                Segment::Expression(expression) => match evaluate(expression)? {
                    Value::String(text) => out.push_str(&text),
                    Value::Bool(value) => out.push_str(&value.to_string()),
                    other => return Err(format!("(( {expression} )) within a string gives {other}")),
                },
            }
        }
        Ok(Value::String(out))
    }
}

/// Converts a CEL value to JSON. Only strings and booleans are supported, the types of names and labels.
fn native(value: &cel::Value) -> Result<Value, String> {
    match value {
        cel::Value::String(text) => Ok(Value::String(text.to_string())),
        cel::Value::Bool(value) => Ok(Value::Bool(*value)),
        other => Err(format!("npc evaluates only strings and booleans, not {other:?}")),
    }
}
