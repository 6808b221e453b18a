//! A checked program and lookups in it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use npc_cluster::Cluster;
use npc_diagnostics::{Diagnostic, FileId, Location, Span};
use npc_driver::{Checked, Config};
use npc_program::{LoadedFile, Policy};
use npc_syntax::ast::{Item, Word};
use npc_syntax::{Role, visit_words};

use super::name_index::NameIndex;
use super::program_id::ProgramId;
use super::text::Text;

/// A configuration with errors.
#[derive(Debug)]
pub struct BrokenConfig {
    /// The errors.
    pub diagnostics: Vec<Diagnostic>,
    /// The text of the file.
    pub text: Text,
}

/// A checked program.
#[derive(Debug)]
pub struct Program {
    program_id: ProgramId,
    folder: PathBuf,
    /// The result of the check.
    pub checked: Checked,
    /// The configuration from `npc.toml`.
    pub config: Config,
    /// The errors of the configuration.
    pub broken_config: Option<BrokenConfig>,
    /// The cluster, if there is a cluster file.
    pub cluster: Option<Arc<Cluster>>,
    name_index: OnceLock<NameIndex>,
    texts: Vec<OnceLock<Text>>,
}

/// A word of a program and its role.
#[derive(Clone, Copy, Debug)]
pub struct Found<'p> {
    /// The index of the file among the loaded files.
    pub file: usize,
    /// The item that contains the word.
    pub item: &'p Item,
    /// The role of the word.
    pub role: Role,
    /// The word.
    pub word: Word,
}

impl Program {
    pub(super) fn new(
        program_id: ProgramId,
        checked: Checked,
        config: Config,
        broken_config: Option<BrokenConfig>,
        cluster: Option<Arc<Cluster>>,
    ) -> Self {
        let texts = checked.loaded.files.iter().map(|_| OnceLock::new()).collect();
        Self {
            folder: program_id.folder().to_owned(),
            program_id,
            checked,
            config,
            broken_config,
            cluster,
            name_index: OnceLock::new(),
            texts,
        }
    }

    /// Which program it is.
    #[must_use]
    pub const fn program_id(&self) -> &ProgramId {
        &self.program_id
    }

    /// The program's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of a file of the program.
    #[must_use]
    pub fn path(&self, file: FileId) -> PathBuf {
        self.folder.join(self.checked.sources().file(file).name())
    }

    /// The loaded files.
    #[must_use]
    pub fn files(&self) -> &[LoadedFile] {
        &self.checked.loaded.files
    }

    /// The index of the file at a path.
    #[must_use]
    pub fn file(&self, path: &Path) -> Option<usize> {
        let name = npc_project::with_slashes(path.strip_prefix(&self.folder).ok()?);
        self.files().iter().position(|file| *file.path == *name)
    }

    /// The text of a file, with its line index.
    #[must_use]
    pub fn text(&self, file: FileId) -> &Text {
        static NONE: OnceLock<Text> = OnceLock::new();
        // Ids are assigned in the order of loading.
        match self.texts.get(file.0 as usize) {
            Some(text) => text.get_or_init(|| Text::new(self.checked.sources().file(file).text())),
            None => NONE.get_or_init(|| Text::new("")),
        }
    }

    /// The text of a file.
    #[must_use]
    pub fn source(&self, file: usize) -> &str {
        self.files().get(file).map_or("", |file| self.checked.sources().file(file.id).text())
    }

    /// The source text at a location, on one line and without comments.
    #[must_use]
    pub fn written(&self, location: Location) -> String {
        let Location { file, span } = self.absolute(location);
        let text = self.checked.sources().file(file).text();
        let comments = self.files().iter().find(|own| own.id == file).map(|own| &own.parsed.comments);
        let (mut out, mut from) = (String::new(), span.start);
        let within = |own: &&npc_syntax::Comment| span.start <= own.span.start && own.span.end <= span.end;
        for comment in comments.into_iter().flatten().filter(within) {
            out.push_str(Span::new(from, comment.span.start).of(text));
            from = comment.span.end;
        }
        out.push_str(Span::new(from, span.end).of(text));
        out.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The item at an offset.
    #[must_use]
    pub fn item(&self, file: usize, offset: u32) -> Option<&Item> {
        let items = &self.files().get(file)?.parsed.tree.items;
        let behind = items.partition_point(|item| item.span.start <= offset);
        items.get(behind.checked_sub(1)?).map(|item| &**item).filter(|item| item.span.touches(offset))
    }

    /// The word at an offset.
    #[must_use]
    pub fn word(&self, file: usize, offset: u32) -> Option<Found<'_>> {
        let item = self.item(file, offset)?;
        let mut found = None;
        visit_words(item, &mut |role, word| {
            if word.span.touches(offset) {
                found = Some(Found { file, item, role, word });
            }
        });
        found
    }

    /// The location in its file: the locations of policies and of the members of sets are in items.
    #[must_use]
    pub fn absolute(&self, location: Location) -> Location {
        self.checked.sources().absolute(location)
    }

    /// The text of a word, without quotes.
    #[must_use]
    pub fn says(&self, file: usize, word: Word) -> String {
        word.text(self.source(file)).into_owned()
    }

    /// The policy whose item is at an offset.
    #[must_use]
    pub fn policy(&self, file: usize, offset: u32) -> Option<&Arc<Policy>> {
        let id = self.files().get(file)?.id;
        let here = |place: Location| {
            let place = self.absolute(place);
            place.file == id && place.span.touches(offset)
        };
        self.checked.program.policies.iter().find(|policy| here(policy.whole))
    }

    /// The policy with a name.
    #[must_use]
    pub fn policy_named(&self, name: &str) -> Option<&Arc<Policy>> {
        self.checked.program.policies.iter().find(|policy| *policy.name == *name)
    }

    /// The names and labels that the program and the cluster use.
    #[must_use]
    pub fn name_index(&self) -> &NameIndex {
        self.name_index.get_or_init(|| NameIndex::of(self))
    }
}
