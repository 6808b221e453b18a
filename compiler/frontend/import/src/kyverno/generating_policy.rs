//! Reads `policies.kyverno.io` GeneratingPolicy with templates.

use npc_diagnostics::{Diagnostic, FileId, Location, Span};
use npc_expand::placeholder::{Segment, scan};
use npc_manifest::{Documents, Fields, Node, Path, Reader, Value};
use npc_program::Scope;
use npc_program::values::name::is_subdomain;

use super::condition::Condition;
use super::expression::{Variables, applies, condition, parse, part};
use super::object::{Part, Placeholders, RequiredLabels, Template, generated, is_name};
use super::settings::{PolicySettings, of_generating_policy};
use super::{generates_network_policies, object_name, report_unsupported, scopes};
use crate::kubernetes::metadata::{self, Metadata, cluster_object, described, dropped};
use crate::kubernetes::network_policy::Place;
use crate::{Generated, Imported};

/// Reads the NetworkPolicies that a GeneratingPolicy generates. `text` is the whole file.
pub(crate) fn generating_policy(reader: &mut Reader, node: &Node, text: &str) -> Option<Vec<Imported>> {
    let known = [
        "auditAnnotations",
        "evaluation",
        "webhookConfiguration",
        "matchConstraints",
        "matchConditions",
        "variables",
        "generate",
        "useServerSideApply",
    ];
    let (metadata, spec) = cluster_object(reader, node, metadata::Scope::ClusterIgnoringNamespace, &known)?;
    let path = Path::Root.field("spec");
    let takes = takes_namespaces(reader, &path.field("matchConstraints"), &spec);
    let variables: Variables = named(reader, &path, &spec, "variables")?
        .into_iter()
        .map(|(name, _, expression)| (name, expression))
        .collect();
    let mut conditions = Vec::new();
    for (name, place, expression) in named(reader, &path, &spec, "matchConditions")? {
        match condition(&expression, &variables) {
            Ok(condition) => conditions.push(condition),
            Err(why) => {
                report_unsupported(reader, format!("the condition `{name}`"), place, why);
                return None;
            }
        }
    }
    let place = spec.location_of("matchConditions");
    let scopes = scopes(reader, &Condition::All(conditions), "these `matchConditions`", place)?;
    let generate_path = path.field("generate");
    let Some(generate) = spec.get("generate") else {
        reader.require(&generate_path, spec.location);
        return None;
    };
    let list = reader.list(&generate_path, generate)?;
    if list.is_empty() {
        reader.report_invalid(&generate_path, generate.location, "must have at least one item");
        return None;
    }
    let (metadata, _) = (metadata?, takes?);
    let settings = of_generating_policy(reader, &path, &spec, metadata.location)?;
    let mut imported = Vec::new();
    // A template that fails stops those after it, so each template also needs the labels of those before it.
    let mut needs = RequiredLabels::default();
    let policy = Templates { metadata: &metadata, whole: node, scopes: &scopes, settings: &settings };
    for (index, generation) in list.iter().enumerate() {
        let path = generate_path.index(index);
        let fields = reader.object(&path, generation, &["template", "expression"])?;
        if let Some(node) = fields.get("expression") {
            let apply = node.as_str().and_then(|text| parse(text).ok()).is_some_and(|expr| applies(&expr));
            let why = if apply {
                "npc does not read objects that an expression creates: write them as a `template`"
            } else {
                "npc reads only a `template`"
            };
            report_unsupported(reader, format!("`{}`", path.field("expression")), node.location, why);
            return None;
        }
        let path = path.field("template");
        let Some(template) = fields.get("template") else {
            reader.require(&path, fields.location);
            return None;
        };
        let template = reader.object(&path, template, &["interpolate", "value"])?;
        let interpolate = template.get("interpolate").and_then(Node::as_str).unwrap_or("");
        let value_path = path.field("value");
        let Some(value) = template.get("value") else {
            reader.require(&value_path, template.location);
            return None;
        };
        let inner = reader.string(&value_path, value)?;
        let mut documents = Documents::parse(value.location.file, inner);
        reader
            .diagnostics
            .extend(documents.diagnostics.drain(..).map(|found| moved(found, value, inner, text)));
        let placeholders = Cel { variables: &variables, interpolate: interpolate == "cel" };
        let is_object = |document: &Node| matches!(document.value, Value::Map(_));
        if let Some(other) = documents.list.iter().find(|document| !is_object(document)) {
            let why = format!("expected an object, found {}", other.value.kind());
            reader.report_invalid(&value_path, value.location, why);
            return None;
        }
        for document in &mut documents.list {
            relocate(document, value.location, inner, text);
            needs.of_strings(reader, document, &placeholders)?;
        }
        for document in &documents.list {
            imported.extend(policy.read(reader, document, &mut needs, &placeholders)?);
        }
    }
    Some(imported)
}

/// The parts of a policy that its templates have in common.
struct Templates<'p, 'n> {
    metadata: &'p Metadata<'n>,
    whole: &'n Node,
    scopes: &'p [Scope],
    settings: &'p PolicySettings,
}

impl Templates<'_, '_> {
    /// Reads one object of a template. `Some(None)` if it is of another kind.
    fn read(
        &self,
        reader: &mut Reader,
        node: &Node,
        needs: &mut RequiredLabels,
        placeholders: &Cel<'_>,
    ) -> Option<Option<Imported>> {
        let policy = self.metadata;
        let text = |key: &str| node.get(key).and_then(Node::as_str).unwrap_or("");
        let place = node.get("kind").map_or(node.location, |kind| kind.location);
        let kinds = [(text("apiVersion"), text("kind"), place)];
        if !generates_network_policies(reader, "this template", &kinds) {
            return Some(None);
        }
        let root = Path::Generated(&Path::Root);
        let fields = reader.object(&root, node, &["apiVersion", "kind", "metadata", "spec"])?;
        let metadata_path = root.field("metadata");
        let Some(metadata) = fields.get("metadata") else {
            reader.require(&metadata_path.field("name"), fields.location);
            return None;
        };
        let namespace = metadata.get("namespace");
        if !namespace.and_then(Node::as_str).is_some_and(|text| is_name(text, placeholders)) {
            let place = namespace.map_or(metadata.location, |node| node.location);
            let why = "use `(( object.metadata.name ))`, the trigger namespace";
            report_unsupported(reader, "this namespace of a generated object", place, why);
            return None;
        }
        let mut docs: Vec<String> = Vec::new();
        if let Some(annotations) = metadata.get("annotations") {
            docs = described(reader, &metadata_path, annotations);
            docs.iter_mut().for_each(|line| *line = line.replace("\\((", "(("));
        }
        if docs.is_empty() {
            docs.clone_from(&policy.docs);
        }
        let name_path = metadata_path.field("name");
        let Some(name_node) = metadata.get("name") else {
            reader.require(&name_path, metadata.location);
            return None;
        };
        let fixed_name = needs.of_name(reader, &name_path, name_node, placeholders)?;
        let name = match &fixed_name {
            Some(name) => object_name(reader, &metadata_path, name.clone(), name_node.location)?,
            // A name that depends on the namespace has no fixed value: use the literal text before the first
            // placeholder.
            None => {
                let text = name_node.as_str().unwrap_or("");
                let common = text.split("((").next().unwrap_or("").trim_end_matches(['-', '.']);
                if is_subdomain(common) { common } else { policy.name }.to_owned()
            }
        };
        let null = Node { value: Value::Null, location: node.location };
        let place = Place {
            scope: Scope::own(),
            name: format!("{}/{name}", policy.name).into(),
            location: policy.location,
            docs,
        };
        let spec = fields.get("spec").unwrap_or(&null);
        let template = Template { spec, path: root.field("spec"), whole: self.whole.location, place };
        let mut read = generated(reader, template, self.scopes, needs, placeholders)?;
        read.settings = self.settings.settings();
        Some(Some(Imported {
            policy: read,
            short_name: name.into(),
            origin: policy.origin.clone(),
            rule_names: Vec::new(),
            kind: "GeneratingPolicy",
            generated: Some(Generated {
                by: (policy.name.to_owned(), policy.location),
                name: fixed_name,
                existing: self.settings.generate_existing.0,
                leaves_defaults: self.settings.leaves_defaults(),
            }),
            dropped: dropped(metadata),
            assumes_namespace: false,
        }))
    }
}

/// Checks that the policy matches the creation of namespaces, and has no other match constraints that matter.
fn takes_namespaces(reader: &mut Reader, path: &Path<'_>, spec: &Fields<'_>) -> Option<()> {
    let Some(node) = spec.get("matchConstraints") else {
        reader.require(path, spec.location);
        return None;
    };
    let known =
        ["resourceRules", "excludeResourceRules", "namespaceSelector", "objectSelector", "matchPolicy"];
    let fields = reader.object(path, node, &known)?;
    for (key, why) in [
        ("excludeResourceRules", "select the namespaces with `matchConditions` instead"),
        (
            "namespaceSelector",
            "Kyverno keeps objects in namespaces that it no longer selects: use `matchConditions`",
        ),
        (
            "objectSelector",
            "Kyverno keeps objects in namespaces that it no longer selects: use `matchConditions`",
        ),
    ] {
        let Some(node) = fields.get(key) else { continue };
        let empty = matches!(&node.value, Value::Map(entries) if entries.is_empty());
        if !empty {
            report_unsupported(reader, format!("`{}`", path.field(key)), node.location, why);
            return None;
        }
    }
    let rules_path = path.field("resourceRules");
    let Some(node) = fields.get("resourceRules") else {
        reader.require(&rules_path, fields.location);
        return None;
    };
    let rules = reader.list(&rules_path, node)?;
    for (index, rule) in rules.iter().enumerate() {
        let path = rules_path.index(index);
        let lists = ["apiGroups", "apiVersions", "resources", "operations", "resourceNames"];
        let fields = reader.object(&path, rule, &[&lists[..], &["scope"]].concat())?;
        for key in lists {
            let Some(node) = fields.get(key) else { continue };
            let path = path.field(key);
            for (index, one) in reader.list(&path, node)?.iter().enumerate() {
                reader.string(&path.index(index), one)?;
            }
        }
    }
    let has = |rule: &Node, key: &str, wanted: &str| match rule.get(key).map(|node| &node.value) {
        Some(Value::List(list)) => {
            list.iter().any(|one| matches!(one.as_str(), Some(text) if text == wanted || text == "*"))
        }
        _ => false,
    };
    let takes = |rule: &Node| {
        has(rule, "apiGroups", "")
            && has(rule, "apiVersions", "v1")
            && has(rule, "resources", "namespaces")
            && has(rule, "operations", "CREATE")
            && rule.get("resourceNames").is_none()
    };
    if rules.iter().any(takes) {
        return Some(());
    }
    let why = "a rule must match the creation of `namespaces` of the core group, version v1";
    report_unsupported(reader, "a policy that does not match the creation of namespaces", node.location, why);
    None
}

/// Reads a list of named expressions: the name, the location and the expression of each.
fn named(
    reader: &mut Reader,
    path: &Path<'_>,
    spec: &Fields<'_>,
    key: &str,
) -> Option<Vec<(String, Location, cel::common::ast::Expr)>> {
    let path = path.field(key);
    let list = match spec.get(key) {
        Some(node) => reader.list(&path, node)?,
        None => return Some(Vec::new()),
    };
    let mut all = Vec::with_capacity(list.len());
    for (index, node) in list.iter().enumerate() {
        let path = path.index(index);
        let fields = reader.object(&path, node, &["name", "expression"])?;
        let mut read = |key: &str| match fields.get(key) {
            Some(node) => reader.string(&path.field(key), node).map(|text| (text.to_owned(), node.location)),
            None => {
                reader.require(&path.field(key), fields.location);
                None
            }
        };
        let ((name, _), (expression, place)) = (read("name")?, read("expression")?);
        match parse(&expression) {
            Ok(parsed) => all.push((name, place, parsed)),
            Err(why) => {
                let why = why.lines().next().unwrap_or_default().to_owned();
                reader.report_invalid(
                    &path.field("expression"),
                    place,
                    format!("not a CEL expression: {why}"),
                );
                return None;
            }
        }
    }
    Some(all)
}

/// The placeholders `(( ))` with CEL.
struct Cel<'v> {
    variables: &'v Variables,
    /// Whether the template is interpolated.
    interpolate: bool,
}

impl Placeholders for Cel<'_> {
    fn parts(&self, text: &str) -> Result<Vec<Part>, String> {
        if !self.interpolate {
            return Ok(vec![Part::Text(text.to_owned())]);
        }
        let segments = scan(text)?;
        let parts = segments.into_iter().map(|segment| match segment {
            Segment::Literal(text) => Ok(Part::Text(text)),
            Segment::Expression(expression) => {
                let parsed = parse(&expression).map_err(|why| {
                    format!("not a CEL expression: {}", why.lines().next().unwrap_or_default())
                })?;
                part(&parsed, self.variables).map_err(|why| format!("`{expression}`: {why}"))
            }
        });
        let parts: Vec<Part> = parts.collect::<Result<_, String>>()?;
        Ok(if parts.is_empty() { vec![Part::Text(String::new())] } else { parts })
    }
}

/// Changes the locations in a node from the inner text to the file. The inner text is a block scalar, whose
/// lines are indented in the file.
fn relocate(node: &mut Node, value: Location, inner: &str, text: &str) {
    let map = |location: Location| outer(location, value, inner, text);
    node.location = map(node.location);
    match &mut node.value {
        Value::List(list) => list.iter_mut().for_each(|one| relocate(one, value, inner, text)),
        Value::Map(entries) => {
            for entry in entries {
                entry.location = map(entry.location);
                relocate(&mut entry.node, value, inner, text);
            }
        }
        _ => {}
    }
}

/// A diagnostic about the inner text, with its locations changed to the file.
fn moved(mut found: Diagnostic, value: &Node, inner: &str, text: &str) -> Diagnostic {
    for label in &mut found.labels {
        label.location = outer(label.location, value.location, inner, text);
    }
    found
}

/// The location in the file of a location in the inner text, or the whole value if that is not a block
/// scalar.
fn outer(location: Location, value: Location, inner: &str, text: &str) -> Location {
    let file: FileId = value.file;
    let block = text.get(value.span.range()).unwrap_or_default();
    // The lines of a block scalar begin after the line with its indicator (`|` or `>`).
    let Some((_, lines)) = block.split_once('\n') else { return value };
    if !block.starts_with(['|', '>']) {
        return value;
    }
    let first = lines.len() - lines.trim_start_matches([' ', '\n', '\r']).len();
    let indent = lines.get(..first).and_then(|ahead| ahead.rsplit('\n').next()).map_or(0, str::len);
    let begin = value.span.start as usize + (block.len() - lines.len());
    let place = |offset: u32| {
        let before = inner.get(..offset as usize)?;
        let line = before.matches('\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        let mut start = begin;
        for _ in 0..line {
            start += text.get(start..)?.find('\n')? + 1;
        }
        Some((start + indent + column) as u32)
    };
    match (place(location.span.start), place(location.span.end)) {
        (Some(start), Some(end)) if start <= end => Location::new(file, Span::new(start, end)),
        _ => value,
    }
}
