//! What changes while the server runs, and who is told what.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tower_lsp::ls_types::{
    ClientCapabilities, Diagnostic, InitializeParams, PositionEncodingKind, SemanticToken, Uri,
};

use crate::capability::completion::{ASK_AGAIN, Abilities};
use crate::convert::{Versions, uri};
use crate::core::home::Home;
use crate::core::program::Program;
use crate::core::text::Encoding;
use crate::core::workspace::Workspace;

/// What the editor can do, as it said when it began.
#[derive(Clone, Debug, Default)]
pub(super) struct Editor {
    /// What of completion.
    pub(super) completion: Abilities,
    /// It asks for diagnostics itself.
    pub(super) pulls: bool,
    /// It watches files where it is asked to.
    pub(super) watches: bool,
    /// It can be told of files that lie anywhere.
    pub(super) relative_patterns: bool,
    /// It adds the tokens that it is given to those of its own grammar.
    pub(super) augments: bool,
    /// It can be asked for settings.
    pub(super) has_settings: bool,
    /// It shows progress.
    pub(super) progress: bool,
    /// It asks again where it is told to: for diagnostics, for hints, for lenses, for tokens.
    pub(super) refreshes: [bool; 4],
    /// It takes edits with the versions of the files that they are of.
    pub(super) versioned_edits: bool,
    /// The commands that it has.
    pub(super) commands: Vec<String>,
    /// The cluster file that it names from the start.
    pub(super) cluster: Option<String>,
}

impl Editor {
    /// As it says, with the encoding of places that suits both.
    pub(super) fn new(parameters: &InitializeParams) -> (Self, Encoding) {
        let own: &ClientCapabilities = &parameters.capabilities;
        let options = parameters.initialization_options.as_ref();
        let commands: Vec<String> = options
            .and_then(|options| options.get("commands")?.as_array())
            .into_iter()
            .flatten()
            .filter_map(|command| command.as_str().map(str::to_owned))
            .collect();
        let text = own.text_document.as_ref();
        let workspace = own.workspace.as_ref();
        let snippets = text
            .and_then(|text| text.completion.as_ref()?.completion_item.as_ref()?.snippet_support)
            .unwrap_or_default();
        let watched = workspace.and_then(|own| own.did_change_watched_files.as_ref());
        let encodings = own.general.as_ref().and_then(|general| general.position_encodings.as_ref());
        let utf8 = encodings.is_some_and(|offered| offered.contains(&PositionEncodingKind::UTF8));
        let refreshes = [
            workspace.and_then(|own| own.diagnostics.as_ref()?.refresh_support),
            workspace.and_then(|own| own.inlay_hint.as_ref()?.refresh_support),
            workspace.and_then(|own| own.code_lens.as_ref()?.refresh_support),
            workspace.and_then(|own| own.semantic_tokens.as_ref()?.refresh_support),
        ];
        let editor = Self {
            completion: Abilities { snippets, asks_again: commands.iter().any(|own| own == ASK_AGAIN) },
            pulls: text.is_some_and(|text| text.diagnostic.is_some()),
            watches: watched.and_then(|own| own.dynamic_registration).unwrap_or_default(),
            relative_patterns: watched.and_then(|own| own.relative_pattern_support).unwrap_or_default(),
            augments: text
                .and_then(|text| text.semantic_tokens.as_ref()?.augments_syntax_tokens)
                .unwrap_or_default(),
            has_settings: workspace.and_then(|own| own.configuration).unwrap_or_default(),
            progress: own.window.as_ref().and_then(|own| own.work_done_progress).unwrap_or_default(),
            refreshes: refreshes.map(Option::unwrap_or_default),
            versioned_edits: workspace
                .and_then(|own| own.workspace_edit.as_ref()?.document_changes)
                .unwrap_or_default(),
            commands,
            cluster: options
                .and_then(|options| options.get("cluster")?.as_str())
                .filter(|path| !path.is_empty())
                .map(str::to_owned),
        };
        (editor, if utf8 { Encoding::Utf8 } else { Encoding::Utf16 })
    }

    /// Whether it has a command.
    pub(super) fn has(&self, command: &str) -> bool {
        self.commands.iter().any(|own| own == command)
    }
}

/// A program that was checked.
#[derive(Debug)]
pub(super) struct Checked {
    /// After which edit.
    edit: u64,
    program: Arc<Program>,
    /// What was found, by file.
    found: Found,
}

/// What was found in a program, by file.
pub(super) type Found = HashMap<PathBuf, Vec<Diagnostic>>;

/// What was found in a file, and its version, where it is open.
pub(super) type FoundIn = (PathBuf, Vec<Diagnostic>, Option<i32>);

/// Diagnostics that are to be sent.
pub(super) type Told = (Uri, Vec<Diagnostic>, Option<i32>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) editor: Editor,
    pub(super) workspace: Workspace,
    pub(super) encoding: Encoding,
    /// Whether somebody checks what changed.
    pub(super) checks: bool,
    /// Whether the editor agreed to tell of changes on the disk.
    pub(super) is_watching: bool,
    /// Whether the programs in the editor's folders were looked for.
    pub(super) is_found: bool,
    /// Whether the editor asks for the diagnostics of every file, and not only of those that are open.
    pulls_all: bool,
    /// The files that are not open of which diagnostics were sent.
    pushed: BTreeSet<PathBuf>,
    versions: Arc<BTreeMap<PathBuf, i32>>,
    /// How often something changed.
    edits: u64,
    /// The last edit that each program was touched by.
    touched: BTreeMap<Home, u64>,
    checked: BTreeMap<Home, Checked>,
    /// The programs of which a check failed, which it should not, and after which edit.
    failed: BTreeMap<Home, u64>,
    /// What was sent last of each file, for which version of it.
    sent: BTreeMap<PathBuf, (Vec<Diagnostic>, Option<i32>)>,
    /// The tokens that were sent last of each file, and what they are called.
    pub(super) tokens: BTreeMap<PathBuf, (String, Vec<SemanticToken>)>,
}

impl State {
    /// A file is of another version, or open no more.
    pub(super) fn set_version(&mut self, path: &Path, version: Option<i32>) {
        let versions = Arc::make_mut(&mut self.versions);
        match version {
            Some(version) => {
                versions.insert(path.to_owned(), version);
            }
            None => {
                versions.remove(path);
                self.tokens.remove(path);
            }
        }
    }

    /// The versions of what is open, for an editor that can take them.
    pub(super) fn versions(&self) -> Versions {
        self.editor.versioned_edits.then(|| Arc::clone(&self.versions))
    }

    /// Something changed, in a file or anywhere: the programs that it is of are to be checked again.
    pub(super) fn touch(&mut self, path: Option<&Path>) {
        self.touch_where(|home| path.is_none_or(|path| home.may_hold(path)));
    }

    /// There may be other programs: those that are new are to be checked, and others are as they were.
    pub(super) fn touch_new(&mut self) {
        self.touch_where(|_| false);
    }

    fn touch_where(&mut self, is_touched: impl Fn(&Home) -> bool) {
        self.edits += 1;
        for home in self.workspace.programs() {
            if is_touched(&home) || !self.touched.contains_key(&home) {
                self.touched.insert(home, self.edits);
            }
        }
    }

    fn touched(&self, home: &Home) -> u64 {
        self.touched.get(home).copied().unwrap_or_default()
    }

    /// The program that is to be checked next, and after which edit: the one that was touched last. What is
    /// neither open nor in a folder of the editor's is forgotten.
    pub(super) fn next(&mut self) -> Option<(Home, u64)> {
        let homes = self.workspace.programs();
        let is_there = |home: &Home| homes.binary_search(home).is_ok();
        self.touched.retain(|home, _| is_there(home));
        self.checked.retain(|home, _| is_there(home));
        self.failed.retain(|home, _| is_there(home));
        let is_stale = |home: &&Home| {
            let touched = self.touched(home);
            self.checked.get(*home).is_none_or(|known| known.edit < touched)
                && self.failed.get(*home).is_none_or(|edit| *edit < touched)
        };
        // Of those that changed together, what is open comes first.
        let is_open = |home: &Home| self.versions.keys().any(|path| home.may_hold(path));
        let stale = homes.iter().filter(is_stale).max_by_key(|home| (self.touched(home), is_open(home)))?;
        Some((stale.clone(), self.touched(stale)))
    }

    /// A program was checked as it was after an edit, and what was found; or that failed. Gives the one before.
    pub(super) fn take(
        &mut self,
        home: Home,
        checked: Option<(Program, Found)>,
        edit: u64,
    ) -> Option<Checked> {
        let Some((program, found)) = checked else {
            self.failed.insert(home, edit);
            return None;
        };
        self.failed.remove(&home);
        self.checked.insert(home, Checked { edit, program: Arc::new(program), found })
    }

    /// The program of a file, where it is known as it is now; or as it was last, whatever changed since.
    pub(super) fn program(&self, home: &Home, stale: bool) -> Option<Arc<Program>> {
        let known = self.checked.get(home)?;
        (stale || known.edit >= self.touched(home)).then(|| Arc::clone(&known.program))
    }

    /// Whether a check of a program failed, as it is now.
    pub(super) fn is_failed(&self, home: &Home) -> bool {
        self.failed.get(home).is_some_and(|edit| *edit >= self.touched(home))
    }

    /// Whether a program will be checked anyway.
    pub(super) fn is_checked(&self, home: &Home) -> bool {
        self.checks && self.workspace.programs().binary_search(home).is_ok()
    }

    /// The other programs that a file is of, or is imported by.
    pub(super) fn others(&self, path: &Path) -> Vec<Home> {
        let own = self.workspace.home(path);
        let importing = self.checked.iter().filter(|(_, known)| known.program.file(path).is_some());
        let mut homes: Vec<Home> = importing.map(|(home, _)| home.clone()).chain(own.outer()).collect();
        homes.sort_unstable();
        homes.dedup();
        homes.retain(|home| *home != own);
        homes
    }

    /// The program that says what is found in a file: of one that is open its own, or else the innermost that
    /// has it.
    fn owner(&self, path: &Path) -> Option<Home> {
        if self.versions.contains_key(path) {
            return Some(self.workspace.home(path));
        }
        let mut folders = path.ancestors().map(|folder| Home::Folder(folder.to_owned()));
        folders.find(|home| self.checked.contains_key(home)).or_else(|| {
            let importing = self.checked.iter().filter(|(_, known)| known.found.contains_key(path));
            importing.map(|(home, _)| home).max_by_key(|home| home.folder().as_os_str().len()).cloned()
        })
    }

    /// What was found in a file, where that is known as it is now.
    pub(super) fn found(&self, path: &Path) -> Option<&[Diagnostic]> {
        let owner = self.owner(path)?;
        let known = self.checked.get(&owner).filter(|known| known.edit >= self.touched(&owner))?;
        Some(known.found.get(path).map_or(&[][..], Vec::as_slice))
    }

    /// The editor asks for the diagnostics of every file from now on. Gives those of which it was sent some, to
    /// be taken back.
    pub(super) fn pull_all(&mut self) -> Vec<Uri> {
        self.pulls_all = true;
        std::mem::take(&mut self.pushed).iter().filter_map(|path| uri(path)).collect()
    }

    /// Every file of a program or with diagnostics, with what was found in it and its version, where it is open.
    /// Nothing where a program is not known as it is now.
    pub(super) fn found_of_all(&self) -> Option<Vec<FoundIn>> {
        let homes = self.workspace.programs();
        // What cannot be checked has no diagnostics.
        let is_known = |home: &Home| self.program(home, false).is_some() || self.is_failed(home);
        if !homes.iter().all(is_known) {
            return None;
        }
        let mut paths: BTreeSet<PathBuf> = self.versions.keys().cloned().collect();
        for known in self.checked.values() {
            paths.extend(known.found.keys().cloned());
            paths.extend(known.program.files().iter().map(|file| known.program.path(file.id)));
        }
        let found = |path: PathBuf| {
            let found = self.found(&path).map(<[Diagnostic]>::to_vec).unwrap_or_default();
            let version = self.versions.get(&path).copied();
            (path, found, version)
        };
        Some(paths.into_iter().map(found).collect())
    }

    /// What editors are to be told: of every file of which something else is found than was told, or that is
    /// of another version. The second value is whether an editor that asks itself has to ask again.
    pub(super) fn news(&mut self) -> (Vec<Told>, bool) {
        let mut paths: Vec<PathBuf> = self.sent.keys().chain(self.versions.keys()).cloned().collect();
        paths.extend(self.checked.values().flat_map(|known| known.found.keys().cloned()));
        paths.sort_unstable();
        paths.dedup();
        let (mut news, mut again) = (Vec::new(), false);
        for path in paths {
            let version = self.versions.get(&path).copied();
            let inside = self.owner(&path).is_some();
            let found = match self.found(&path) {
                Some(found) => found.to_vec(),
                // What lies in no program that is known has none; of one that is being checked, it is told then.
                None if !inside && version.is_none() => Vec::new(),
                None => continue,
            };
            let before = self.sent.get(&path);
            if before.is_some_and(|(own, of)| *own == found && *of == version)
                || before.is_none() && found.is_empty() && version.is_none()
            {
                continue;
            }
            if self.editor.pulls && (version.is_some() || self.pulls_all) {
                // It asks for those that are open, when they change; not when another file does. What it was
                // sent before it was open, is taken back.
                let is_edit = |of: &Option<i32>| version.is_some() && *of != version;
                again |= before.is_none_or(|(own, of)| !is_edit(of) && *own != found);
                if self.pushed.remove(&path)
                    && let Some(uri) = uri(&path)
                {
                    news.push((uri, Vec::new(), version));
                }
            } else if let Some(uri) = uri(&path) {
                news.push((uri, found.clone(), version));
                if found.is_empty() || version.is_some() {
                    self.pushed.remove(&path);
                } else {
                    self.pushed.insert(path.clone());
                }
            }
            if found.is_empty() && version.is_none() {
                self.sent.remove(&path);
            } else {
                self.sent.insert(path, (found, version));
            }
        }
        (news, again)
    }
}
