//! Policies, and those of them that are taken over from when the program was resolved before.
//!
//! What a policy says depends on its own words and on the sets that its file sees, and on nothing else. Where
//! all sets are the items that they were, a policy that is the item that it was, at the same place, says what
//! it said.

use std::ops::Range;
use std::sync::Arc;

use npc_diagnostics::{FileId, Location};
use npc_syntax::ast::{self, Item, ItemKind};
use rayon::prelude::*;

use super::sets::Sets;
use super::{Context, MAX_SUGGESTIONS};
use crate::ir::{Policy, Program};
use crate::load::{ItemSource, Loaded};
use crate::values::label::KeysUsed;

/// How many policies one thread resolves at a time.
const SHARE: usize = 128;

/// What may be taken over of a program that was resolved.
#[derive(Debug, Default)]
pub struct Kept {
    /// What the sets of each file depend on.
    files: Vec<OfFile>,
    /// All items that are policies, in the order of files and lines, in shares.
    shares: Vec<Share>,
}

/// What may be taken over of a file.
#[derive(Debug)]
struct OfFile {
    id: FileId,
    incomplete: bool,
    imports: Vec<usize>,
    /// Its definitions of sets.
    sets: Vec<Arc<Item>>,
    /// Where its policies begin, among all.
    first: usize,
}

/// Some policies.
#[derive(Debug, Default)]
struct Share {
    entries: Vec<Entry>,
    /// The keys of labels that they name, and the sets.
    keys: Vec<(Arc<str>, Location)>,
    used: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    item: Arc<Item>,
    /// Nothing where it is broken.
    policy: Option<Arc<Policy>>,
    /// Whether something was told of it, which has to be told again.
    is_told: bool,
    keys: Range<usize>,
    used: Range<usize>,
}

impl Kept {
    fn files(loaded: &Loaded) -> Vec<OfFile> {
        let mut first = 0;
        let of = |file: &crate::load::LoadedFile| {
            let items = &file.parsed.tree.items;
            let sets = items.iter().filter(|item| matches!(item.kind, ItemKind::Let(_)));
            let own = OfFile {
                id: file.id,
                incomplete: file.incomplete,
                imports: file.imports.iter().map(|(target, _)| *target).collect(),
                sets: sets.cloned().collect(),
                first,
            };
            first += items.iter().filter(|item| matches!(item.kind, ItemKind::Policy(_))).count();
            own
        };
        loaded.files.iter().map(of).collect()
    }

    /// Whether the sets are those that they were, in every file.
    fn has_sets_of(&self, files: &[OfFile]) -> bool {
        let same = |one: &OfFile, other: &OfFile| {
            (one.id, one.incomplete, &one.imports) == (other.id, other.incomplete, &other.imports)
                && one.sets.len() == other.sets.len()
                && one.sets.iter().zip(&other.sets).all(|(one, other)| Arc::ptr_eq(one, other))
        };
        self.files.len() == files.len() && self.files.iter().zip(files).all(|(one, other)| same(one, other))
    }

    /// What is kept of a policy, by its place among those of a file.
    fn entry(&self, file: usize, number: usize) -> Option<(&Share, &Entry)> {
        let place = self.files.get(file)?.first + number;
        let share = self.shares.get(place / SHARE)?;
        Some((share, share.entries.get(place % SHARE)?))
    }
}

/// A policy, and where it stands.
struct Standing<'l> {
    file: usize,
    source: ItemSource,
    /// Its place among the policies of the file.
    number: usize,
    item: &'l Arc<Item>,
    tree: &'l ast::Policy,
}

/// Resolves the policies of all files, which have nothing to do with one another, side by side. Gives what may
/// be taken over the next time, and the keys of labels that they name.
pub(super) fn policies(
    loaded: &Loaded,
    before: Option<&Kept>,
    sets: &Sets<'_>,
    program: &mut Program,
    cx: &mut Context<'_>,
) -> (Kept, KeysUsed) {
    let files = Kept::files(loaded);
    let before = before.filter(|before| before.has_sets_of(&files));
    let standing = loaded.files.iter().enumerate().flat_map(|(file, own)| {
        let items = own.parsed.tree.items.iter().zip(&own.items);
        let policies = items.filter_map(|(item, source)| match &item.kind {
            ItemKind::Policy(tree) => Some((item, *source, tree)),
            _ => None,
        });
        policies.enumerate().map(move |(number, (item, source, tree))| Standing {
            file,
            source,
            number,
            item,
            tree,
        })
    });
    let all: Vec<Standing<'_>> = standing.collect();
    let resolved: Vec<(Share, KeysUsed, Context<'_>)> = all
        .par_chunks(SHARE)
        .enumerate()
        .map(|(number, standing)| {
            // The first shares only, so that what is told does not depend on the number of threads.
            let mut cx = Context::new(&loaded.sources, if number < 4 { MAX_SUGGESTIONS } else { 0 });
            let entry = |one: &Standing<'_>| {
                let known = before.and_then(|before| before.entry(one.file, one.number));
                let taken = known.and_then(|(share, entry)| taken(share, entry, one, sets, &mut cx));
                taken.unwrap_or_else(|| resolved_now(one, sets, &mut cx))
            };
            let entries = standing.iter().map(entry).collect();
            let (keys, used) = (std::mem::take(&mut cx.keys), std::mem::take(&mut cx.used));
            let counted = KeysUsed::count(&keys);
            (Share { entries, keys, used }, counted, cx)
        })
        .collect();
    program.policies.reserve(all.len());
    let mut keys = KeysUsed::default();
    let mut kept = Kept { files, shares: Vec::with_capacity(resolved.len()) };
    for (share, counted, own) in resolved {
        program.policies.extend(share.entries.iter().filter_map(|entry| entry.policy.clone()));
        kept.shares.push(share);
        keys.extend(counted);
        cx.diagnostics.extend(own.diagnostics);
    }
    (kept, keys)
}

/// A policy that is as it was.
fn taken(
    share: &Share,
    entry: &Entry,
    one: &Standing<'_>,
    sets: &Sets<'_>,
    cx: &mut Context<'_>,
) -> Option<Entry> {
    let policy = entry.policy.as_ref().filter(|_| !entry.is_told && Arc::ptr_eq(&entry.item, one.item))?;
    // Its documentation is a comment, of which the item has the place alone.
    let text = cx.sources.file(one.source.file).text();
    if !one.item.documentation(text).eq(policy.docs.iter().map(String::as_str)) {
        return None;
    }
    let (keys, used) = (cx.keys.len(), cx.used.len());
    cx.keys.extend_from_slice(share.keys.get(entry.keys.clone())?);
    let own = share.used.get(entry.used.clone())?;
    cx.used.extend_from_slice(own);
    sets.mark_used(own);
    Some(Entry {
        item: Arc::clone(one.item),
        policy: Some(Arc::clone(policy)),
        is_told: false,
        keys: keys..cx.keys.len(),
        used: used..cx.used.len(),
    })
}

/// A policy that is new, or stands elsewhere.
fn resolved_now(one: &Standing<'_>, sets: &Sets<'_>, cx: &mut Context<'_>) -> Entry {
    let (keys, used, told) = (cx.keys.len(), cx.used.len(), cx.diagnostics.len());
    let policy = cx.policy(one.source, one.item, one.tree, &sets.view(one.file)).map(Arc::new);
    Entry {
        item: Arc::clone(one.item),
        policy,
        is_told: cx.diagnostics.len() > told,
        keys: keys..cx.keys.len(),
        used: used..cx.used.len(),
    }
}
