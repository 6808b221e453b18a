//! The protocol's requests and notifications, each forwarded to its module in `capability`.

use tokio::task::spawn_blocking;
use tower_lsp::LanguageServer;
use tower_lsp::jsonrpc::{Error, ErrorCode, Result};
use tower_lsp::ls_types::*;

use super::capabilities::capabilities;
use super::state::Editor;
use super::{Open, Server, Snapshot, read_cluster};
use crate::capability::lenses::SHOW_YAML;
use crate::capability::{
    actions, call_hierarchy, completion, folding, formatting, hover, inlay_hints, lenses, links, names,
    selection_ranges, semantic_tokens, signature, symbols,
};
use crate::convert::{self, Edits, offset, place, span};
use crate::core::complete::complete;
use crate::core::program_id::ProgramId;
use crate::core::symbol::Refusal;
use crate::core::text::Text;

fn refused(Refusal(why): Refusal) -> Error {
    Error { code: ErrorCode::ServerError(-32803), message: why.into(), data: None }
}

impl LanguageServer for Server {
    #[allow(deprecated, reason = "older editors only send `rootUri`")]
    async fn initialize(&self, parameters: InitializeParams) -> Result<InitializeResult> {
        let (editor, encoding) = Editor::new(&parameters);
        let folders = parameters.workspace_folders.unwrap_or_default();
        let folders: Vec<_> = match (folders.is_empty(), &parameters.root_uri) {
            (true, Some(root)) => convert::path(root).into_iter().collect(),
            _ => folders.iter().filter_map(|folder| convert::path(&folder.uri)).collect(),
        };
        let capabilities = capabilities(&editor, encoding);
        {
            let mut state = self.state();
            (state.editor, state.encoding) = (editor, encoding);
            state.workspace.set_folders(folders);
        }
        // Before `initialize` returns, because the first requests may need the cluster.
        let cluster = {
            let state = self.state();
            let root = state.workspace.folders().first().cloned().unwrap_or_default();
            state.editor.cluster.as_ref().map(|path| root.join(path))
        };
        if let Some(path) = cluster {
            let cluster = read_cluster(path).await;
            self.state().workspace.set_cluster(Some(cluster));
        }
        Ok(InitializeResult {
            capabilities,
            server_info: Some(ServerInfo {
                name: "npc".to_owned(),
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            }),
            ..InitializeResult::default()
        })
    }

    async fn initialized(&self, _: InitializedParams) {
        self.state().checks = true;
        tokio::spawn(self.clone().check_on_change());
        // An editor may answer late; the server serves requests meanwhile.
        let own = self.clone();
        tokio::spawn(async move {
            let why = own.state().workspace.why_no_cluster();
            if let Some(why) = why.filter(|_| own.state().workspace.cluster_path().is_some()) {
                own.show(MessageType::WARNING, why).await;
            }
            own.watch().await;
            own.find().await;
            own.watch_cluster(false).await;
            own.settings().await;
        });
    }

    async fn shutdown(&self) -> Result<()> {
        Ok(())
    }

    async fn did_open(&self, parameters: DidOpenTextDocumentParams) {
        let document = parameters.text_document;
        let Some(path) = convert::path(&document.uri) else { return };
        self.edit(|state| {
            state.workspace.set(path.clone(), Text::new(document.text));
            state.set_version(&path, Some(document.version));
            state.touch(Some(&path));
        });
    }

    async fn did_change(&self, parameters: DidChangeTextDocumentParams) {
        let Some(path) = convert::path(&parameters.text_document.uri) else { return };
        self.edit(|state| {
            // The server ignores changes of a document that was not opened.
            let Some(document) = state.workspace.document(&path) else { return };
            let mut text = document.text().clone();
            for change in &parameters.content_changes {
                let range = change.range.map(|range| (place(range.start), place(range.end)));
                text = text.edited(range, &change.text, state.encoding);
            }
            state.workspace.set(path.clone(), text);
            state.set_version(&path, Some(parameters.text_document.version));
            state.touch(Some(&path));
        });
    }

    async fn did_save(&self, parameters: DidSaveTextDocumentParams) {
        let Some(path) = convert::path(&parameters.text_document.uri) else { return };
        // The configuration file may have been edited in the editor.
        let is_config = path.file_name().is_some_and(|name| name == npc_project::CONFIG);
        self.edit(|state| {
            if is_config {
                state.workspace.place();
                state.touch(None);
            }
        });
        let is_watched = path.parent().is_some_and(|own| self.state().workspace.disk().is_watched(own));
        if !is_watched {
            let own = self.clone();
            tokio::spawn(async move { own.find().await });
        }
    }

    async fn did_close(&self, parameters: DidCloseTextDocumentParams) {
        let Some(path) = convert::path(&parameters.text_document.uri) else { return };
        self.edit(|state| {
            state.touch(Some(&path));
            state.workspace.close(&path);
            state.set_version(&path, None);
        });
    }

    async fn did_change_watched_files(&self, parameters: DidChangeWatchedFilesParams) {
        let mut cluster = None;
        let mut is_other = false;
        self.edit(|state| {
            for change in &parameters.changes {
                let Some(path) = convert::path(&change.uri) else { continue };
                if state.workspace.cluster_path() == Some(&path) {
                    cluster = Some(path);
                    continue;
                }
                let is_config = path.file_name().is_some_and(|name| name == npc_project::CONFIG);
                let is_source = npc_project::is_source(&path);
                let was_known = state.workspace.disk().changed(&path);
                if is_config {
                    state.workspace.place();
                    state.touch(None);
                } else if is_source || was_known {
                    state.touch(Some(&path));
                }
                // The set of programs may have changed.
                let is_there = change.typ == FileChangeType::CHANGED;
                is_other |= is_config || (is_source || was_known) && !is_there;
            }
        });
        if let Some(path) = cluster {
            self.set_cluster(Some(path)).await;
        }
        if is_other {
            let own = self.clone();
            tokio::spawn(async move { own.find().await });
        }
    }

    async fn did_change_workspace_folders(&self, parameters: DidChangeWorkspaceFoldersParams) {
        self.edit(|state| {
            let mut folders = state.workspace.folders().to_vec();
            let gone: Vec<_> =
                parameters.event.removed.iter().filter_map(|own| convert::path(&own.uri)).collect();
            folders.retain(|folder| !gone.contains(folder));
            folders.extend(parameters.event.added.iter().filter_map(|own| convert::path(&own.uri)));
            if state.is_watching {
                state.workspace.disk().watched(folders.clone());
            }
            state.workspace.set_folders(folders);
            state.touch(None);
        });
        let own = self.clone();
        tokio::spawn(async move { own.find().await });
    }

    async fn did_change_configuration(&self, parameters: DidChangeConfigurationParams) {
        let own = self.clone();
        tokio::spawn(async move {
            match parameters.settings.get("npc") {
                Some(settings) => own.take_settings(settings).await,
                None => own.settings().await,
            }
        });
    }

    async fn diagnostic(
        &self,
        parameters: DocumentDiagnosticParams,
    ) -> Result<DocumentDiagnosticReportResult> {
        self.document_diagnostics(parameters).await
    }

    async fn workspace_diagnostic(
        &self,
        parameters: WorkspaceDiagnosticParams,
    ) -> Result<WorkspaceDiagnosticReportResult> {
        self.workspace_diagnostics(parameters).await
    }

    async fn completion(&self, parameters: CompletionParams) -> Result<Option<CompletionResponse>> {
        let TextDocumentPositionParams { text_document, position } = parameters.text_document_position;
        let Some(path) = convert::path(&text_document.uri) else { return Ok(None) };
        // Uses the last checked program, even if outdated, so that typing does not wait for a check.
        let (program, disk, program_id, can) = {
            let state = self.state();
            let program_id = state.workspace.program_id(&path);
            (
                state.program(&program_id, true),
                state.workspace.disk().clone(),
                program_id,
                state.editor.completion,
            )
        };
        let program = match program.filter(|program| program.file(&path).is_some()) {
            Some(program) => program,
            None => self.program(&program_id).await?,
        };
        let found = self.with_document(&text_document.uri, move |open| {
            let text = open.document.text();
            let at = offset(text, position, open.encoding);
            let known = program.file(&open.path).map(|file| (&*program, file));
            let beside = |end: &str| links::beside(&disk, program_id.folder(), &open.path, end);
            let clean = open.document.clean_before(at);
            completion::list(complete(text.text(), clean, at, known, &beside), text, open.encoding, can)
        });
        Ok(found.await?.map(CompletionResponse::List))
    }

    async fn hover(&self, parameters: HoverParams) -> Result<Option<Hover>> {
        let TextDocumentPositionParams { text_document, position } = parameters.text_document_position_params;
        let found = self.ask(&text_document.uri, move |places, file, _| {
            hover::hover(places, file, at(places, file, position))
        });
        Ok(found.await?.flatten())
    }

    async fn signature_help(&self, parameters: SignatureHelpParams) -> Result<Option<SignatureHelp>> {
        let TextDocumentPositionParams { text_document, position } = parameters.text_document_position_params;
        let found = self.with_document(&text_document.uri, move |Open { document, encoding, .. }| {
            let text = document.text();
            let at = offset(text, position, *encoding);
            let clean = document.clean_before(at);
            signature::help(text.text().get(clean as usize..).unwrap_or_default(), at - clean)
        });
        Ok(found.await?.flatten())
    }

    async fn goto_declaration(
        &self,
        parameters: request::GotoDeclarationParams,
    ) -> Result<Option<request::GotoDeclarationResponse>> {
        self.goto_definition(parameters).await
    }

    async fn goto_definition(
        &self,
        parameters: GotoDefinitionParams,
    ) -> Result<Option<GotoDefinitionResponse>> {
        let TextDocumentPositionParams { text_document, position } = parameters.text_document_position_params;
        let found = self.ask(&text_document.uri, move |places, file, _| {
            names::definitions(places, file, at(places, file, position))
        });
        Ok(found.await?.filter(|found| !found.is_empty()).map(GotoDefinitionResponse::Array))
    }

    async fn references(&self, parameters: ReferenceParams) -> Result<Option<Vec<Location>>> {
        let TextDocumentPositionParams { text_document, position } = parameters.text_document_position;
        let definitions = parameters.context.include_declaration;
        let ask = move |places: convert::Places<'_>, file, _: &Snapshot, found: &mut Vec<Location>| {
            for one in names::references(places, file, at(places, file, position), definitions) {
                if !found.contains(&one) {
                    found.push(one);
                }
            }
            Ok(())
        };
        self.with_all_programs(&text_document.uri, ask, Vec::new()).await
    }

    async fn document_highlight(
        &self,
        parameters: DocumentHighlightParams,
    ) -> Result<Option<Vec<DocumentHighlight>>> {
        let TextDocumentPositionParams { text_document, position } = parameters.text_document_position_params;
        self.ask(&text_document.uri, move |places, file, _| {
            names::highlights(places, file, at(places, file, position))
        })
        .await
    }

    async fn prepare_rename(
        &self,
        parameters: TextDocumentPositionParams,
    ) -> Result<Option<PrepareRenameResponse>> {
        let TextDocumentPositionParams { text_document, position } = parameters;
        let found = self.ask(&text_document.uri, move |places, file, _| {
            names::prepare_rename(places, file, at(places, file, position))
        });
        found.await?.transpose().map(Option::flatten).map_err(refused)
    }

    async fn rename(&self, parameters: RenameParams) -> Result<Option<WorkspaceEdit>> {
        let TextDocumentPositionParams { text_document, position } = parameters.text_document_position;
        let name = parameters.new_name;
        let ask = move |places: convert::Places<'_>, file, seen: &Snapshot, edits: &mut Edits| {
            let files = seen.workspace.files(places.program.folder());
            let place = at(places, file, position);
            names::rename(places, file, place, &name, &files, edits).map_err(refused)
        };
        let edits = self.with_all_programs(&text_document.uri, ask, Edits::default()).await?;
        let versions = self.state().versions();
        Ok(edits.filter(|edits| !edits.is_empty()).map(|edits| edits.finish(&versions)))
    }

    async fn symbol(&self, parameters: WorkspaceSymbolParams) -> Result<Option<WorkspaceSymbolResponse>> {
        let (homes, encoding) = {
            let state = self.state();
            (state.workspace.programs(), state.encoding)
        };
        let programs = self.programs(&homes).await?;
        let places = programs.iter().map(|program| convert::Places { program, encoding });
        let mut found: Vec<WorkspaceSymbol> = Vec::new();
        // Programs that import the same file share its symbols.
        let mut known = std::collections::BTreeSet::new();
        for own in places.flat_map(|places| names::symbols(places, &parameters.query)) {
            let OneOf::Left(location) = &own.location else { continue };
            let Position { line, character } = location.range.start;
            if known.insert((location.uri.to_string(), line, character)) {
                found.push(own);
            }
        }
        Ok(Some(WorkspaceSymbolResponse::Nested(found)))
    }

    async fn document_symbol(
        &self,
        parameters: DocumentSymbolParams,
    ) -> Result<Option<DocumentSymbolResponse>> {
        let found =
            self.with_document(&parameters.text_document.uri, |Open { document, encoding, .. }| {
                symbols::symbols(document.text(), &document.parsed(), *encoding)
            });
        Ok(found.await?.map(DocumentSymbolResponse::Nested))
    }

    async fn folding_range(&self, parameters: FoldingRangeParams) -> Result<Option<Vec<FoldingRange>>> {
        self.with_document(&parameters.text_document.uri, |Open { document, .. }| {
            folding::ranges(document.text(), &document.parsed())
        })
        .await
    }

    async fn selection_range(&self, parameters: SelectionRangeParams) -> Result<Option<Vec<SelectionRange>>> {
        self.with_document(&parameters.text_document.uri, move |Open { document, encoding, .. }| {
            let (text, parsed) = (document.text(), document.parsed());
            let one = |position| {
                selection_ranges::around(text, &parsed, offset(text, position, *encoding), *encoding)
            };
            parameters.positions.into_iter().map(one).collect()
        })
        .await
    }

    async fn document_link(&self, parameters: DocumentLinkParams) -> Result<Option<Vec<DocumentLink>>> {
        self.with_document(&parameters.text_document.uri, |open| {
            let Open { path, document, encoding } = open;
            links::links(path, document.text(), &document.parsed(), *encoding)
        })
        .await
    }

    async fn will_rename_files(&self, parameters: RenameFilesParams) -> Result<Option<WorkspaceEdit>> {
        let path = |uri: &str| uri.parse().ok().as_ref().and_then(convert::path);
        let files = parameters.files.iter();
        let moves: Vec<_> =
            files.filter_map(|file| Some((path(&file.old_uri)?, path(&file.new_uri)?))).collect();
        let homes: Vec<ProgramId> = {
            let state = self.state();
            let of = |program_id: &ProgramId| {
                moves
                    .iter()
                    .any(|(from, _)| program_id.may_hold(from) || program_id.folder().starts_with(from))
            };
            let own = moves.iter().map(|(from, _)| state.workspace.program_id(from));
            let mut homes: Vec<ProgramId> =
                state.workspace.programs().into_iter().filter(of).chain(own).collect();
            homes.sort_unstable();
            homes.dedup();
            homes
        };
        let programs = self.programs(&homes).await?;
        let seen = self.seen();
        let work = spawn_blocking(move || {
            let mut edits = Edits::default();
            for program in &programs {
                let places = convert::Places { program, encoding: seen.encoding };
                edits.add(places, links::moved(places, &moves));
            }
            (!edits.is_empty()).then(|| edits.finish(&seen.versions))
        });
        work.await.map_err(|_| Error::internal_error())
    }

    async fn formatting(&self, parameters: DocumentFormattingParams) -> Result<Option<Vec<TextEdit>>> {
        let found =
            self.with_document(&parameters.text_document.uri, |Open { document, encoding, .. }| {
                formatting::edits(document.text(), &document.parsed(), *encoding)
            });
        Ok(found.await?.flatten())
    }

    async fn range_formatting(
        &self,
        parameters: DocumentRangeFormattingParams,
    ) -> Result<Option<Vec<TextEdit>>> {
        let range = parameters.range;
        let found =
            self.with_document(&parameters.text_document.uri, move |Open { document, encoding, .. }| {
                let text = document.text();
                let within = span(text, range, *encoding);
                formatting::of_part(text, &document.parsed(), within, *encoding)
            });
        Ok(found.await?.flatten())
    }

    async fn on_type_formatting(
        &self,
        parameters: DocumentOnTypeFormattingParams,
    ) -> Result<Option<Vec<TextEdit>>> {
        let TextDocumentPositionParams { text_document, position } = parameters.text_document_position;
        let found = self.with_document(&text_document.uri, move |Open { document, encoding, .. }| {
            let text = document.text();
            formatting::on_brace(text, &document.parsed(), offset(text, position, *encoding), *encoding)
        });
        Ok(found.await?.flatten())
    }

    async fn code_action(&self, parameters: CodeActionParams) -> Result<Option<CodeActionResponse>> {
        let only = parameters.context.only.unwrap_or_default();
        let (range, uri) = (parameters.range, parameters.text_document.uri);
        let renames = self.state().editor.has(actions::RENAME);
        let address = uri.clone();
        let by_name = !only.is_empty();
        let wanted = move |kind: &CodeActionKind| wanted(&only, kind);
        let found = self.ask(&uri, move |places, file, seen| {
            let Some(id) = places.program.files().get(file).map(|own| own.id) else { return Vec::new() };
            let text = places.program.text(id);
            let within = span(text, range, places.encoding);
            let files = seen.workspace.files(places.program.folder());
            let versions = &seen.versions;
            let mut found = actions::repairs(places, file, within, &files, versions);
            if wanted(&CodeActionKind::REFACTOR_EXTRACT) || wanted(&CodeActionKind::REFACTOR_INLINE) {
                found.extend(actions::refactorings(places, file, within, &files, renames, versions));
            }
            found.extend(actions::convert(&address, text, within, places.encoding));
            // Only on request by name, since it does not depend on the cursor.
            if by_name && wanted(&CodeActionKind::SOURCE_FIX_ALL) {
                found.extend(actions::repair_all(places, file, versions));
            }
            found.retain(|action| action.kind.as_ref().is_none_or(&wanted));
            found
        });
        Ok(found.await?.map(|found| found.into_iter().map(CodeActionOrCommand::CodeAction).collect()))
    }

    async fn code_lens(&self, parameters: CodeLensParams) -> Result<Option<Vec<CodeLens>>> {
        let yaml = self.state().editor.has(SHOW_YAML);
        let found = self.ask(&parameters.text_document.uri, move |places, file, _| {
            let mut found = lenses::lenses(places, file);
            // The server has no view for it.
            found.retain(|lens| yaml || lens.command.as_ref().is_some_and(|own| own.command != SHOW_YAML));
            found
        });
        found.await
    }

    async fn inlay_hint(&self, parameters: InlayHintParams) -> Result<Option<Vec<InlayHint>>> {
        let range = parameters.range;
        self.ask(&parameters.text_document.uri, move |places, file, _| {
            let Some(id) = places.program.files().get(file).map(|own| own.id) else { return Vec::new() };
            inlay_hints::hints(places, file, span(places.program.text(id), range, places.encoding))
        })
        .await
    }

    async fn semantic_tokens_full(
        &self,
        parameters: SemanticTokensParams,
    ) -> Result<Option<SemanticTokensResult>> {
        let found = self.tokens(&parameters.text_document.uri).await?;
        Ok(found
            .map(|(id, data, _)| SemanticTokensResult::Tokens(SemanticTokens { result_id: Some(id), data })))
    }

    async fn semantic_tokens_full_delta(
        &self,
        parameters: SemanticTokensDeltaParams,
    ) -> Result<Option<SemanticTokensFullDeltaResult>> {
        let Some((id, data, before)) = self.tokens(&parameters.text_document.uri).await? else {
            return Ok(None);
        };
        let known = before.filter(|(own, _)| *own == parameters.previous_result_id);
        Ok(Some(match known {
            Some((_, before)) => SemanticTokensFullDeltaResult::TokensDelta(SemanticTokensDelta {
                result_id: Some(id),
                edits: semantic_tokens::delta(&before, &data),
            }),
            None => SemanticTokensFullDeltaResult::Tokens(SemanticTokens { result_id: Some(id), data }),
        }))
    }

    async fn semantic_tokens_range(
        &self,
        parameters: SemanticTokensRangeParams,
    ) -> Result<Option<SemanticTokensRangeResult>> {
        let range = parameters.range;
        let all = !self.state().editor.augments;
        let found =
            self.with_document(&parameters.text_document.uri, move |Open { document, encoding, .. }| {
                let text = document.text();
                let within = span(text, range, *encoding);
                semantic_tokens::tokens(text, &document.parsed(), Some(within), *encoding, all)
            });
        let tokens = |data| SemanticTokensRangeResult::Tokens(SemanticTokens { result_id: None, data });
        Ok(found.await?.map(tokens))
    }

    async fn prepare_call_hierarchy(
        &self,
        parameters: CallHierarchyPrepareParams,
    ) -> Result<Option<Vec<CallHierarchyItem>>> {
        let TextDocumentPositionParams { text_document, position } = parameters.text_document_position_params;
        let found = self.ask(&text_document.uri, move |places, file, _| {
            call_hierarchy::prepare(places, file, at(places, file, position))
        });
        Ok(found.await?.flatten().map(|item| vec![item]))
    }

    async fn incoming_calls(
        &self,
        parameters: CallHierarchyIncomingCallsParams,
    ) -> Result<Option<Vec<CallHierarchyIncomingCall>>> {
        let item = parameters.item;
        let uri = item.uri.clone();
        self.ask(&uri, move |places, _, _| call_hierarchy::incoming(places, &item)).await
    }

    async fn outgoing_calls(
        &self,
        parameters: CallHierarchyOutgoingCallsParams,
    ) -> Result<Option<Vec<CallHierarchyOutgoingCall>>> {
        let item = parameters.item;
        let uri = item.uri.clone();
        self.ask(&uri, move |places, _, _| call_hierarchy::outgoing(places, &item)).await
    }

    async fn execute_command(&self, parameters: ExecuteCommandParams) -> Result<Option<LSPAny>> {
        self.execute(parameters).await
    }
}

/// Whether the editor asked for actions of this kind.
fn wanted(only: &[CodeActionKind], kind: &CodeActionKind) -> bool {
    let is_of = |own: &CodeActionKind| {
        let rest = kind.as_str().strip_prefix(own.as_str());
        rest.is_some_and(|rest| own.as_str().is_empty() || rest.is_empty() || rest.starts_with('.'))
    };
    only.is_empty() || only.iter().any(is_of)
}

/// The offset of a position in a file of a program.
fn at(places: convert::Places<'_>, file: usize, position: Position) -> u32 {
    let id = places.program.files().get(file).map(|own| own.id);
    id.map_or(0, |id| offset(places.program.text(id), position, places.encoding))
}
