//! `textDocument/hover`: members of sets, meaning and compiled form of policies, descriptions of codes and
//! keywords.

use std::sync::Arc;

use npc_diagnostics::{Location, Span};
use npc_program::{Policy, SETTINGS};
use npc_syntax::{Object, Role};
use tower_lsp::ls_types::{Hover, HoverContents, MarkupContent, MarkupKind};

use crate::convert::{self, Places};
use crate::core::describe::keyword;
use crate::core::program::{Found, Program};
use crate::core::selected;
use crate::core::symbol::Symbol;

pub(crate) fn hover(places: Places<'_>, file: usize, offset: u32) -> Option<Hover> {
    let program = places.program;
    let (mut parts, mut span) = (Vec::new(), None);
    if let Some(found) = program.word(file, offset) {
        let text = word(program, &found, offset);
        if !text.is_empty() {
            (parts, span) = (text, Some(found.word.span));
        }
    } else if let Some((text, place)) = token(program, file, offset) {
        (parts, span) = (vec![text], Some(place));
    }
    let id = program.files().get(file)?.id;
    let here = |place: &Location| place.file == id && place.span.touches(offset);
    let mut codes = Vec::new();
    for found in &program.checked.report.diagnostics {
        if let Some(place) = found.location().filter(here)
            && !codes.contains(&found.code.id)
        {
            codes.push(found.code.id);
            span = span.or(Some(place.span));
            parts.push(found.code.explained().trim_end().replacen("# ", "### ", 1));
        }
    }
    let value = parts.join("\n\n---\n\n");
    let range = span.map(|span| convert::range(program.text(id), span, places.encoding));
    let contents = HoverContents::Markup(MarkupContent { kind: MarkupKind::Markdown, value });
    (!parts.is_empty()).then_some(Hover { contents, range })
}

fn word(program: &Program, found: &Found<'_>, offset: u32) -> Vec<String> {
    if let Role::Setting | Role::SettingValue { .. } = found.role {
        let name = match found.role {
            Role::SettingValue { of } => of,
            _ => found.word,
        };
        let name = program.says(found.file, name);
        let setting = SETTINGS.iter().find(|setting| setting.name == name);
        let text = setting.map(|own| format!("`{}`: {} Default: `{}`.", own.name, own.about, own.default));
        return text.into_iter().collect();
    }
    let Some((symbol, _)) = program.symbol(found.file, offset) else {
        return address(&program.says(found.file, found.word)).into_iter().collect();
    };
    match symbol {
        Symbol::Set(set) => set_parts(program, set),
        Symbol::Policy(_) => {
            let docs = program.docs(found.file, offset);
            let policy = program.policy(found.file, offset);
            policy.map(|policy| policy_parts(program, policy, docs)).unwrap_or_default()
        }
        Symbol::Namespace(name) => vec![namespace(program, &name)],
        Symbol::Label { of, key, value } => vec![label(program, of, &key, value.as_deref())],
        Symbol::File(file) => {
            let docs = program.files().get(file).map(|own| (&own.parsed.tree.docs, program.source(file)));
            let docs = docs.into_iter().flat_map(|(docs, text)| {
                docs.iter().map(move |span| span.of(text).trim_start_matches("//!").trim())
            });
            let docs: Vec<&str> = docs.collect();
            if docs.is_empty() { Vec::new() } else { vec![docs.join("\n")] }
        }
        Symbol::TestPod { namespace, pod, .. } => vec![format!("The pod `{namespace}/{pod}` of this test.")],
    }
}

fn set_parts(program: &Program, set: usize) -> Vec<String> {
    let Some(set) = program.checked.names.sets.get(set) else { return Vec::new() };
    let item = program.files().get(set.file).and_then(|file| file.parsed.tree.items.get(set.item));
    let mut parts = Vec::new();
    if let Some(item) = item {
        let text = item.span.of(program.source(set.file));
        parts.push(format!("```np\n{text}\n```"));
        let docs = program.docs(set.file, set.location.span.start);
        if !docs.is_empty() {
            parts.push(docs);
        }
    }
    let members = program.members(set);
    if !members.is_empty() {
        let mut text = format!("A set of {}:\n", set.value.kind());
        members.iter().for_each(|one| text.push_str(&format!("\n- `{one}`")));
        if let Some(count) = program.pods_of(set) {
            text.push_str(&format!("\n\n{} in the cluster file.", pods(count)));
        }
        parts.push(text);
    }
    parts
}

fn policy_parts(program: &Program, policy: &Arc<Policy>, docs: String) -> Vec<String> {
    let mut parts = vec![program.sentence(policy)];
    if !docs.is_empty() {
        parts.push(docs);
    }
    let terms = policy.subjects.iter().map(|term| &**term);
    if let Some(selected) = program.cluster.as_deref().and_then(|cluster| selected::any(cluster, terms)) {
        parts.push(format!("{} in the cluster file.", pods(selected.len())));
    }
    if let Some((target, yaml)) = program.yaml_of(policy) {
        parts.push(format!("Compiled for `{target}`:\n\n```yaml\n{yaml}\n```"));
    }
    parts
}

/// "1 pod", "2 pods"
pub(crate) fn pods(count: usize) -> String {
    if count == 1 { "1 pod".to_owned() } else { format!("{count} pods") }
}

fn namespace(program: &Program, name: &str) -> String {
    if name.contains(['*', '?']) {
        let known = program.cluster.iter().flat_map(|cluster| &cluster.namespaces);
        let meant: Vec<String> = known
            .filter(|own| npc_program::values::name::glob_matches(name, &own.name))
            .map(|own| format!("`{}`", own.name))
            .collect();
        let meant = if meant.is_empty() { String::new() } else { format!(": {}", meant.join(", ")) };
        return format!("Namespaces whose names match `{name}`{meant}.");
    }
    let mut text = format!("The namespace `{name}`");
    let Some(cluster) = &program.cluster else { return text + "." };
    let Some((place, own)) = cluster.namespace(name).and_then(|at| Some((at, cluster.namespaces.get(at)?)))
    else {
        return text + ". It is not in the cluster file.";
    };
    let count = cluster.pods.iter().filter(|pod| pod.namespace == place).count();
    text.push_str(&format!(", with {} in the cluster file. Its labels:\n", pods(count)));
    own.labels.iter().for_each(|(key, value)| text.push_str(&format!("\n- `{key} = {value}`")));
    text
}

fn label(program: &Program, of: Object, key: &str, value: Option<&str>) -> String {
    let (what, whose) = match of {
        Object::Pod => ("pods", "pod"),
        Object::Namespace => ("namespaces", "namespace"),
    };
    let written = value.map_or_else(|| format!("`{key}`"), |value| format!("`{key} = {value}`"));
    let mut text = format!("The {whose} label {written}");
    let Some(cluster) = &program.cluster else { return text + "." };
    let fits = |own: Option<&String>| own.is_some_and(|own| value.is_none_or(|value| own == value));
    let count = match of {
        Object::Pod => cluster.pods.iter().filter(|pod| fits(pod.labels.get(key))).count(),
        Object::Namespace => cluster.namespaces.iter().filter(|own| fits(own.labels.get(key))).count(),
    };
    text.push_str(&format!(": {count} {what} in the cluster file."));
    text
}

/// The size and bounds of a CIDR.
fn address(text: &str) -> Option<String> {
    if !npc_program::values::address::looks_like_address(text) {
        return None;
    }
    let place = Location::new(npc_diagnostics::FileId(0), Span::default());
    let net = npc_program::values::address::parse(text, place).ok()?;
    let host = net.max_prefix_len() - net.prefix_len();
    if host == 0 {
        return Some(format!("The address `{}`.", net.addr()));
    }
    let many = if host < 64 { (1u128 << host).to_string() } else { format!("2^{host}") };
    Some(format!("{many} addresses, from `{}` to `{}`.", net.network(), net.broadcast()))
}

/// The description of a keyword.
fn token(program: &Program, file: usize, offset: u32) -> Option<(String, Span)> {
    let tokens = &program.files().get(file)?.parsed.tokens;
    let at = tokens.partition_point(|token| token.span.0.end <= offset);
    let token = tokens.get(at).filter(|token| token.span.0.touches(offset))?;
    let (word, about) = (token.kind.keyword()?, keyword(token.kind)?);
    Some((format!("**{word}**: {about}"), token.span.0))
}
