//! The protocol: what is asked goes to the core, and what it says goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tower_lsp::jsonrpc::{Error, Result};
use tower_lsp::ls_types::{
    CodeActionKind, CodeActionOptions, CodeActionOrCommand, CodeActionParams, CodeActionProviderCapability,
    CodeActionResponse, Diagnostic, DidChangeTextDocumentParams, DidChangeWatchedFilesParams,
    DidCloseTextDocumentParams, DidOpenTextDocumentParams, DocumentFormattingParams, DocumentSymbolParams,
    DocumentSymbolResponse, FoldingRange, FoldingRangeParams, FoldingRangeProviderCapability,
    InitializeParams, InitializeResult, InitializedParams, OneOf, PositionEncodingKind, ServerCapabilities,
    ServerInfo, TextDocumentSyncCapability, TextDocumentSyncKind, TextDocumentSyncOptions, TextEdit, Uri,
};
use tower_lsp::{Client, LanguageServer};

use crate::capability::{actions, diagnostics, folding, formatting, symbols};
use crate::convert::place;
use crate::core::text::{Encoding, Text};
use crate::core::workspace::{Program, Workspace, folder_of};

/// What changes while the server runs.
#[derive(Default)]
struct State {
    workspace: Workspace,
    versions: BTreeMap<PathBuf, i32>,
    encoding: Encoding,
    /// How often a file changed.
    edits: u64,
    /// The programs that were checked last, each by its folder, and after how many edits.
    checked: BTreeMap<PathBuf, (u64, Arc<Program>)>,
    /// The files that were told of with diagnostics.
    told: BTreeSet<PathBuf>,
}

/// The server.
#[derive(Clone)]
pub(crate) struct Server {
    client: Client,
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Server {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, state: Arc::default(), changed: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whatever happened to another request, the texts are whole: each edit is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file is otherwise than it was. Edits come in their order: each is taken up before anything is
    /// waited for.
    fn edit(&self, edit: impl FnOnce(&mut State)) {
        let mut state = self.state();
        edit(&mut state);
        state.edits += 1;
        drop(state);
        self.changed.notify_one();
    }

    /// Checks whenever something changed, and tells what was found of the last state.
    async fn check_on_change(self) {
        loop {
            self.changed.notified().await;
            let (workspace, edits) = {
                let state = self.state();
                (state.workspace.clone(), state.edits)
            };
            let work = move || -> Vec<Program> {
                workspace.programs().iter().map(|folder| workspace.check(folder)).collect()
            };
            // Where a check fails, the next edit tries again.
            let Ok(programs) = tokio::task::spawn_blocking(work).await else { continue };
            let told = {
                let mut state = self.state();
                if state.edits != edits {
                    // What was found is of a text that is no more: it is checked again at once.
                    self.changed.notify_one();
                    continue;
                }
                state.tell(programs)
            };
            for (uri, diagnostics, version) in told {
                self.client.publish_diagnostics(uri, diagnostics, version).await;
            }
        }
    }

    /// The program of a file, as it is now.
    async fn program(&self, path: &Path) -> Option<Arc<Program>> {
        let folder = folder_of(path);
        let (workspace, edits, known) = {
            let state = self.state();
            (state.workspace.clone(), state.edits, state.checked.get(&folder).cloned())
        };
        if let Some((of, program)) = known
            && of == edits
        {
            return Some(program);
        }
        tokio::task::spawn_blocking(move || Arc::new(workspace.check(&folder))).await.ok()
    }

    /// Answers what is no message.
    #[allow(clippy::unused_async, reason = "a method of the protocol is one")]
    pub(crate) async fn malformed(&self) -> Result<()> {
        Err(Error::parse_error())
    }

    fn text(&self, uri: &Uri) -> Option<(PathBuf, Arc<Text>, Encoding)> {
        let path = path_of(uri)?;
        let state = self.state();
        let text = Arc::clone(state.workspace.text(&path)?);
        Some((path, text, state.encoding))
    }
}

impl State {
    /// Takes up what was found; gives what editors are to be told.
    fn tell(&mut self, programs: Vec<Program>) -> Vec<(Uri, Vec<Diagnostic>, Option<i32>)> {
        // What is open, or had some, is told of also where it has none.
        let silent = self.told.iter().chain(self.versions.keys());
        let mut found: BTreeMap<PathBuf, Vec<Diagnostic>> =
            silent.map(|path| (path.clone(), Vec::new())).collect();
        self.checked.clear();
        for program in programs {
            let own = diagnostics::of_program(&program, self.encoding);
            found.extend(own.into_iter().map(|(file, own)| (program.path(file), own)));
            self.checked.insert(program.folder().to_owned(), (self.edits, Arc::new(program)));
        }
        self.told = found.iter().filter(|(_, own)| !own.is_empty()).map(|(path, _)| path.clone()).collect();
        let told = found.into_iter().filter_map(|(path, own)| {
            Some((diagnostics::uri(&path)?, own, self.versions.get(&path).copied()))
        });
        told.collect()
    }
}

/// The path of a file; nothing of what is no file of this machine.
fn path_of(uri: &Uri) -> Option<PathBuf> {
    (uri.scheme().as_str() == "file").then(|| uri.to_file_path().map(|path| path.into_owned())).flatten()
}

impl LanguageServer for Server {
    async fn initialize(&self, parameters: InitializeParams) -> Result<InitializeResult> {
        let offered = parameters.capabilities.general.and_then(|general| general.position_encodings);
        let utf8 = offered.is_some_and(|offered| offered.contains(&PositionEncodingKind::UTF8));
        let (encoding, kind) = match utf8 {
            true => (Encoding::Utf8, PositionEncodingKind::UTF8),
            false => (Encoding::Utf16, PositionEncodingKind::UTF16),
        };
        self.state().encoding = encoding;
        let sync = TextDocumentSyncOptions {
            open_close: Some(true),
            change: Some(TextDocumentSyncKind::INCREMENTAL),
            ..TextDocumentSyncOptions::default()
        };
        Ok(InitializeResult {
            capabilities: ServerCapabilities {
                position_encoding: Some(kind),
                text_document_sync: Some(TextDocumentSyncCapability::Options(sync)),
                document_formatting_provider: Some(OneOf::Left(true)),
                document_symbol_provider: Some(OneOf::Left(true)),
                folding_range_provider: Some(FoldingRangeProviderCapability::Simple(true)),
                code_action_provider: Some(CodeActionProviderCapability::Options(CodeActionOptions {
                    code_action_kinds: Some(vec![CodeActionKind::QUICKFIX]),
                    ..CodeActionOptions::default()
                })),
                ..ServerCapabilities::default()
            },
            server_info: Some(ServerInfo {
                name: "npc".to_owned(),
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            }),
            ..InitializeResult::default()
        })
    }

    async fn initialized(&self, _: InitializedParams) {
        tokio::spawn(self.clone().check_on_change());
    }

    async fn shutdown(&self) -> Result<()> {
        Ok(())
    }

    async fn did_open(&self, parameters: DidOpenTextDocumentParams) {
        let document = parameters.text_document;
        let Some(path) = path_of(&document.uri) else { return };
        self.edit(|state| {
            state.workspace.set(path.clone(), Text::new(document.text));
            state.versions.insert(path, document.version);
        });
    }

    async fn did_change(&self, parameters: DidChangeTextDocumentParams) {
        let Some(path) = path_of(&parameters.text_document.uri) else { return };
        self.edit(|state| {
            // One that was not opened is none of the server's.
            let Some(text) = state.workspace.text(&path) else { return };
            let mut text = Text::clone(text);
            for change in &parameters.content_changes {
                let range = change.range.map(|range| (place(range.start), place(range.end)));
                text = text.edited(range, &change.text, state.encoding);
            }
            state.workspace.set(path.clone(), text);
            state.versions.insert(path, parameters.text_document.version);
        });
    }

    async fn did_close(&self, parameters: DidCloseTextDocumentParams) {
        let Some(path) = path_of(&parameters.text_document.uri) else { return };
        self.edit(|state| {
            state.workspace.close(&path);
            state.versions.remove(&path);
        });
    }

    async fn did_change_watched_files(&self, _: DidChangeWatchedFilesParams) {
        self.edit(|_| {});
    }

    async fn formatting(&self, parameters: DocumentFormattingParams) -> Result<Option<Vec<TextEdit>>> {
        let Some((_, text, encoding)) = self.text(&parameters.text_document.uri) else { return Ok(None) };
        Ok(formatting::edits(&text, encoding))
    }

    async fn document_symbol(
        &self,
        parameters: DocumentSymbolParams,
    ) -> Result<Option<DocumentSymbolResponse>> {
        let Some((_, text, encoding)) = self.text(&parameters.text_document.uri) else { return Ok(None) };
        Ok(Some(DocumentSymbolResponse::Nested(symbols::symbols(&text, encoding))))
    }

    async fn folding_range(&self, parameters: FoldingRangeParams) -> Result<Option<Vec<FoldingRange>>> {
        let Some((_, text, _)) = self.text(&parameters.text_document.uri) else { return Ok(None) };
        Ok(Some(folding::ranges(&text)))
    }

    async fn code_action(&self, parameters: CodeActionParams) -> Result<Option<CodeActionResponse>> {
        let only = parameters.context.only.unwrap_or_default();
        let is_wanted = |kind: &CodeActionKind| CodeActionKind::QUICKFIX.as_str().starts_with(kind.as_str());
        if !only.is_empty() && !only.iter().any(is_wanted) {
            return Ok(None);
        }
        let Some((path, _, encoding)) = self.text(&parameters.text_document.uri) else { return Ok(None) };
        let program = self.program(&path).await.ok_or_else(Error::internal_error)?;
        let Some((file, _)) = program.files().find(|(_, own)| *own == path) else { return Ok(None) };
        let found = actions::repairs(&program, file, parameters.range, encoding);
        Ok(Some(found.into_iter().map(CodeActionOrCommand::CodeAction).collect()))
    }
}
