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
    // If no set changed, the lookups of every policy have the same results.
    let by_version = (memo.names == before.names).then(|| sets.by_version());
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
                let known = known.filter(|known| is_current(known, item, sets, by_version.as_ref(), &cx));
                let outcome = match known {
                    Some(known) => Outcome::Clean(Arc::clone(known)),
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
                    memo.policies.insert(item.source.id(), resolved);
                }
                Outcome::Reported(policy) => program.policies.extend(policy),
            }
        }
        keys.extend(of_share);
        cx.diagnostics.extend(own.diagnostics);
    }
    keys
}

/// Whether a policy that was resolved before is the same now.
fn is_current(
    known: &Resolved,
    item: &PolicyItem<'_>,
    sets: &Sets<'_>,
    by_version: Option<&FxHashMap<u32, usize>>,
    cx: &Context<'_>,
) -> bool {
    // The item has the location of its documentation, and not the text.
    let text = cx.sources.file(item.source.file).text();
    let docs = known.policy.docs.iter().map(String::as_str);
    if !item.item.documentation(text).eq(docs) {
        return false;
    }
    let Some(by_version) = by_version else { return sets.view(item.file).repeats(&known.lookups) };
    for lookup in known.lookups.iter().filter(|lookup| lookup.is_use) {
        if let Found::Set(version) = lookup.found
            && let Some(index) = by_version.get(&version)
        {
            sets.mark_set_used(*index);
        }
    }
    true
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
