//! `textDocument/inlayHint`: the number of selected pods, and the members of sets.

use std::sync::Arc;

use npc_diagnostics::{Location, Span};
use npc_program::{Meaning, Peer, PodTerm, Policy};
use npc_syntax::{Role, visit_words};
use tower_lsp::ls_types::{InlayHint, InlayHintKind, InlayHintLabel, InlayHintTooltip};

use crate::capability::hover::pods;
use crate::convert::{Places, position};
use crate::core::selected;

/// The maximum number of characters of a hint with the members of a set.
const MOST: usize = 40;

pub(crate) fn hints(places: Places<'_>, file: usize, within: Span) -> Vec<InlayHint> {
    let program = places.program;
    let Some(id) = program.files().get(file).map(|own| own.id) else { return Vec::new() };
    let text = program.text(id);
    let mut found = Vec::new();
    let mut add = |at: u32, label: String, tooltip: Option<String>| {
        found.push(InlayHint {
            position: position(text, at, places.encoding),
            label: InlayHintLabel::String(label),
            kind: Some(InlayHintKind::TYPE),
            text_edits: None,
            tooltip: tooltip.filter(|own| !own.is_empty()).map(InlayHintTooltip::String),
            padding_left: Some(true),
            padding_right: None,
            data: None,
        });
    };
    let touches = |span: Span| span.start <= within.end && within.start <= span.end;
    if let Some(cluster) = program.cluster.as_deref() {
        let mut one = |term: &PodTerm| {
            let Location { file: own, span } = program.absolute(term.location);
            if own == id
                && touches(span)
                && let Some(selected) = selected::pods(cluster, term)
            {
                let names: Vec<String> =
                    selected.iter().take(10).map(|pod| selected::name(cluster, pod)).collect();
                let more = if selected.len() > names.len() { ", …" } else { "" };
                add(span.end, pods(selected.len()), Some(format!("{}{more}", names.join(", "))));
            }
        };
        let here = |own: &&Arc<Policy>| program.absolute(own.location).file == id;
        for policy in program.checked.program.policies.iter().filter(here) {
            // Terms that come from a set are counted at the set's definition.
            let own = |term: &&PodTerm| term.location.file == policy.location.file;
            policy.subjects.iter().map(|term| &**term).filter(own).for_each(&mut one);
            let peers = policy.rules.iter().flat_map(|rule| &rule.peers);
            let terms =
                peers.filter_map(|peer| if let Peer::Pods(term) = peer { Some(&**term) } else { None });
            terms.filter(own).for_each(&mut one);
        }
        for set in program.checked.names.sets.iter().filter(|set| set.file == file) {
            if let npc_program::Value::Pods(list) = &set.value {
                let item = program.files().get(file).and_then(|own| own.parsed.tree.items.get(set.item));
                let own = |term: &&PodTerm| {
                    let start = program.absolute(term.location).span.start;
                    item.is_some_and(|item| item.span.touches(start))
                };
                list.iter().map(|term| &**term).filter(own).for_each(&mut one);
            }
        }
    }
    for item in program.files().get(file).into_iter().flat_map(|own| &own.parsed.tree.items) {
        if !touches(item.span) {
            continue;
        }
        visit_words(item, &mut |role, word| {
            if !touches(word.span) || !matches!(role, Role::Member | Role::Address | Role::Port | Role::End) {
                return;
            }
            let name = program.says(file, word);
            let Some(Meaning::Set(set)) = program.checked.names.meaning(file, &name) else { return };
            let Some(set) = program.checked.names.sets.get(set) else { return };
            let members = program.members(set);
            let label = match program.pods_of(set) {
                Some(count) => pods(count),
                None => short(&members),
            };
            if !label.is_empty() {
                add(word.span.end, label, Some(members.join("\n")));
            }
        });
    }
    found.sort_by_key(|hint| (hint.position.line, hint.position.character));
    found
}

/// As many members as fit.
fn short(members: &[String]) -> String {
    let mut out = String::new();
    for one in members {
        let comma = if out.is_empty() { "" } else { ", " };
        if out.chars().count() + one.chars().count() > MOST {
            return if out.is_empty() { out } else { out + ", …" };
        }
        out.push_str(comma);
        out.push_str(one);
    }
    out
}
