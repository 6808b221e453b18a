//! Symbols: what a word refers to, its definitions, its uses and renaming.

use std::collections::BTreeMap;
use std::path::PathBuf;

use npc_diagnostics::{Diagnostic, FileId, Level, Location, Span};
use npc_program::values::name::check_name;
use npc_program::{Files, Known, Loaded, Meaning, Names, ReadError, Resolved, load, resolve};
use npc_syntax::ast::{ItemKind, TestEntry};
use npc_syntax::{Object, Role, TokenKind, visit_words};

use super::program::{Found, Program};

/// What a word refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Symbol {
    /// A set, by its index.
    Set(usize),
    /// A policy, by its name.
    Policy(String),
    /// A label of pods or namespaces, or one of its values.
    Label {
        /// The kind of object that has the label.
        of: Object,
        /// The key.
        key: String,
        /// The value, if the symbol is a value.
        value: Option<String>,
    },
    /// A namespace or a pattern of namespace names.
    Namespace(String),
    /// A pod of a test.
    TestPod {
        /// The index of the file.
        file: usize,
        /// The offset of the test.
        test: u32,
        /// Its namespace.
        namespace: String,
        /// Its name.
        pod: String,
    },
    /// An imported file, by its index.
    File(usize),
}

/// A use of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// The location of the name.
    pub location: Location,
    /// Whether this is the definition.
    pub is_definition: bool,
}

/// Why a symbol cannot be renamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

impl Program {
    /// The symbol at an offset, and the span of its name.
    #[must_use]
    pub fn symbol(&self, file: usize, offset: u32) -> Option<(Symbol, Span)> {
        let found = self.word(file, offset)?;
        let mut span = found.word.span;
        let symbol = self.meaning(&found, offset)?;
        if let Symbol::TestPod { namespace, .. } = &symbol
            && found.role == Role::End
        {
            span.start += namespace.len() as u32 + 1;
        }
        Some((symbol, span))
    }

    fn meaning(&self, found: &Found<'_>, offset: u32) -> Option<Symbol> {
        let Found { file, item, role, word } = *found;
        let text = self.says(file, word);
        let id = self.files().get(file)?.id;
        Some(match role {
            Role::ImportPath => {
                let imports = &self.files().get(file)?.imports;
                Symbol::File(imports.iter().find(|(_, place)| *place == Location::new(id, word.span))?.0)
            }
            Role::SetName | Role::Member | Role::Address | Role::Port => {
                match self.checked.names.meaning(file, &text)? {
                    Meaning::Set(set) | Meaning::Ambiguous(set, _) => Symbol::Set(set),
                }
            }
            Role::PolicyName => Symbol::Policy(text),
            Role::LabelKey(of) => Symbol::Label { of, key: text, value: None },
            Role::LabelValue { of, key } => {
                Symbol::Label { of, key: self.says(file, key), value: Some(text) }
            }
            Role::Namespace | Role::TestNamespace => Symbol::Namespace(text),
            Role::TestPod => {
                let ItemKind::Test(test) = &item.kind else { return None };
                let pod = test.entries.iter().find_map(|entry| match entry {
                    TestEntry::Pod(pod) if pod.name == word => Some(pod),
                    _ => None,
                })?;
                let namespace = self.says(file, pod.namespace);
                Symbol::TestPod { file, test: item.span.start, namespace, pod: text }
            }
            Role::End => match self.checked.names.meaning(file, &text) {
                Some(Meaning::Set(set) | Meaning::Ambiguous(set, _)) => Symbol::Set(set),
                None => {
                    let (namespace, pod) = Names::pod(&text)?;
                    if offset <= word.span.start + namespace.len() as u32 {
                        Symbol::Namespace(namespace.to_owned())
                    } else {
                        let (namespace, pod) = (namespace.to_owned(), pod.to_owned());
                        Symbol::TestPod { file, test: item.span.start, namespace, pod }
                    }
                }
            },
            _ => return None,
        })
    }

    /// All uses of a symbol, sorted by file and position.
    #[must_use]
    pub fn uses(&self, symbol: &Symbol) -> Vec<Use> {
        let mut found = Vec::new();
        if let Symbol::Set(set) = symbol {
            self.checked.names.visit(&self.checked.loaded, &mut |meaning, location| {
                let own = match meaning {
                    Meaning::Set(own) => own == *set,
                    Meaning::Ambiguous(one, other) => one == *set || other == *set,
                };
                if own {
                    let name = self.checked.names.sets.get(*set).map(|set| set.location);
                    found.push(Use { location, is_definition: name == Some(location) });
                }
            });
        } else {
            for (index, file) in self.files().iter().enumerate() {
                for item in &file.parsed.tree.items {
                    visit_words(item, &mut |role, word| {
                        let word = Found { file: index, item, role, word };
                        found.extend(self.use_of(symbol, &word, Location::new(file.id, word.word.span)));
                    });
                }
            }
        }
        found.sort_by_key(|one| one.location);
        found
    }

    fn use_of(&self, symbol: &Symbol, found: &Found<'_>, location: Location) -> Option<Use> {
        let one = |is_definition| Some(Use { location, is_definition });
        let text = || self.says(found.file, found.word);
        let part = |from: usize, to: usize| {
            let span = Span::new(location.span.start + from as u32, location.span.start + to as u32);
            Location::new(location.file, span)
        };
        match (symbol, found.role) {
            (Symbol::Policy(name), Role::PolicyName) if text() == *name => one(true),
            (Symbol::Label { of, key, value: None }, Role::LabelKey(own)) if own == *of && text() == *key => {
                one(false)
            }
            (Symbol::Label { of, key, value: Some(value) }, Role::LabelValue { of: own, key: own_key })
                if own == *of && text() == *value && self.says(found.file, own_key) == *key =>
            {
                one(false)
            }
            (Symbol::Namespace(name), Role::Namespace | Role::TestNamespace) if text() == *name => {
                one(found.role == Role::TestNamespace)
            }
            (Symbol::Namespace(name), Role::End) => {
                let text = text();
                let (namespace, _) = Names::pod(&text)?;
                (namespace == name).then(|| Use { location: part(0, namespace.len()), is_definition: false })
            }
            (Symbol::TestPod { file, test, namespace, pod }, role)
                if *file == found.file && *test == found.item.span.start =>
            {
                match role {
                    Role::TestPod => {
                        let own = self.meaning(found, found.word.span.start);
                        (own.as_ref() == Some(symbol)).then_some(Use { location, is_definition: true })
                    }
                    Role::End => {
                        let text = text();
                        let (own, name) = Names::pod(&text)?;
                        (own == namespace && name == pod)
                            .then(|| Use { location: part(own.len() + 1, text.len()), is_definition: false })
                    }
                    _ => None,
                }
            }
            (Symbol::File(imported), Role::ImportPath) => {
                let imports = &self.files().get(found.file)?.imports;
                imports
                    .iter()
                    .any(|(target, place)| target == imported && *place == location)
                    .then_some(Use { location, is_definition: false })
            }
            _ => None,
        }
    }

    /// The definitions of a symbol.
    #[must_use]
    pub fn definitions(&self, symbol: &Symbol) -> Vec<Location> {
        match symbol {
            Symbol::Set(set) => {
                self.checked.names.sets.get(*set).map(|set| set.location).into_iter().collect()
            }
            Symbol::File(file) => {
                let start = Span::new(0, 0);
                self.files().get(*file).map(|file| Location::new(file.id, start)).into_iter().collect()
            }
            Symbol::Label { .. } => Vec::new(),
            _ => self.uses(symbol).iter().filter(|one| one.is_definition).map(|one| one.location).collect(),
        }
    }

    /// Checks whether a symbol can be renamed: only names that the program defines can.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    pub fn may_rename(&self, symbol: &Symbol) -> Result<(), Refusal> {
        let no = |why: &str| Err(Refusal(why.to_owned()));
        match symbol {
            Symbol::Set(_) | Symbol::Policy(_) | Symbol::TestPod { .. } => Ok(()),
            Symbol::Label { .. } => no("cannot rename a label: the objects in the cluster define it"),
            Symbol::Namespace(_) => no("cannot rename a namespace: the cluster defines it"),
            Symbol::File(_) => no("rename the file itself in the editor: its imports are updated"),
        }
    }

    /// The locations to write the new name at. The rename is tried first: every name must keep its meaning,
    /// and no new error may appear.
    ///
    /// # Errors
    ///
    /// Why the name cannot be used.
    pub fn rename(&self, symbol: &Symbol, name: &str, files: &impl Files) -> Result<Vec<Location>, Refusal> {
        self.may_rename(symbol)?;
        may_be(symbol, name)?;
        if let Symbol::Set(set) = symbol
            && let Some(twice) = self.checked.names.sets.get(*set)
            && self.checked.report.diagnostics.iter().any(|found| {
                found.code.id == "NP0202" && found.labels.iter().any(|label| label.location == twice.location)
            })
        {
            return Err(Refusal(format!(
                "`{}` is ambiguous: two imported files define it (NP0202). Remove the ambiguity first",
                twice.name
            )));
        }
        let places: Vec<Location> = self.uses(symbol).iter().map(|one| one.location).collect();
        let edits = places.iter().map(|place| (*place, name.to_owned())).collect::<Vec<_>>();
        self.keeps_names(&edits, files)?;
        Ok(places)
    }

    /// Tries the edits: every name must keep its meaning, and no error may be new.
    fn keeps_names(&self, edits: &[(Location, String)], files: &impl Files) -> Result<(), Refusal> {
        let (loaded, resolved) = self.tried(edits, files);
        let errors: Vec<&Diagnostic> =
            loaded.diagnostics.iter().chain(&resolved.diagnostics).filter(is_error).collect();
        // Compares the number of errors, because the messages contain the name.
        if errors.len() > self.own_errors() {
            let new = errors.iter().find(|own| self.is_new(own)).or(errors.first());
            return Err(Refusal(new.map_or_else(String::new, |own| own.message.clone())));
        }
        let meanings = |names: &Names, loaded: &Loaded| {
            let mut all = Vec::new();
            names.visit(loaded, &mut |meaning, _| all.push(meaning));
            all
        };
        if meanings(&self.checked.names, &self.checked.loaded) != meanings(&resolved.names, &loaded) {
            return Err(Refusal(
                "another set has this name, so some uses would refer to the wrong set".to_owned(),
            ));
        }
        Ok(())
    }

    /// Loads and resolves the program after the edits.
    pub(super) fn tried(&self, edits: &[(Location, String)], files: &impl Files) -> (Loaded, Resolved) {
        let edited = Edited { texts: self.edited(edits), files };
        let roots: Vec<String> = self.files().iter().map(|file| file.path.to_string()).collect();
        let loaded = load(&edited, &roots);
        let resolved = resolve(&loaded, None);
        (loaded, resolved)
    }

    /// The number of errors in loading and resolving, which [`Self::tried`] repeats. Errors of targets do not
    /// count.
    pub(super) fn own_errors(&self) -> usize {
        let codes = npc_program::codes();
        let own = self.checked.report.diagnostics.iter().filter(is_error);
        own.filter(|found| codes.contains(&found.code)).count()
    }

    fn is_new(&self, error: &Diagnostic) -> bool {
        let known = &self.checked.report.diagnostics;
        !known.iter().any(|own| own.code == error.code && own.message == error.message)
    }

    /// The texts of the edited files.
    fn edited(&self, edits: &[(Location, String)]) -> BTreeMap<PathBuf, String> {
        let mut texts: BTreeMap<PathBuf, String> = BTreeMap::new();
        let mut edits: Vec<&(Location, String)> = edits.iter().collect();
        edits.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
        for (place, by) in edits {
            let source = self.checked.sources().file(place.file);
            let name = PathBuf::from(source.name());
            let text = texts.entry(name).or_insert_with(|| source.text().to_owned());
            if text.get(place.span.range()).is_some() {
                text.replace_range(place.span.range(), by);
            }
        }
        texts
    }
}

/// Checks whether the name is valid for this kind of symbol.
fn may_be(symbol: &Symbol, name: &str) -> Result<(), Refusal> {
    let what = match symbol {
        Symbol::Set(_) => "set",
        Symbol::Policy(_) => "policy",
        _ => "pod",
    };
    let keyword = TokenKind::KEYWORDS.iter().find(|(word, _)| *word == name);
    if what == "set" && keyword.is_some_and(|(_, kind)| kind.is_reserved()) {
        return Err(Refusal(format!("`{name}` is a reserved word and cannot be the name of a set")));
    }
    let nowhere = Location::new(FileId(0), Span::default());
    check_name(what, name, nowhere).map_err(|wrong| {
        let label = wrong.labels.first().map_or("", |label| &label.text);
        Refusal(format!("{}: {label}", wrong.message))
    })
}

fn is_error(found: &&Diagnostic) -> bool {
    found.code.level == Level::Error
}

/// The files of a program with edits applied.
struct Edited<'f, F> {
    texts: BTreeMap<PathBuf, String>,
    files: &'f F,
}

impl<F: Files> Files for Edited<'_, F> {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        match self.texts.get(std::path::Path::new(path)) {
            Some(text) => Ok(text.as_bytes().to_vec()),
            None => self.files.read(path),
        }
    }

    fn known(&self, path: &str) -> Option<Known> {
        if self.texts.contains_key(std::path::Path::new(path)) { None } else { self.files.known(path) }
    }
}
