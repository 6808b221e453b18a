//! From trees to a program: names resolved, sets typed, values checked.

mod exceptions;
mod kept;
mod policy;
mod scope;
mod sets;
mod settings;
mod test;

use std::sync::Arc;

use npc_diagnostics::{Code, Diagnostic, FileId, Level, Location, SourceMap, Span};
use npc_syntax::ast::{Item, ItemKind, Word};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::Program;
use crate::load::Loaded;
use crate::names::Names;
use crate::values::label::KeysUsed;
use sets::Sets;

pub use kept::Kept;
pub use settings::{SETTINGS, Setting};

/// The codes of this module, by file.
pub(crate) static ALL_CODES: [&[&Code]; 7] =
    [CODES, exceptions::CODES, policy::CODES, scope::CODES, sets::CODES, settings::CODES, test::CODES];

npc_diagnostics::codes! {
    /// # A program that says nothing
    ///
    /// No file of the program has an item: nothing is allowed, denied or tested. Perhaps another file was
    /// meant.
    EMPTY_PROGRAM = "NP0213" "empty-program" Warning;
}

/// Resolves the files of a program. Policies that stand where they stood `before`, and that were fine, are
/// taken over: what comes out is the same.
///
/// What is broken is left out of the program and told in the diagnostics; nothing that depends on
/// it is told again.
#[must_use]
pub fn resolve(loaded: &Loaded, before: Option<&Kept>) -> Resolved {
    let mut cx = Context::new(&loaded.sources, MAX_SUGGESTIONS);
    let mut sets = Sets::collect(loaded, &mut cx);
    sets.evaluate(&mut cx);
    let sets = sets;

    let mut program = Program::default();
    let (kept, mut keys) = kept::policies(loaded, before, &sets, &mut program, &mut cx);
    let mut policy_names = policy::Names::default();
    let mut test_names = FxHashMap::default();
    for (index, file) in loaded.files.iter().enumerate() {
        let view = sets.view(index);
        for item in &file.parsed.tree.items {
            match &item.kind {
                ItemKind::Import(_) | ItemKind::Let(_) => {}
                ItemKind::Policy(policy) => cx.policy_name(file.id, policy, &mut policy_names),
                ItemKind::Kyverno(block) => cx.settings(file.id, block, &mut program.settings),
                ItemKind::Test(test) => {
                    program.tests.push(cx.test(file.id, test, &view, &mut test_names));
                }
                ItemKind::Assert(assert) => {
                    program.asserts.extend(cx.assertion(file.id, item.span, assert, &view));
                }
            }
        }
    }
    policy::priorities(&program, &mut cx);
    let is_empty = loaded.files.iter().all(|file| file.parsed.tree.items.is_empty());
    if let Some(first) = loaded.files.first().filter(|_| is_empty && loaded.diagnostics.is_empty()) {
        cx.tell(
            Diagnostic::new(
                &EMPTY_PROGRAM,
                format!("`{}` has no policy, set or test", first.path),
                at(first.id, Span::default()),
                "nothing but comments and white space",
            )
            .help("a program has policies, such as `policy web for pods { app = web } in namespace shop { isolate ingress }`"),
        );
    }
    // Where something is broken, what is missing may be the use of a set.
    let is_error = |diagnostic: &Diagnostic| diagnostic.level == Level::Error;
    if !loaded.diagnostics.iter().chain(&cx.diagnostics).any(is_error) {
        sets.unused(&mut cx);
        keys.extend(KeysUsed::count(&cx.keys));
        cx.diagnostics.extend(keys.misspelt());
    }
    Resolved { program, diagnostics: cx.diagnostics, names: sets.into_names(), kept }
}

/// What the files of a program say.
#[derive(Debug)]
pub struct Resolved {
    /// The program, without what is broken.
    pub program: Program,
    /// What is wrong with it.
    pub diagnostics: Vec<Diagnostic>,
    /// The sets that it defines, which the program has in the places of their names.
    pub names: Names,
    /// What may be taken over when the files are resolved again.
    pub kept: Kept,
}

/// What every step of resolution needs.
struct Context<'a> {
    sources: &'a SourceMap,
    diagnostics: Vec<Diagnostic>,
    interned: FxHashSet<Arc<str>>,
    /// How many unknown names may still be compared with all others.
    suggestions: usize,
    /// The keys of labels, and where each stands.
    keys: Vec<(Arc<str>, Location)>,
    /// The sets that were looked up.
    used: Vec<usize>,
}

/// How many unknown names of a program get a suggestion. Each is compared with every name there is;
/// a program with more of them has another mistake.
const MAX_SUGGESTIONS: usize = 100;

impl<'a> Context<'a> {
    fn new(sources: &'a SourceMap, suggestions: usize) -> Self {
        Self {
            sources,
            diagnostics: Vec::new(),
            interned: FxHashSet::default(),
            suggestions,
            keys: Vec::new(),
            used: Vec::new(),
        }
    }
}

impl<'a> Context<'a> {
    fn text(&self, file: FileId, word: Word) -> std::borrow::Cow<'a, str> {
        word.text(self.sources.file(file).text())
    }

    /// The word's text, shared with every equal one.
    fn name(&mut self, file: FileId, word: Word) -> Arc<str> {
        let text = word.text(self.sources.file(file).text());
        if let Some(known) = self.interned.get(&*text) {
            return Arc::clone(known);
        }
        let name: Arc<str> = text.as_ref().into();
        self.interned.insert(Arc::clone(&name));
        name
    }

    /// Whether a name may still be compared with all others, and that it is.
    fn may_suggest(&mut self) -> bool {
        let may = self.suggestions > 0;
        self.suggestions = self.suggestions.saturating_sub(1);
        may
    }

    fn tell(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// The value, or nothing and a diagnostic.
    fn ok<T>(&mut self, result: Result<T, Box<Diagnostic>>) -> Option<T> {
        result.map_err(|diagnostic| self.tell(*diagnostic)).ok()
    }

    /// The lines of an item's documentation.
    fn docs(&self, file: FileId, item: &Item) -> Vec<String> {
        let text = self.sources.file(file).text();
        item.documentation(text).map(str::to_owned).collect()
    }
}

const fn at(file: FileId, span: Span) -> Location {
    Location::new(file, span)
}
