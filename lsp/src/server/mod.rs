//! The protocol: what is asked goes to the core, and what it says goes back.

mod requests;
mod state;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tower_lsp::Client;
use tower_lsp::jsonrpc::{Error, Result};
use tower_lsp::ls_types::{ConfigurationItem, MessageType, ProgressToken, Registration, Unregistration, Uri};

use crate::capability::tests::{RunParams, RunResult, Test, TestsParams};
use crate::capability::views::{FileParams, PolicyParams, Shown, YamlParams};
use crate::capability::{tests, views};
use crate::convert::Places;
use crate::core::document::Document;
use crate::core::program::Program;
use crate::core::text::Encoding;
use crate::core::workspace::Workspace;
use state::State;

/// How long a check lasts before its progress is shown.
const PATIENCE: Duration = Duration::from_millis(500);

/// The server. All clones are one.
#[derive(Clone)]
pub(crate) struct Server {
    client: Client,
    state: Arc<Mutex<State>>,
    /// Something is to be checked.
    changed: Arc<Notify>,
    /// Something was checked.
    checked: Arc<Notify>,
}

/// A file that is open, for who looks at its text alone.
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
        // Whatever happened to another request, the texts are whole: each edit is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is otherwise than it was. Edits come in their order: each is taken up before anything is
    /// waited for.
    fn edit(&self, edit: impl FnOnce(&mut State)) {
        edit(&mut self.state());
        self.changed.notify_one();
    }

    /// Checks whenever something changed, one program after the other, and tells what was found. What
    /// changes meanwhile is checked again; until then nothing is told of it.
    async fn check_on_change(self) {
        let mut number = 0;
        loop {
            let next = {
                let mut state = self.state();
                state.next().map(|(folder, edit)| (folder, edit, state.workspace.clone()))
            };
            let Some((folder, edit, workspace)) = next else {
                self.tell().await;
                self.changed.notified().await;
                continue;
            };
            number += 1;
            let name = folder.clone();
            let work = spawn_blocking(move || workspace.check(&folder));
            match self.with_progress(work, number, &name).await {
                Some(program) => self.state().take(program, edit),
                // Where a check fails, which it should not, the next edit tries again.
                None => self.changed.notified().await,
            }
            self.checked.notify_waiters();
            self.tell().await;
        }
    }

    /// Waits for a check; shows that it goes on, where it takes long.
    async fn with_progress(
        &self,
        mut work: tokio::task::JoinHandle<Program>,
        number: u64,
        folder: &Path,
    ) -> Option<Program> {
        if let Ok(done) = tokio::time::timeout(PATIENCE, &mut work).await {
            return done.ok();
        }
        if !self.state().editor.progress {
            return work.await.ok();
        }
        let token = ProgressToken::String(format!("npc/check/{number}"));
        // An editor that never answers must not keep the check.
        let made = tokio::time::timeout(PATIENCE, self.client.create_work_done_progress(token.clone())).await;
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
        let (news, again, refreshes) = {
            let mut state = self.state();
            let (news, again) = state.news();
            (news, again, state.editor.refreshes)
        };
        let something = !news.is_empty() || again;
        for (uri, diagnostics, version) in news {
            self.client.publish_diagnostics(uri, diagnostics, version).await;
        }
        // Nobody waits for these: an editor may take its time.
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

    /// The program of a file, as it is now.
    async fn program(&self, path: &Path) -> Result<Arc<Program>> {
        loop {
            let checked = self.checked.notified();
            tokio::pin!(checked);
            // From here on nothing is missed.
            checked.as_mut().enable();
            let direct = {
                let state = self.state();
                if let Some(program) = state.program(path, false) {
                    return Ok(program);
                }
                (!state.is_checked(path)).then(|| (state.workspace.clone(), state.workspace.folder(path)))
            };
            if let Some((workspace, folder)) = direct {
                let work = spawn_blocking(move || Arc::new(workspace.check(&folder)));
                return work.await.map_err(|_| Error::internal_error());
            }
            checked.await;
        }
    }

    /// Asks something of the program of a file. Nothing where it is no file of one.
    async fn ask<T: Send + 'static>(
        &self,
        uri: &Uri,
        ask: impl FnOnce(Places<'_>, usize, &Workspace) -> T + Send + 'static,
    ) -> Result<Option<T>> {
        let Some(path) = path_of(uri) else { return Ok(None) };
        let program = self.program(&path).await?;
        let (workspace, encoding) = {
            let state = self.state();
            (state.workspace.clone(), state.encoding)
        };
        let work = spawn_blocking(move || {
            let file = program.file(&path)?;
            Some(ask(Places { program: &program, encoding }, file, &workspace))
        });
        work.await.map_err(|_| Error::internal_error())
    }

    /// Asks something of a text that is open.
    async fn ask_text<T: Send + 'static>(
        &self,
        uri: &Uri,
        ask: impl FnOnce(&Open) -> T + Send + 'static,
    ) -> Result<Option<T>> {
        let Some(open) = self.open(uri) else { return Ok(None) };
        let work = spawn_blocking(move || ask(&open));
        work.await.map(Some).map_err(|_| Error::internal_error())
    }

    fn open(&self, uri: &Uri) -> Option<Open> {
        let path = path_of(uri)?;
        let state = self.state();
        let document = Arc::clone(state.workspace.document(&path)?);
        let encoding = state.encoding;
        drop(state);
        Some(Open { path, document, encoding })
    }

    /// Asks the editor to tell of changes on the disk.
    async fn watch(&self) {
        if !self.state().editor.watches {
            return;
        }
        let options = json!({"watchers": [{"globPattern": "**/*.np"}, {"globPattern": "**/npc.toml"}]});
        let registration = Registration {
            id: "files".to_owned(),
            method: "workspace/didChangeWatchedFiles".to_owned(),
            register_options: Some(options),
        };
        if self.client.register_capability(vec![registration]).await.is_ok() {
            self.state().workspace.disk().watched();
        }
    }

    /// Asks the editor for its settings, where it can be asked.
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

    /// Takes up settings: the cluster file.
    async fn take_settings(&self, settings: &serde_json::Value) {
        let Some(cluster) = settings.get("cluster") else { return };
        let named = cluster.as_str().filter(|path| !path.is_empty());
        self.edit(|state| {
            let root = state.root.clone().unwrap_or_default();
            state.workspace.set_cluster(named.map(|path| root.join(path)));
            state.touch(None);
        });
        self.watch_cluster(true).await;
    }

    /// Asks the editor to tell of changes of the cluster file, and no more of one that was it before.
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
            // There may be none yet.
            let _ = self.client.unregister_capability(vec![old]).await;
        }
        let Some(path) = path else { return };
        let folder = path.parent().and_then(crate::convert::uri);
        let name = path.file_name().map(|name| name.to_string_lossy());
        // It may lie anywhere: only some editors can be told so.
        let glob = match (folder, name) {
            (Some(folder), Some(name)) if relative => json!({"baseUri": folder, "pattern": name}),
            _ => json!(path.to_string_lossy()),
        };
        let register_options = Some(json!({"watchers": [{"globPattern": glob}]}));
        let _ = self.client.register_capability(vec![Registration { id, method, register_options }]).await;
    }

    /// Answers what is no message.
    #[allow(clippy::unused_async, reason = "a method of the protocol is one")]
    pub(crate) async fn malformed(&self) -> Result<()> {
        Err(Error::parse_error())
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
        let shown = self.ask(&parameters.text_document.uri, |places, _, workspace| {
            views::reach(places.program, workspace.why_no_cluster())
        });
        Ok(shown.await?.unwrap_or_else(Shown::nothing))
    }

    /// `npc/pods`
    pub(crate) async fn pods(&self, parameters: PolicyParams) -> Result<Shown> {
        let PolicyParams { text_document, policy } = parameters;
        let shown = self.ask(&text_document.uri, move |places, _, workspace| {
            views::pods(places.program, &policy, workspace.why_no_cluster())
        });
        Ok(shown.await?.unwrap_or_else(Shown::nothing))
    }

    /// `npc/tests`
    pub(crate) async fn tests(&self, parameters: TestsParams) -> Result<Vec<Test>> {
        if let Some(document) = parameters.text_document {
            let found = self.ask(&document.uri, |places, _, _| tests::tests(places)).await?;
            return Ok(found.unwrap_or_default());
        }
        let (folders, root, encoding, workspace) = {
            let state = self.state();
            (state.workspace.programs(), state.root.clone(), state.encoding, state.workspace.clone())
        };
        let mut found = Vec::new();
        for folder in &folders {
            let program = self.program(&folder.join("any")).await?;
            found.extend(tests::tests(Places { program: &program, encoding }));
        }
        // What no open file is of, is read from the disk.
        let work = spawn_blocking(move || {
            let mut others: Vec<PathBuf> = Vec::new();
            for path in root.iter().flat_map(|root| workspace.disk().sources(root).to_vec()) {
                let folder = workspace.folder(&path);
                let known = |own: &PathBuf| folder.starts_with(own);
                if !folders.iter().any(known) && !others.iter().any(known) {
                    others.push(folder);
                }
            }
            let programs = others.iter().map(|folder| workspace.check(folder));
            programs
                .flat_map(|program| tests::tests(Places { program: &program, encoding }))
                .collect::<Vec<_>>()
        });
        found.extend(work.await.map_err(|_| Error::internal_error())?);
        Ok(found)
    }

    /// `npc/runTests`
    pub(crate) async fn run_tests(&self, parameters: RunParams) -> Result<RunResult> {
        let RunParams { text_document, ids } = parameters;
        let ran = self.ask(&text_document.uri, move |places, _, workspace| {
            let files = workspace.files(places.program.folder());
            tests::run(places, ids.as_deref(), &files)
        });
        Ok(ran.await?.unwrap_or_else(|| RunResult::Not { why: views::NO_PROGRAM.to_owned() }))
    }

    /// Shows the outcome of a command in an editor that has no view of its own for it.
    async fn show(&self, kind: MessageType, text: String) {
        self.client.show_message(kind, text).await;
    }
}

/// The path of a file; nothing of what is no file of this machine.
fn path_of(uri: &Uri) -> Option<PathBuf> {
    (uri.scheme().as_str() == "file").then(|| uri.to_file_path().map(|path| path.into_owned())).flatten()
}
