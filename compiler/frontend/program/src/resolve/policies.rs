//! Resolves all policies in parallel, and reuses those that the memo table has.

use std::sync::Arc;

use npc_syntax::ast::{self, Item, ItemKind};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::memo::{Found, Memo, Resolved};
use super::sets::Sets;
use super::{Context, MAX_SUGGESTIONS};
use crate::ir::{Policy, Program};
use crate::load::{ItemSource, Loaded};
use crate::values::label::KeysUsed;

/// The number of policies that one thread resolves at a time.
const SHARE: usize = 128;

/// A policy's item.
struct PolicyItem<'l> {
    file: usize,
    source: ItemSource,
    item: &'l Item,
    tree: &'l ast::Policy,
}

/// The result for one policy.
enum Outcome {
    /// It has no diagnostics.
    Clean(Arc<Resolved>),
    /// It has diagnostics, and is missing if one of them is an error.
    Reported(Option<Arc<Policy>>),
}

/// Resolves the policies of all files and adds them to the program and to `memo`. Returns the label keys that they use.
pub(super) fn policies(
    loaded: &Loaded,
    before: &Memo,
    memo: &mut Memo,
    sets: &Sets<'_>,
    program: &mut Program,
    cx: &mut Context<'_>,
) -> KeysUsed {
    memo.names = sets.file_names();
    // If no set changed, the lookups of the policies of a file have the same results.
    let same_names = memo.names == before.names;
    let by_version = sets.by_version();
    let items = loaded.files.iter().enumerate().flat_map(|(file, own)| {
        own.parsed.tree.items.iter().zip(&own.items).filter_map(move |(item, source)| match &item.kind {
            ItemKind::Policy(tree) => Some(PolicyItem { file, source: *source, item, tree }),
            _ => None,
        })
    });
    let items: Vec<PolicyItem<'_>> = items.collect();
    let shares: Vec<(Vec<Outcome>, KeysUsed, Context<'_>)> = items
        .par_chunks(SHARE)
        .enumerate()
        .map(|(number, share)| {
            // Only in the first shares, so that the diagnostics do not depend on the number of threads.
            let mut cx = Context::new(&loaded.sources, if number < 4 { MAX_SUGGESTIONS } else { 0 });
            let mut keys = KeysUsed::default();
            let outcome = |item: &PolicyItem<'_>| {
                let known = before.policies.get(&item.source.id());
                let known = known.filter(|(file, known)| {
                    has_same_docs(known, item, &cx)
                        && (same_names && *file == item.file || sets.view(item.file).repeats(&known.lookups))
                });
                let outcome = match known {
                    Some((_, known)) => {
                        mark_used(known, sets, &by_version);
                        Outcome::Clean(Arc::clone(known))
                    }
                    None => resolve_now(item, sets, &mut cx),
                };
                match &outcome {
                    Outcome::Clean(resolved) => keys.add(&resolved.keys),
                    Outcome::Reported(_) => keys.add(&cx.keys),
                }
                cx.keys.clear();
                outcome
            };
            (share.iter().map(outcome).collect(), keys, cx)
        })
        .collect();
    program.policies.reserve(items.len());
    memo.policies.reserve(items.len());
    let mut keys = KeysUsed::default();
    let mut items = items.iter();
    for (outcomes, of_share, own) in shares {
        for (outcome, item) in outcomes.into_iter().zip(&mut items) {
            match outcome {
                Outcome::Clean(resolved) => {
                    program.policies.push(Arc::clone(&resolved.policy));
                    memo.policies.insert(item.source.id(), (item.file, resolved));
                }
                Outcome::Reported(policy) => program.policies.extend(policy),
            }
        }
        keys.extend(of_share);
        cx.diagnostics.extend(own.diagnostics);
    }
    keys
}

/// Whether the documentation of a policy is the same. Its item has the location of the documentation, and not the text.
fn has_same_docs(known: &Resolved, item: &PolicyItem<'_>, cx: &Context<'_>) -> bool {
    let text = cx.sources.file(item.source.file).text();
    item.item.documentation(text).eq(known.policy.docs.iter().map(String::as_str))
}

/// Marks the sets that a reused policy uses.
fn mark_used(known: &Resolved, sets: &Sets<'_>, by_version: &FxHashMap<u32, usize>) {
    let used = known.lookups.iter().filter(|lookup| lookup.is_use);
    for lookup in used {
        if let Found::Set(version) = lookup.found
            && let Some(index) = by_version.get(&version)
        {
            sets.mark_used(*index);
        }
    }
}

fn resolve_now(item: &PolicyItem<'_>, sets: &Sets<'_>, cx: &mut Context<'_>) -> Outcome {
    let reported = cx.diagnostics.len();
    let view = sets.view(item.file);
    let policy = cx.policy(item.source, item.item, item.tree, &view).map(Arc::new);
    match policy {
        Some(policy) if cx.diagnostics.len() == reported => Outcome::Clean(Arc::new(Resolved {
            policy,
            lookups: view.lookups.into_inner().into(),
            keys: cx.keys.as_slice().into(),
        })),
        policy => Outcome::Reported(policy),
    }
}
