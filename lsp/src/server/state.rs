//! The server's mutable state: which programs are checked, and which diagnostics the editor has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use npc_driver::Stop;
use tower_lsp::ls_types::{
    ClientCapabilities, Diagnostic, InitializeParams, PositionEncodingKind, SemanticToken, Uri,
};

use crate::capability::completion::{ASK_AGAIN, Abilities};
use crate::convert::{Versions, uri};
use crate::core::program::Program;
use crate::core::program_id::ProgramId;
use crate::core::text::Encoding;
use crate::core::workspace::Workspace;

/// The editor's capabilities, as it announced them in `initialize`.
#[derive(Clone, Debug, Default)]
pub(super) struct Editor {
    /// Its completion capabilities.
    pub(super) completion: Abilities,
    /// It pulls diagnostics.
    pub(super) pulls: bool,
    /// It watches files on request.
    pub(super) watches: bool,
    /// It can watch files outside its folders.
    pub(super) relative_patterns: bool,
    /// It combines semantic tokens with the tokens of its own grammar.
    pub(super) augments: bool,
    /// It answers requests for settings.
    pub(super) has_settings: bool,
    /// It shows work-done progress.
    pub(super) progress: bool,
    /// Which refresh requests it supports: diagnostics, inlay hints, code lenses, semantic tokens.
    pub(super) refreshes: [bool; 4],
    /// It supports edits with document versions.
    pub(super) versioned_edits: bool,
    /// The commands that it implements itself.
    pub(super) commands: Vec<String>,
    /// The cluster file in its initialization options.
    pub(super) cluster: Option<String>,
}

impl Editor {
    /// Reads the capabilities, and chooses the position encoding.
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

    /// Whether the editor implements a command.
    pub(super) fn has(&self, command: &str) -> bool {
        self.commands.iter().any(|own| own == command)
    }
}

/// A checked program.
#[derive(Debug)]
pub(super) struct Checked {
    /// The edit that it includes.
    edit: u64,
    program: Arc<Program>,
    /// Its diagnostics, by file.
    found: DiagnosticsByFile,
}

/// The diagnostics of a program, by file.
pub(super) type DiagnosticsByFile = HashMap<PathBuf, Vec<Diagnostic>>;

/// The diagnostics of a file, and its version if it is open.
pub(super) type FileDiagnostics = (PathBuf, Vec<Diagnostic>, Option<i32>);

/// Diagnostics to publish.
pub(super) type Publish = (Uri, Vec<Diagnostic>, Option<i32>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) editor: Editor,
    pub(super) workspace: Workspace,
    pub(super) encoding: Encoding,
    /// Whether the background checks are running.
    pub(super) checks: bool,
    /// Whether the editor reports changes on disk.
    pub(super) is_watching: bool,
    /// Whether the search for programs in the editor's folders has finished.
    pub(super) is_found: bool,
    /// Whether the editor pulls the diagnostics of all files, not only of open ones.
    pulls_all: bool,
    /// The closed files for which diagnostics were pushed.
    pushed: BTreeSet<PathBuf>,
    versions: Arc<BTreeMap<PathBuf, i32>>,
    /// The number of edits so far.
    edits: u64,
    /// The last edit that affects each program.
    touched: BTreeMap<ProgramId, u64>,
    checked: BTreeMap<ProgramId, Checked>,
    /// The programs whose check panicked, and the edit that the check included.
    failed: BTreeMap<ProgramId, u64>,
    /// The running check: its program, and what stops it.
    running: Option<(ProgramId, Stop)>,
    /// Whether the last check was stopped.
    was_stopped: bool,
    /// The diagnostics last published for each file, and the file's version then.
    sent: BTreeMap<PathBuf, (Vec<Diagnostic>, Option<i32>)>,
    /// The semantic tokens last sent for each file, and their result id.
    pub(super) tokens: BTreeMap<PathBuf, (String, Vec<SemanticToken>)>,
}

impl State {
    /// Sets the version of a file; `None` closes it.
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

    /// The versions of the open files, if the editor supports versioned edits.
    pub(super) fn versions(&self) -> Versions {
        self.editor.versioned_edits.then(|| Arc::clone(&self.versions))
    }

    /// Marks the programs that may contain the changed file as outdated; all programs if `path` is `None`.
    pub(super) fn touch(&mut self, path: Option<&Path>) {
        self.touch_where(|program_id| path.is_none_or(|path| program_id.may_hold(path)));
    }

    /// Marks the programs that are not known yet as outdated, after the set of programs may have changed.
    pub(super) fn touch_new(&mut self) {
        self.touch_where(|_| false);
    }

    fn touch_where(&mut self, is_touched: impl Fn(&ProgramId) -> bool) {
        self.edits += 1;
        for program_id in self.workspace.programs() {
            if is_touched(&program_id) || !self.touched.contains_key(&program_id) {
                // Of two checks in a row only one is stopped, so that an editor whose user types without a pause
                // gets diagnostics too.
                if let Some((_, stop)) =
                    self.running.take_if(|(own, _)| *own == program_id && !self.was_stopped)
                {
                    stop.stop();
                    self.was_stopped = true;
                }
                self.touched.insert(program_id, self.edits);
            }
        }
    }

    /// Registers a check that begins. Returns what an edit stops it with.
    pub(super) fn start(&mut self, program_id: &ProgramId) -> Stop {
        let stop = Stop::default();
        self.running = Some((program_id.clone(), stop.clone()));
        stop
    }

    fn touched(&self, program_id: &ProgramId) -> u64 {
        self.touched.get(program_id).copied().unwrap_or_default()
    }

    /// The program to check next, and the edit that the check will include: the program touched last. Also
    /// drops the programs that are neither open nor in one of the editor's folders.
    pub(super) fn next(&mut self) -> Option<(ProgramId, u64)> {
        let homes = self.workspace.programs();
        let is_there = |program_id: &ProgramId| homes.binary_search(program_id).is_ok();
        self.touched.retain(|program_id, _| is_there(program_id));
        self.checked.retain(|program_id, _| is_there(program_id));
        self.failed.retain(|program_id, _| is_there(program_id));
        let is_stale = |program_id: &&ProgramId| {
            let touched = self.touched(program_id);
            self.checked.get(*program_id).is_none_or(|known| known.edit < touched)
                && self.failed.get(*program_id).is_none_or(|edit| *edit < touched)
        };
        // Among programs that changed together, one with an open file comes first.
        let is_open = |program_id: &ProgramId| self.versions.keys().any(|path| program_id.may_hold(path));
        let stale = homes
            .iter()
            .filter(is_stale)
            .max_by_key(|program_id| (self.touched(program_id), is_open(program_id)))?;
        Some((stale.clone(), self.touched(stale)))
    }

    /// Stores the result of a check that includes `edit`; `None` if the check failed. Returns the previous
    /// result.
    pub(super) fn take(
        &mut self,
        program_id: ProgramId,
        checked: Option<(Program, DiagnosticsByFile)>,
        edit: u64,
    ) -> Option<Checked> {
        self.running = None;
        self.was_stopped = false;
        let Some((program, found)) = checked else {
            self.failed.insert(program_id, edit);
            return None;
        };
        self.failed.remove(&program_id);
        self.checked.insert(program_id, Checked { edit, program: Arc::new(program), found })
    }

    /// The program, if its check is current. With `stale`, also an outdated one.
    pub(super) fn program(&self, program_id: &ProgramId, stale: bool) -> Option<Arc<Program>> {
        let known = self.checked.get(program_id)?;
        (stale || known.edit >= self.touched(program_id)).then(|| Arc::clone(&known.program))
    }

    /// Whether the check of the program in its current state failed.
    pub(super) fn is_failed(&self, program_id: &ProgramId) -> bool {
        self.failed.get(program_id).is_some_and(|edit| *edit >= self.touched(program_id))
    }

    /// Whether the background checks cover the program.
    pub(super) fn is_checked(&self, program_id: &ProgramId) -> bool {
        self.checks && self.workspace.programs().binary_search(program_id).is_ok()
    }

    /// The other programs that contain or import the file.
    pub(super) fn others(&self, path: &Path) -> Vec<ProgramId> {
        let own = self.workspace.program_id(path);
        let importing = self.checked.iter().filter(|(_, known)| known.program.file(path).is_some());
        let mut homes: Vec<ProgramId> =
            importing.map(|(program_id, _)| program_id.clone()).chain(own.outer()).collect();
        homes.sort_unstable();
        homes.dedup();
        homes.retain(|program_id| *program_id != own);
        homes
    }

    /// The program whose diagnostics are used for a file: its own if the file is open, otherwise the
    /// innermost program that contains it.
    fn owner(&self, path: &Path) -> Option<ProgramId> {
        if self.versions.contains_key(path) {
            return Some(self.workspace.program_id(path));
        }
        let mut folders = path.ancestors().map(|folder| ProgramId::Folder(folder.to_owned()));
        folders.find(|program_id| self.checked.contains_key(program_id)).or_else(|| {
            let importing = self.checked.iter().filter(|(_, known)| known.found.contains_key(path));
            importing
                .map(|(program_id, _)| program_id)
                .max_by_key(|program_id| program_id.folder().as_os_str().len())
                .cloned()
        })
    }

    /// The diagnostics of a file, if they are current.
    pub(super) fn found(&self, path: &Path) -> Option<&[Diagnostic]> {
        let owner = self.owner(path)?;
        let known = self.checked.get(&owner).filter(|known| known.edit >= self.touched(&owner))?;
        Some(known.found.get(path).map_or(&[][..], Vec::as_slice))
    }

    /// From now on the editor pulls the diagnostics of all files. Returns the files with pushed diagnostics,
    /// which must be cleared.
    pub(super) fn pull_all(&mut self) -> Vec<Uri> {
        self.pulls_all = true;
        std::mem::take(&mut self.pushed).iter().filter_map(|path| uri(path)).collect()
    }

    /// The diagnostics and version (if open) of every file that belongs to a program or has diagnostics.
    /// `None` if a program is outdated.
    pub(super) fn found_of_all(&self) -> Option<Vec<FileDiagnostics>> {
        let homes = self.workspace.programs();
        // A program whose check failed has no diagnostics.
        let is_known =
            |program_id: &ProgramId| self.program(program_id, false).is_some() || self.is_failed(program_id);
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

    /// The diagnostics to publish: those of every file whose diagnostics or version have changed since they
    /// were last published. The second value is whether an editor that pulls must pull again.
    pub(super) fn pending_publishes(&mut self) -> (Vec<Publish>, bool) {
        let mut paths: Vec<PathBuf> = self.sent.keys().chain(self.versions.keys()).cloned().collect();
        paths.extend(self.checked.values().flat_map(|known| known.found.keys().cloned()));
        paths.sort_unstable();
        paths.dedup();
        let (mut pending_publishes, mut again) = (Vec::new(), false);
        for path in paths {
            let version = self.versions.get(&path).copied();
            let inside = self.owner(&path).is_some();
            let found = match self.found(&path) {
                Some(found) => found.to_vec(),
                // A file of no known program has no diagnostics. A file of an outdated program waits for its
                // check.
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
                // An editor that pulls does so for an open file when that file changes, but not when another
                // one does. Diagnostics pushed before the file was open are cleared.
                let is_edit = |of: &Option<i32>| version.is_some() && *of != version;
                again |= before.is_none_or(|(own, of)| !is_edit(of) && *own != found);
                if self.pushed.remove(&path)
                    && let Some(uri) = uri(&path)
                {
                    pending_publishes.push((uri, Vec::new(), version));
                }
            } else if let Some(uri) = uri(&path) {
                pending_publishes.push((uri, found.clone(), version));
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
        (pending_publishes, again)
    }
}
