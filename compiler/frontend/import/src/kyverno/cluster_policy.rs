//! Reads ClusterPolicy with generate rules (`kyverno.io/v1`, `v2beta1`).

use npc_diagnostics::Diagnostic;
use npc_manifest::{Fields, Node, Path, Reader, Value};
use npc_program::Scope;
use npc_program::values::name::is_subdomain;

use super::condition::Condition;
use super::filter::{Form, Role, filters};
use super::jmespath::JmesPath;
use super::object::{RequiredLabels, Template, generated, is_name};
use super::settings::{PolicySettings, of_cluster_policy, of_rule};
use super::{Kind, OTHER_OBJECT, generates_network_policies, object_name, report_unsupported, scopes};
use crate::kubernetes::metadata::{self, Metadata, cluster_object, described, dropped};
use crate::kubernetes::network_policy::Place;
use crate::{Generated, Imported};

/// The fields of `spec`, including deprecated ones.
const FIELDS: [&str; 15] = [
    "admission",
    "background",
    "emitWarning",
    "failurePolicy",
    "generateExisting",
    "generateExistingOnPolicyUpdate",
    "mutateExistingOnPolicyUpdate",
    "schemaValidation",
    "useServerSideApply",
    "validationFailureAction",
    "validationFailureActionOverrides",
    "webhookConfiguration",
    "webhookTimeoutSeconds",
    "rules",
    "applyRules",
];

/// Reads the NetworkPolicies that a ClusterPolicy generates.
pub(crate) fn cluster_policy(reader: &mut Reader, node: &Node) -> Option<Vec<Imported>> {
    let (metadata, spec) = cluster_object(reader, node, metadata::Scope::ClusterIgnoringNamespace, &FIELDS)?;
    let form = match node.get("apiVersion").and_then(Node::as_str) {
        Some("kyverno.io/v2beta1") => Form::V2Beta1,
        _ => Form::V1,
    };
    let path = Path::Root.field("spec");
    let rules_path = path.field("rules");
    let rules = match spec.get("rules") {
        Some(node) => reader.list(&rules_path, node)?,
        None => &[],
    };
    if rules.len() > 1
        && let Some(apply) = spec.get("applyRules").filter(|node| node.as_str() == Some("One"))
    {
        report_unsupported(
            reader,
            "`spec.applyRules: One`",
            apply.location,
            "the language applies every rule that matches: remove `applyRules: One`",
        );
        return None;
    }
    let metadata = metadata?;
    let mut imported = Some(Vec::new());
    // Read only if a rule generates a NetworkPolicy. Otherwise the settings do not matter.
    let mut settings = None;
    for (index, rule) in rules.iter().enumerate() {
        let path = rules_path.index(index);
        let read = match generate(reader, &path, rule) {
            Some(Generates::NetworkPolicy(fields, generate)) => {
                let given = settings
                    .get_or_insert_with(|| of_cluster_policy(reader, &path, &spec, metadata.location));
                let rule = Rule { path: &path, fields, generate, policy: &metadata, whole: node, form };
                given.clone().and_then(|given| rule.read(reader, &given)).map(|one| vec![one])
            }
            Some(Generates::Nothing) => Some(Vec::new()),
            None => None,
        };
        imported = imported.zip(read).map(|(mut all, read)| {
            all.extend(read);
            all
        });
    }
    imported
}

/// The objects that a rule generates.
enum Generates<'n> {
    /// NetworkPolicies: the fields of the rule and of its `generate`.
    NetworkPolicy(Fields<'n>, Fields<'n>),
    /// Nothing that is part of a program.
    Nothing,
}

/// Determines the objects that a rule generates.
fn generate<'n>(reader: &mut Reader, path: &Path<'_>, node: &'n Node) -> Option<Generates<'n>> {
    let known = [
        "name",
        "match",
        "exclude",
        "preconditions",
        "celPreconditions",
        "context",
        "generate",
        "skipBackgroundRequests",
        "validate",
        "mutate",
        "verifyImages",
        "imageExtractors",
        "reportProperties",
    ];
    let fields = reader.object(path, node, &known)?;
    match fields.get("name") {
        Some(name) => reader.string(&path.field("name"), name).map(drop)?,
        None => {
            reader.require(&path.field("name"), fields.location);
            return None;
        }
    }
    let generate_path = path.field("generate");
    let others = ["validate", "mutate", "verifyImages"];
    let other = others.into_iter().find(|other| fields.get(other).is_some());
    let Some(generate) = fields.get("generate") else {
        let Some(other) = other else {
            reader.require(&generate_path, fields.location);
            return None;
        };
        reader.diagnostics.push(Diagnostic::new(
            &OTHER_OBJECT,
            "this rule generates nothing, so npc ignores it",
            fields.location_of(other),
            format!("a `{other}` rule"),
        ));
        return Some(Generates::Nothing);
    };
    if let Some(other) = other {
        let why = format!("a rule cannot have both `generate` and `{other}`");
        reader.report_invalid(path, fields.location_of(other), why);
        return None;
    }
    let known = [
        "generateExisting",
        "synchronize",
        "orphanDownstreamOnPolicyDelete",
        "apiVersion",
        "kind",
        "name",
        "namespace",
        "data",
        "clone",
        "cloneList",
        "foreach",
        "uid",
    ];
    let generate = reader.object(&generate_path, generate, &known)?;
    let kinds = kinds(reader, &generate_path, &generate)?;
    if !generates_network_policies(reader, "this rule", &kinds) {
        return Some(Generates::Nothing);
    }
    for (key, why) in [
        ("clone", "it copies an object of the cluster, which npc does not read"),
        ("cloneList", "it copies objects of the cluster, which npc does not read"),
        ("foreach", "the number of its objects is known only when the policy runs"),
    ] {
        if let Some(node) = generate.get(key) {
            report_unsupported(reader, format!("`{}`", generate_path.field(key)), node.location, why);
            return None;
        }
    }
    for (key, why) in [
        ("preconditions", "select the namespaces with `match` and `exclude` instead"),
        ("celPreconditions", "select the namespaces with `match` and `exclude` instead"),
        ("context", "its values are known only when the policy runs"),
    ] {
        if let Some(node) = fields.get(key) {
            report_unsupported(reader, format!("`{}`", path.field(key)), node.location, why);
            return None;
        }
    }
    Some(Generates::NetworkPolicy(fields, generate))
}

/// The kinds of objects that a rule generates.
fn kinds<'n>(reader: &mut Reader, path: &Path<'_>, generate: &Fields<'n>) -> Option<Vec<Kind<'n>>> {
    let text = |node: &'n Node, key: &str| node.get(key).and_then(Node::as_str).unwrap_or("");
    let mut kinds = Vec::new();
    if let Some(list) = generate.get("foreach") {
        for one in reader.list(&path.field("foreach"), list)? {
            let place = one.get("kind").map_or(one.location, |kind| kind.location);
            kinds.push((text(one, "apiVersion"), text(one, "kind"), place));
        }
    } else if let Some(list) = generate.get("cloneList") {
        // `v1/Secret`, `networking.k8s.io/v1/NetworkPolicy`
        let path = path.field("cloneList");
        let fields = reader.object(&path, list, &["kinds", "namespace", "selector"])?;
        let list = match fields.get("kinds") {
            Some(node) => reader.list(&path.field("kinds"), node)?,
            None => &[],
        };
        for one in list {
            let text = one.as_str().unwrap_or("");
            let (version, kind) = text.rsplit_once('/').unwrap_or(("", text));
            kinds.push((version, kind, one.location));
        }
    } else {
        let text = |key: &str| generate.get(key).and_then(Node::as_str).unwrap_or("");
        let place = generate.location_of("kind");
        let (version, kind) = (text("apiVersion"), text("kind"));
        if kind.is_empty() {
            reader.require(&path.field("kind"), place);
            return None;
        }
        if kind == "NetworkPolicy" && version.is_empty() {
            let why = "must be `networking.k8s.io/v1`; Kyverno 1.10 and later reject the rule without it";
            reader.report_invalid(&path.field("apiVersion"), place, why);
            return None;
        }
        kinds.push((version, kind, place));
    }
    Some(kinds)
}

/// A rule that generates NetworkPolicies.
struct Rule<'r, 'n> {
    path: &'r Path<'r>,
    fields: Fields<'n>,
    generate: Fields<'n>,
    policy: &'r Metadata<'n>,
    whole: &'n Node,
    form: Form,
}

impl Rule<'_, '_> {
    /// Reads the NetworkPolicy that the rule generates.
    fn read(&self, reader: &mut Reader, given: &PolicySettings) -> Option<Imported> {
        let Self { path, fields, generate, policy, whole, form } = self;
        let path = *path;
        let generate_path = path.field("generate");
        let given = of_rule(reader, &generate_path, generate, given)?;
        let namespace_path = generate_path.field("namespace");
        let namespace = generate.get("namespace").and_then(Node::as_str);
        if !namespace.is_some_and(|text| is_name(text, &JmesPath)) {
            let why = match namespace {
                Some(text) => format!(
                    "use `{{{{request.object.metadata.name}}}}`, the trigger namespace, and not `{text}`"
                ),
                None => "use `{{request.object.metadata.name}}`, the trigger namespace".to_owned(),
            };
            let what = format!("another namespace in `{namespace_path}`");
            report_unsupported(reader, what, generate.location_of("namespace"), why);
            return None;
        }
        let condition = |reader: &mut Reader, key: &str, role| {
            filters(reader, &path.field(key), fields.get(key), fields, role, *form)
        };
        let matches = condition(reader, "match", Role::Match);
        let excludes = condition(reader, "exclude", Role::Exclude);
        let condition = Condition::All(vec![matches?, Condition::Not(Box::new(excludes?))]);
        let place = fields.location_of("match");
        let scopes = scopes(reader, &condition, "the `match` and `exclude` of this rule", place)?;
        let data_path = generate_path.field("data");
        let Some(data) = generate.get("data") else {
            let why = "write the NetworkPolicy in `data`";
            report_unsupported(reader, "a generate rule without `data`", generate.location, why);
            return None;
        };
        let data_path = Path::Generated(&data_path);
        let data = reader.object(&data_path, data, &["apiVersion", "kind", "metadata", "spec"])?;
        let mut needs = RequiredLabels::default();
        let name_path = generate_path.field("name");
        let fixed_name = match generate.get("name") {
            Some(node) => needs.of_name(reader, &name_path, node, &JmesPath)?,
            None => {
                reader.require(&name_path, generate.location);
                return None;
            }
        };
        let (mut docs, mut left_out) = (Vec::new(), Vec::new());
        if let Some(metadata) = data.get("metadata") {
            needs.of_strings(reader, metadata, &JmesPath)?;
            let path = data_path.field("metadata");
            if let Some(annotations) = metadata.get("annotations") {
                docs = described(reader, &path, annotations).iter().map(|line| plain(line)).collect();
            }
            left_out = dropped(metadata);
        }
        if docs.is_empty() {
            docs.clone_from(&policy.docs);
        }
        let name = match &fixed_name {
            Some(name) => object_name(reader, &generate_path, name.clone(), generate.location_of("name"))?,
            // A name that depends on the namespace has no fixed value: use the rule's name instead.
            None => {
                let rule = fields.get("name").and_then(Node::as_str).filter(|name| is_subdomain(name));
                rule.unwrap_or(policy.name).to_owned()
            }
        };
        let null = Node { value: Value::Null, location: data.location };
        let place = Place {
            scope: Scope::own(),
            name: format!("{}/{name}", policy.name).into(),
            location: policy.location,
            docs,
        };
        let spec = data.get("spec").unwrap_or(&null);
        let template = Template { spec, path: data_path.field("spec"), whole: whole.location, place };
        let mut read = generated(reader, template, &scopes, &mut needs, &JmesPath)?;
        read.settings = given.settings();
        Some(Imported {
            policy: read,
            short_name: name.into(),
            origin: policy.origin.clone(),
            rule_names: Vec::new(),
            kind: "ClusterPolicy",
            generated: Some(Generated {
                by: (policy.name.to_owned(), policy.location),
                name: fixed_name,
                existing: given.generate_existing.0,
                leaves_defaults: given.leaves_defaults(),
            }),
            dropped: left_out,
            assumes_namespace: false,
        })
    }
}

/// Resolves Kyverno's escapes.
fn plain(text: &str) -> String {
    text.replace("\\{{", "{{").replace("\\$(", "$(")
}
