//! Resolution of syntax trees to a program: resolves names, types sets and checks values.

mod exceptions;
mod memo;
mod policies;
mod policy;
mod scope;
mod sets;
mod settings;
mod test;

use std::sync::Arc;

use npc_diagnostics::{Code, Diagnostic, Level, Location, Report, SourceMap, Span};
use npc_syntax::ast::{Item, ItemKind, Word};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::Program;
use crate::load::{ItemSource, Loaded};
use crate::names::Names;
use sets::Sets;

pub use memo::Memo;
pub use settings::{SETTINGS, Setting};

/// The codes of this module, by file.
pub(crate) static ALL_CODES: [&[&Code]; 7] =
    [CODES, exceptions::CODES, policy::CODES, scope::CODES, sets::CODES, settings::CODES, test::CODES];

npc_diagnostics::codes! {
    /// # An empty program
    ///
    /// No file of the program contains an item, so it allows, denies and tests nothing. Check that you
    /// passed the right file.
    EMPTY_PROGRAM = "NP0213" "empty-program" Warning;
}

/// Resolves the files of a program. Reuses the policies of `before`, the memo table of an earlier resolution, that have
/// not changed and had no diagnostics; this does not change the result.
///
/// Items with errors are reported in the diagnostics and omitted from the program. Items that depend on them are not
/// reported again.
#[must_use]
pub fn resolve(loaded: &Loaded, before: Option<&Memo>) -> Resolved {
    let nothing = Memo::default();
    let before = before.unwrap_or(&nothing);
    let mut memo = Memo::default();
    let mut cx = Context::new(&loaded.sources, MAX_SUGGESTIONS);
    let mut sets = Sets::collect(loaded, before.versions.successor(), &mut cx);
    sets.evaluate(&before.versions, &mut cx);
    let sets = sets;

    let mut program = Program::default();
    let mut keys = policies::policies(loaded, before, &mut memo, &sets, &mut program, &mut cx);
    let mut policy_names = policy::Names::default();
    let mut test_names = FxHashMap::default();
    for (index, file) in loaded.files.iter().enumerate() {
        let view = sets.view(index);
        let whole = ItemSource::whole(file.id);
        for (item, source) in file.parsed.tree.items.iter().zip(&file.items) {
            match &item.kind {
                ItemKind::Import(_) | ItemKind::Let(_) => {}
                ItemKind::Policy(policy) => cx.policy_name(*source, policy, &mut policy_names),
                ItemKind::Kyverno(block) => cx.settings(whole, block, &mut program.settings),
                ItemKind::Test(test) => {
                    program.tests.push(cx.test(whole, test, &view, &mut test_names));
                }
                ItemKind::Assert(assert) => {
                    program.asserts.extend(cx.assertion(whole, item.span, assert, &view));
                }
            }
        }
    }
    policy::priorities(&program, &mut cx);
    let is_empty = loaded.files.iter().all(|file| file.parsed.tree.items.is_empty());
    if let Some(first) = loaded.files.first().filter(|_| is_empty && loaded.diagnostics.is_empty()) {
        cx.emit(
            Diagnostic::new(
                &EMPTY_PROGRAM,
                format!("`{}` has no policy, set or test", first.path),
                Location::new(first.id, Span::default()),
                "nothing but comments and white space",
            )
            .help("a program has policies, such as `policy web for pods { app = web } in namespace shop { isolate ingress }`"),
        );
    }
    // After an error, items are missing, and with them possibly the uses of a set.
    let is_error = |diagnostic: &Diagnostic| diagnostic.level == Level::Error;
    if !loaded.diagnostics.iter().chain(&cx.diagnostics).any(is_error) {
        sets.unused(&mut cx);
        keys.add(&cx.keys);
        cx.diagnostics.extend(keys.misspelt(&loaded.sources));
    }
    let mut report = Report { diagnostics: cx.diagnostics };
    report.make_absolute(&loaded.sources);
    let (names, versions) = sets.into_names();
    memo.versions = versions;
    Resolved { program, diagnostics: report.diagnostics, names, memo }
}

/// The result of resolution.
#[derive(Debug)]
pub struct Resolved {
    /// The program, without items that have errors.
    pub program: Program,
    /// The diagnostics of resolution, with locations in files.
    pub diagnostics: Vec<Diagnostic>,
    /// The sets that the program defines. The program itself contains their members instead of their names.
    pub names: Names,
    /// The memo table for the next resolution of the same files.
    pub memo: Memo,
}

/// The state that all steps of resolution share.
struct Context<'a> {
    sources: &'a SourceMap,
    diagnostics: Vec<Diagnostic>,
    interned: FxHashSet<Arc<str>>,
    /// The number of unknown names for which a suggestion may still be searched.
    suggestions: usize,
    /// The label keys used, each with its location.
    keys: Vec<(Arc<str>, Location)>,
}

/// The maximum number of unknown names that get a suggestion, since each is compared with every name of the program. A
/// program with more unknown names has a different problem.
const MAX_SUGGESTIONS: usize = 100;

impl<'a> Context<'a> {
    fn new(sources: &'a SourceMap, suggestions: usize) -> Self {
        Self {
            sources,
            diagnostics: Vec::new(),
            interned: FxHashSet::default(),
            suggestions,
            keys: Vec::new(),
        }
    }
}

impl<'a> Context<'a> {
    fn text(&self, source: ItemSource, word: Word) -> std::borrow::Cow<'a, str> {
        word.text(self.sources.file(source.file).text())
    }

    /// Interns the text of a word.
    fn name(&mut self, source: ItemSource, word: Word) -> Arc<str> {
        let text = word.text(self.sources.file(source.file).text());
        if let Some(known) = self.interned.get(&*text) {
            return Arc::clone(known);
        }
        let name: Arc<str> = text.as_ref().into();
        self.interned.insert(Arc::clone(&name));
        name
    }

    /// Whether a suggestion may still be searched. Each call uses up one.
    fn may_suggest(&mut self) -> bool {
        let may = self.suggestions > 0;
        self.suggestions = self.suggestions.saturating_sub(1);
        may
    }

    fn emit(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Returns the value of a result, or reports its diagnostic.
    fn ok<T>(&mut self, result: Result<T, Box<Diagnostic>>) -> Option<T> {
        result.map_err(|diagnostic| self.emit(*diagnostic)).ok()
    }

    /// The lines of an item's doc comment.
    fn docs(&self, source: ItemSource, item: &Item) -> Vec<String> {
        let text = self.sources.file(source.file).text();
        item.documentation(text).map(str::to_owned).collect()
    }
}
