//! `kyverno.io/v1` ClusterPolicy with generate rules.

use std::sync::Arc;

use jmespath::ast::Ast;
use npc_diagnostics::Diagnostic;
use npc_manifest::{Fields, Node, Path, Reader, Value};
use npc_program::Scope;
use npc_program::values::name::is_subdomain;

use super::condition::Condition;
use super::object::{Placeholders, Read, generated};
use super::{OTHER_OBJECT, not_carried, object_name};
use crate::Imported;
use crate::kubernetes::metadata::{Metadata, cluster_object, described};
use crate::kubernetes::network_policy::Place;
use crate::kubernetes::selector::{Checked, selector};

/// The fields of `spec` that change nothing of what is generated, in current and in old places.
const PASSED: [&str; 16] = [
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
    "synchronize",
];

/// Reads the NetworkPolicies that a ClusterPolicy generates.
pub(crate) fn cluster_policy(reader: &mut Reader, node: &Node) -> Option<Vec<Imported>> {
    let (metadata, spec) = cluster_object(reader, node, &PASSED)?;
    let path = Path::Root.field("spec");
    let rules_path = path.field("rules");
    let rules = match spec.get("rules") {
        Some(node) => reader.list(&rules_path, node)?,
        None => &[],
    };
    if rules.is_empty() {
        reader.refuse(&rules_path, spec.location, "a policy has rules");
        return None;
    }
    if rules.len() > 1
        && let Some(apply) = spec.get("applyRules").filter(|node| node.as_str() == Some("One"))
    {
        not_carried(
            reader,
            "that only the first rule which matches is applied",
            apply.location,
            "leave out `applyRules: One`",
        );
        return None;
    }
    let metadata = metadata?;
    let mut imported = Some(Vec::new());
    for (index, rule) in rules.iter().enumerate() {
        let read = self::rule(reader, &rules_path.index(index), rule, &metadata, node);
        imported = imported.zip(read).map(|(mut all, read)| {
            all.extend(read);
            all
        });
    }
    imported
}

/// Reads a rule: the policies that it generates; none where it generates other objects.
fn rule(
    reader: &mut Reader,
    path: &Path<'_>,
    node: &Node,
    policy: &Metadata<'_>,
    whole: &Node,
) -> Option<Vec<Imported>> {
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
    for other in ["validate", "mutate", "verifyImages", "preconditions", "celPreconditions", "context"] {
        if let Some(node) = fields.get(other) {
            let why = match other {
                "preconditions" | "celPreconditions" => {
                    "say in `match` and `exclude` which namespaces are meant"
                }
                "context" => "what is looked up while the policy runs is not known before",
                _ => "only rules that generate are read",
            };
            not_carried(reader, format!("`{}`", path.field(other)), node.location, why);
            return None;
        }
    }
    let generate_path = path.field("generate");
    let Some(generate) = fields.get("generate") else {
        reader.require(&generate_path, fields.location);
        return None;
    };
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
    for other in ["clone", "cloneList", "foreach"] {
        if let Some(node) = generate.get(other) {
            let why = "what it makes is not known before it runs";
            not_carried(reader, format!("`{}`", generate_path.field(other)), node.location, why);
            return None;
        }
    }
    let text = |key: &str| generate.get(key).and_then(Node::as_str);
    let (version, kind) = (text("apiVersion").unwrap_or(""), text("kind").unwrap_or(""));
    if (version, kind) != ("networking.k8s.io/v1", "NetworkPolicy") {
        reader.diagnostics.push(Diagnostic::new(
            &OTHER_OBJECT,
            "this rule makes no NetworkPolicy, and has no part in the program",
            generate.location_of("kind"),
            format!("makes `{kind}`"),
        ));
        return Some(Vec::new());
    }
    let namespace_path = generate_path.field("namespace");
    match text("namespace").map(|text| (JmesPath.read(text), text)) {
        Some((Read::Name, _)) => {}
        other => {
            let why = match other {
                Some((_, text)) => format!("`{text}` is not the namespace that is looked at"),
                None => "the namespace that is looked at is `{{request.object.metadata.name}}`".to_owned(),
            };
            let what = format!("`{namespace_path}` of another kind");
            not_carried(reader, what, generate.location_of("namespace"), why);
            return None;
        }
    }
    let matches = filters(reader, &path.field("match"), &fields, "match");
    let excludes = match fields.get("exclude") {
        Some(_) => filters(reader, &path.field("exclude"), &fields, "exclude"),
        None => Some(Condition::Constant(false)),
    };
    let condition = Condition::All(vec![matches?, Condition::Not(Box::new(excludes?))]);
    let scopes = match condition.scopes() {
        Ok(scopes) => scopes,
        Err(why) => {
            not_carried(reader, "which namespaces this rule matches", fields.location_of("match"), why);
            return None;
        }
    };
    let data_path = generate_path.field("data");
    let Some(data) = generate.get("data") else {
        reader.require(&data_path, generate.location);
        return None;
    };
    let data = reader.object(&data_path, data, &["apiVersion", "kind", "metadata", "spec"])?;
    let docs = data
        .get("metadata")
        .and_then(|metadata| metadata.get("annotations"))
        .map(|annotations| described(reader, &data_path.field("metadata"), annotations))
        .map(|docs| docs.iter().map(|line| plain(line)).collect())
        .filter(|docs: &Vec<String>| !docs.is_empty())
        .unwrap_or_else(|| policy.docs.clone());
    let name = match text("name").map(|name| JmesPath.read(name)) {
        Some(Read::Text(name)) => object_name(reader, &generate_path, name, generate.location_of("name"))?,
        // A name that depends on the namespace is another one in each: the rule's stands for all.
        _ => {
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
    let spec_path = data_path.field("spec");
    let origin = policy.origin.clone();
    let policy = generated(reader, &spec_path, spec, whole.location, place, &scopes, &JmesPath)?;
    let (short_name, rule_names) = (name.into(), Vec::new());
    Some(vec![Imported { policy, short_name, origin, rule_names, kind: "ClusterPolicy" }])
}

/// Text of a value that was escaped for Kyverno.
fn plain(text: &str) -> String {
    text.replace("\\{{", "{{").replace("\\$(", "$(")
}

/// Reads `match` or `exclude`.
fn filters(reader: &mut Reader, path: &Path<'_>, rule: &Fields<'_>, key: &str) -> Option<Condition> {
    let exclude = key == "exclude";
    let Some(node) = rule.get(key) else {
        reader.require(path, rule.location);
        return None;
    };
    let known = ["any", "all", "resources", "subjects", "roles", "clusterRoles"];
    let fields = reader.object(path, node, &known)?;
    let list = |reader: &mut Reader, key: &str| {
        let path = path.field(key);
        let node = fields.get(key)?;
        let list = reader.list(&path, node)?;
        let conditions =
            list.iter().enumerate().map(|(index, one)| filter(reader, &path.index(index), one, exclude));
        conditions.collect::<Option<Vec<Condition>>>()
    };
    match (fields.get("any"), fields.get("all")) {
        (Some(_), None) => list(reader, "any").map(Condition::Any),
        (None, Some(_)) => list(reader, "all").map(Condition::All),
        (None, None) => filter(reader, path, node, exclude),
        (Some(_), Some(_)) => {
            reader.refuse(path, fields.location, "`any` and `all` cannot stand together");
            None
        }
    }
}

/// Reads one filter: the condition that a namespace is one that it takes.
fn filter(reader: &mut Reader, path: &Path<'_>, node: &Node, exclude: bool) -> Option<Condition> {
    let fields = reader.object(path, node, &["resources", "subjects", "roles", "clusterRoles"])?;
    for who in ["subjects", "roles", "clusterRoles"] {
        if let Some(node) = fields.get(who) {
            let why = "who makes a namespace is not known of those that are there";
            not_carried(reader, format!("`{}`", path.field(who)), node.location, why);
            return None;
        }
    }
    let path = path.field("resources");
    let Some(node) = fields.get("resources") else {
        reader.require(&path, fields.location);
        return None;
    };
    let known = [
        "kinds",
        "name",
        "names",
        "namespaces",
        "annotations",
        "selector",
        "namespaceSelector",
        "operations",
    ];
    let fields = reader.object(&path, node, &known)?;
    for (key, why) in [
        ("namespaces", "it takes new namespaces and never those that exist: use `names`"),
        ("namespaceSelector", "it never takes a namespace: use `selector`"),
        ("annotations", "the language selects namespaces by names and labels"),
        ("operations", "it passes over the namespaces that exist"),
    ] {
        if let Some(node) = fields.get(key) {
            not_carried(reader, format!("`{}`", path.field(key)), node.location, why);
            return None;
        }
    }
    let kinds_path = path.field("kinds");
    let kinds = match fields.get("kinds") {
        Some(node) => strings(reader, &kinds_path, node)?,
        None => Vec::new(),
    };
    let is_namespace = |kind: &Arc<str>| matches!(&**kind, "Namespace" | "v1/Namespace" | "*/Namespace");
    if exclude {
        // Without kinds it leaves out objects of every kind; of other kinds, no namespace.
        if !kinds.is_empty() && !kinds.iter().any(is_namespace) {
            return Some(Condition::Constant(false));
        }
    } else if kinds.is_empty() || !kinds.iter().all(is_namespace) {
        let what = "a rule that looks at other objects than namespaces";
        not_carried(reader, what, fields.location_of("kinds"), "the kind must be `Namespace`");
        return None;
    }
    let mut all = Vec::new();
    let mut names = match fields.get("names") {
        Some(node) => strings(reader, &path.field("names"), node)?,
        None => Vec::new(),
    };
    if let Some(name) = fields.get("name") {
        names.push(reader.string(&path.field("name"), name)?.into());
    }
    if !names.is_empty() {
        all.push(Condition::Name(names));
    }
    if let Some(node) = fields.get("selector") {
        if let Some(wild) = wildcard(node) {
            let why = "it takes new namespaces and never those that exist";
            not_carried(reader, "a wildcard in a selector", wild.location, why);
            return None;
        }
        let selector = selector(reader, &path.field("selector"), node, Checked::ByTheServer)?;
        all.push(Condition::selector(&selector));
    }
    Some(Condition::All(all))
}

/// A value with a wildcard in a selector.
fn wildcard(node: &Node) -> Option<&Node> {
    match &node.value {
        Value::String(text) => text.contains(['*', '?']).then_some(node),
        Value::List(list) => list.iter().find_map(wildcard),
        Value::Map(entries) => entries.iter().find_map(|entry| wildcard(&entry.node)),
        _ => None,
    }
}

fn strings(reader: &mut Reader, path: &Path<'_>, node: &Node) -> Option<Vec<Arc<str>>> {
    let list = reader.list(path, node)?;
    list.iter()
        .enumerate()
        .map(|(index, one)| reader.string(&path.index(index), one).map(Arc::from))
        .collect()
}

/// `{{ }}` with JMESPath.
struct JmesPath;

impl Placeholders for JmesPath {
    fn read(&self, text: &str) -> Read {
        let unescaped = text.replace("\\{{", "");
        if !unescaped.contains("{{") {
            return if unescaped.replace("\\$(", "").contains("$(") && is_reference(&unescaped) {
                Read::Other
            } else {
                Read::Text(plain(text))
            };
        }
        let inner = text
            .trim()
            .strip_prefix("{{")
            .and_then(|rest| rest.strip_suffix("}}"))
            .filter(|inner| text.trim() == text && !inner.contains("{{") && !inner.contains("}}"));
        let Some(ast) = inner.and_then(|inner| jmespath::parse(inner.trim()).ok()) else {
            return Read::Other;
        };
        let (ast, has_default) = match &ast {
            // An empty value stands for a label that is missing.
            Ast::Or { lhs, rhs, .. } if matches!(&**rhs, Ast::Literal { value, .. } if value.as_string().is_some_and(String::is_empty)) => {
                (&**lhs, true)
            }
            other => (other, false),
        };
        let mut steps = Vec::new();
        if !fields(ast, &mut steps) {
            return Read::Other;
        }
        match steps.as_slice() {
            ["request", "object", "metadata", "name"] => Read::Name,
            ["request", "object", "metadata", "labels", key] => {
                Read::Label { key: Arc::from(*key), has_default }
            }
            _ => Read::Other,
        }
    }
}

/// Whether Kyverno takes a `$(` of the text for a reference.
fn is_reference(text: &str) -> bool {
    text.split("$(").skip(1).any(|behind| {
        let mut rest = behind.chars();
        rest.next().is_some_and(|first| first != '\n') && rest.find(|c| matches!(c, ' ' | ')')) == Some(')')
    })
}

/// The fields of a path `a.b.c`; whether the expression is one.
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
