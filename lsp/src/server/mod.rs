//! The protocol server: forwards requests to `core` and `capability`, and returns their answers.

mod capabilities;
mod commands;
mod pull;
mod requests;
mod state;
mod tokens;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};
use tower_lsp::Client;
use tower_lsp::jsonrpc::{Error, Result};
use tower_lsp::ls_types::{ConfigurationItem, MessageType, ProgressToken, Registration, Unregistration, Uri};

use crate::capability::tests::{RunParams, RunResult, Test, TestsParams};
use crate::capability::views::{FileParams, PolicyParams, Shown, YamlParams};
use crate::capability::{diagnostics, tests, views};
use crate::convert::{Places, Versions, path};
use crate::core::document::Document;
use crate::core::program::Program;
use crate::core::program_id::ProgramId;
use crate::core::text::Encoding;
use crate::core::workspace::{ClusterResult, Workspace};
use npc_driver::{Stopped, Uninterrupted};
use state::State;

/// How long a check runs before its progress is shown.
const PROGRESS_DELAY: Duration = Duration::from_millis(500);

/// The server. Clones share one state.
#[derive(Clone)]
pub(crate) struct Server {
    client: Client,
    state: Arc<Mutex<State>>,
    /// Notified when something must be checked.
    changed: Arc<Notify>,
    /// Notified when a check has finished.
    checked: Arc<Notify>,
}

/// A snapshot of the state, for answering one request.
struct Snapshot {
    workspace: Workspace,
    encoding: Encoding,
    /// The document versions to put into edits.
    versions: Versions,
}

/// An open document, for requests that need only its text.
struct Open {
    path: PathBuf,
    document: Arc<Document>,
    encoding: Encoding,
}

impl Server {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, state: Arc::default(), changed: Arc::default(), checked: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in another request cannot leave a text half edited: each edit is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes the checker. Edits apply in the order of the notifications, because each
    /// is applied before the first `await`.
    fn edit(&self, edit: impl FnOnce(&mut State)) {
        edit(&mut self.state());
        self.changed.notify_one();
    }

    /// Checks each program that changed, one after the other, and publishes the diagnostics. A program that
    /// changes during its check is checked again, and its diagnostics are published only then.
    async fn check_on_change(self) {
        let mut number = 0;
        loop {
            let next = {
                let mut state = self.state();
                let encoding = state.encoding;
                state.next().map(|(program_id, edit)| {
                    let before = state.program(&program_id, true);
                    let stop = state.start(&program_id);
                    (program_id, edit, state.workspace.clone(), encoding, before, stop)
                })
            };
            let Some((program_id, edit, workspace, encoding, before, stop)) = next else {
                self.tell().await;
                self.changed.notified().await;
                continue;
            };
            number += 1;
            let own = program_id.clone();
            let work = in_pool(move || {
                let program = workspace.check(&own, before.as_deref(), &stop)?;
                let found = diagnostics::of_program(Places { program: &program, encoding });
                Ok((program, found))
            });
            let checked = match self.with_progress(work, number, program_id.folder()).await {
                Some(Err(Stopped)) => continue,
                Some(Ok(checked)) => Some(checked),
                None => None,
            };
            let before = self.state().take(program_id, checked, edit);
            self.checked.notify_waiters();
            self.tell().await;
            // The old program consists of many small allocations: dropped on the pool, so that no request
            // waits for it.
            in_pool(move || drop(before));
        }
    }

    /// Waits for a check, and shows its progress if it takes long.
    async fn with_progress<T>(&self, mut work: JoinHandle<T>, number: u64, folder: &Path) -> Option<T> {
        if let Ok(done) = tokio::time::timeout(PROGRESS_DELAY, &mut work).await {
            return done.ok();
        }
        if !self.state().editor.progress {
            return work.await.ok();
        }
        let token = ProgressToken::String(format!("npc/check/{number}"));
        // An editor that never answers must not block the check.
        let made =
            tokio::time::timeout(PROGRESS_DELAY, self.client.create_work_done_progress(token.clone())).await;
        if !matches!(made, Ok(Ok(()))) {
            return work.await.ok();
        }
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let progress = self.client.progress(token, "Checking").with_message(name).begin().await;
        let done = work.await.ok();
        progress.finish().await;
        done
    }

    async fn tell(&self) {
        let (pending_publishes, again, refreshes) = {
            let mut state = self.state();
            let (pending_publishes, again) = state.pending_publishes();
            (pending_publishes, again, state.editor.refreshes)
        };
        let something = !pending_publishes.is_empty() || again;
        for (uri, diagnostics, version) in pending_publishes {
            self.client.publish_diagnostics(uri, diagnostics, version).await;
        }
        // Spawned, because an editor may answer late.
        let client = self.client.clone();
        let [diagnostics, hints, lenses, tokens] = refreshes;
        tokio::spawn(async move {
            if diagnostics && again {
                let _ = client.workspace_diagnostic_refresh().await;
            }
            if something {
                if hints {
                    let _ = client.inlay_hint_refresh().await;
                }
                if lenses {
                    let _ = client.code_lens_refresh().await;
                }
                if tokens {
                    let _ = client.semantic_tokens_refresh().await;
                }
            }
        });
    }

    /// The program, checked in its current state.
    async fn program(&self, program_id: &ProgramId) -> Result<Arc<Program>> {
        loop {
            let checked = self.checked.notified();
            tokio::pin!(checked);
            // From here on no notification is missed.
            checked.as_mut().enable();
            let direct = {
                let state = self.state();
                if let Some(program) = state.program(program_id, false) {
                    return Ok(program);
                }
                if state.is_failed(program_id) {
                    return Err(Error::internal_error());
                }
                (!state.is_checked(program_id)).then(|| state.workspace.clone())
            };
            if let Some(workspace) = direct {
                let program_id = program_id.clone();
                let work = in_pool(move || {
                    let Ok(program) = workspace.check(&program_id, None, &Uninterrupted);
                    Arc::new(program)
                });
                return work.await.map_err(|_| Error::internal_error());
            }
            checked.await;
        }
    }

    /// The given programs, checked in their current state.
    async fn programs(&self, homes: &[ProgramId]) -> Result<Vec<Arc<Program>>> {
        let mut programs = Vec::with_capacity(homes.len());
        for program_id in homes {
            programs.push(self.program(program_id).await?);
        }
        Ok(programs)
    }

    /// Runs `ask` on the program of a file. `None` if the file belongs to no program.
    async fn ask<T: Send + 'static>(
        &self,
        uri: &Uri,
        ask: impl FnOnce(Places<'_>, usize, &Snapshot) -> T + Send + 'static,
    ) -> Result<Option<T>> {
        let Some(path) = path(uri) else { return Ok(None) };
        let program_id = self.state().workspace.program_id(&path);
        let program = self.program(&program_id).await?;
        let seen = self.seen();
        let work = spawn_blocking(move || {
            let file = program.file(&path)?;
            Some(ask(Places { program: &program, encoding: seen.encoding }, file, &seen))
        });
        work.await.map_err(|_| Error::internal_error())
    }

    /// Runs `ask` on every program that contains or imports the file, starting with its own.
    async fn with_all_programs<T: Send + 'static>(
        &self,
        uri: &Uri,
        mut ask: impl FnMut(Places<'_>, usize, &Snapshot, &mut T) -> Result<()> + Send + 'static,
        mut answer: T,
    ) -> Result<Option<T>> {
        let Some(path) = path(uri) else { return Ok(None) };
        let program_id = self.state().workspace.program_id(&path);
        let mut programs = vec![self.program(&program_id).await?];
        let others = self.state().others(&path);
        programs.extend(self.programs(&others).await?);
        let seen = self.seen();
        let work = spawn_blocking(move || {
            for program in &programs {
                let places = Places { program, encoding: seen.encoding };
                if let Some(file) = program.file(&path) {
                    ask(places, file, &seen, &mut answer)?;
                }
            }
            Ok(answer)
        });
        work.await.map_err(|_| Error::internal_error())?.map(Some)
    }

    fn seen(&self) -> Snapshot {
        let state = self.state();
        Snapshot { workspace: state.workspace.clone(), encoding: state.encoding, versions: state.versions() }
    }

    /// Runs `ask` on an open document.
    async fn with_document<T: Send + 'static>(
        &self,
        uri: &Uri,
        ask: impl FnOnce(&Open) -> T + Send + 'static,
    ) -> Result<Option<T>> {
        let Some(open) = self.open(uri) else { return Ok(None) };
        let work = spawn_blocking(move || ask(&open));
        work.await.map(Some).map_err(|_| Error::internal_error())
    }

    fn open(&self, uri: &Uri) -> Option<Open> {
        let path = path(uri)?;
        let state = self.state();
        let document = Arc::clone(state.workspace.document(&path)?);
        let encoding = state.encoding;
        drop(state);
        Some(Open { path, document, encoding })
    }

    /// Asks the editor to report changes on disk.
    async fn watch(&self) {
        if !self.state().editor.watches {
            return;
        }
        // Some editors do not report the files of a deleted folder, only the folder.
        let watchers = json!([
            {"globPattern": "**/*.np"},
            {"globPattern": "**/npc.toml"},
            {"globPattern": "**/*", "kind": 4},
        ]);
        let registration = Registration {
            id: "files".to_owned(),
            method: "workspace/didChangeWatchedFiles".to_owned(),
            register_options: Some(json!({"watchers": watchers})),
        };
        if self.client.register_capability(vec![registration]).await.is_ok() {
            let mut state = self.state();
            state.is_watching = true;
            state.workspace.disk().watched(state.workspace.folders().to_vec());
        }
    }

    /// Finds the programs in the editor's folders, which are then checked.
    async fn find(&self) {
        let workspace = self.state().workspace.clone();
        let Ok(found) = spawn_blocking(move || workspace.find()).await else { return };
        self.edit(|state| {
            state.workspace.set_found(found);
            state.is_found = true;
            state.touch_new();
        });
        self.checked.notify_waiters();
    }

    /// Requests the settings from the editor, if it supports that.
    async fn settings(&self) {
        if self.state().editor.has_settings {
            let item = ConfigurationItem { scope_uri: None, section: Some("npc".to_owned()) };
            if let Ok(answer) = self.client.configuration(vec![item]).await
                && let Some(own) = answer.first()
            {
                self.take_settings(own).await;
            }
        }
    }

    /// Applies the settings; the only one is the cluster file.
    async fn take_settings(&self, settings: &serde_json::Value) {
        let Some(cluster) = settings.get("cluster") else { return };
        let named = cluster.as_str().filter(|path| !path.is_empty());
        let root = self.state().workspace.folders().first().cloned().unwrap_or_default();
        self.set_cluster(named.map(|path| root.join(path))).await;
        self.watch_cluster(true).await;
    }

    /// Reads the cluster file, and shows a warning if it cannot be read.
    async fn set_cluster(&self, path: Option<PathBuf>) {
        let cluster = match path {
            None => None,
            Some(path) => Some(read_cluster(path).await),
        };
        if let Some((_, Err(why))) = &cluster {
            self.show(MessageType::WARNING, why.clone()).await;
        }
        self.edit(|state| {
            state.workspace.set_cluster(cluster);
            state.touch(None);
        });
    }

    /// Asks the editor to report changes of the cluster file. `again` first removes the watch on the previous
    /// one.
    async fn watch_cluster(&self, again: bool) {
        let (path, watches, relative) = {
            let state = self.state();
            let path = state.workspace.cluster_path().map(Path::to_owned);
            (path, state.editor.watches, state.editor.relative_patterns)
        };
        if !watches {
            return;
        }
        let method = "workspace/didChangeWatchedFiles".to_owned();
        let id = "cluster".to_owned();
        if again {
            let old = Unregistration { id: id.clone(), method: method.clone() };
            // Fails if nothing is registered yet, which is harmless.
            let _ = self.client.unregister_capability(vec![old]).await;
        }
        let Some(path) = path else { return };
        let folder = path.parent().and_then(crate::convert::uri);
        let name = path.file_name().map(|name| name.to_string_lossy());
        // The file may be outside the editor's folders. Only relative patterns can name it then.
        let glob = match (folder, name) {
            (Some(folder), Some(name)) if relative => json!({"baseUri": folder, "pattern": name}),
            _ => json!(path.to_string_lossy()),
        };
        let register_options = Some(json!({"watchers": [{"globPattern": glob}]}));
        let _ = self.client.register_capability(vec![Registration { id, method, register_options }]).await;
    }

    /// `npc/yaml`
    pub(crate) async fn yaml(&self, parameters: YamlParams) -> Result<Shown> {
        let YamlParams { text_document, target, policy } = parameters;
        let shown = self.ask(&text_document.uri, move |places, _, _| {
            views::yaml(places.program, &target, policy.as_deref())
        });
        Ok(shown.await?.unwrap_or_else(Shown::nothing))
    }

    /// `npc/reach`
    pub(crate) async fn reach(&self, parameters: FileParams) -> Result<Shown> {
        let shown = self.ask(&parameters.text_document.uri, |places, _, seen| {
            views::reach(places.program, seen.workspace.why_no_cluster())
        });
        Ok(shown.await?.unwrap_or_else(Shown::nothing))
    }

    /// `npc/pods`
    pub(crate) async fn pods(&self, parameters: PolicyParams) -> Result<Shown> {
        let PolicyParams { text_document, policy } = parameters;
        let shown = self.ask(&text_document.uri, move |places, _, seen| {
            views::pods(places.program, &policy, seen.workspace.why_no_cluster())
        });
        Ok(shown.await?.unwrap_or_else(Shown::nothing))
    }

    /// `npc/tests`
    pub(crate) async fn tests(&self, parameters: TestsParams) -> Result<Vec<Test>> {
        if let Some(document) = parameters.text_document {
            let found = self.ask(&document.uri, |places, _, _| tests::tests(places)).await?;
            return Ok(found.unwrap_or_default());
        }
        let (homes, encoding) = {
            let state = self.state();
            (state.workspace.programs(), state.encoding)
        };
        let programs = self.programs(&homes).await?;
        let places = programs.iter().map(|program| Places { program, encoding });
        let mut found: Vec<Test> = places.flat_map(tests::tests).collect();
        // Programs that import the same file share its tests.
        let mut known = std::collections::BTreeSet::new();
        found.retain(|test| known.insert(test.place()));
        Ok(found)
    }

    /// `npc/runTests`
    pub(crate) async fn run_tests(&self, parameters: RunParams) -> Result<RunResult> {
        let RunParams { text_document, ids } = parameters;
        let ran = self.ask(&text_document.uri, move |places, _, seen| {
            let files = seen.workspace.files(places.program.folder());
            tests::run(places, ids.as_deref(), &files)
        });
        Ok(ran.await?.unwrap_or_else(|| RunResult::Not { why: views::NO_PROGRAM.to_owned() }))
    }

    /// Shows a message, for editors without a view for the result of a command.
    async fn show(&self, kind: MessageType, text: String) {
        self.client.show_message(kind, text).await;
    }
}

/// Runs `work` on a blocking thread inside rayon's pool, so that the compiler's parallel loops need not enter
/// the pool each time, and memory is freed by the threads that allocate it.
fn in_pool<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    spawn_blocking(move || rayon::scope(|_| work()))
}

/// Reads a cluster file on a blocking thread.
async fn read_cluster(path: PathBuf) -> (PathBuf, ClusterResult) {
    let own = path.clone();
    let cluster = spawn_blocking(move || Workspace::read_cluster(&own)).await;
    let cluster = cluster.unwrap_or_else(|_| Err(format!("cannot read {}", path.display())));
    (path, cluster)
}
