//! `textDocument/diagnostic` and `workspace/diagnostic`: diagnostics that the editor pulls.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use tower_lsp::jsonrpc::Result;
use tower_lsp::ls_types::notification::Notification;
use tower_lsp::ls_types::*;

use super::Server;
use super::state::FileDiagnostics;
use crate::capability::diagnostics;
use crate::convert::{self, uri};

/// How many files one partial result holds.
const PART: usize = 100;

/// A partial result. `ls_types` only has progress types for work-done progress.
enum Part {}

impl Notification for Part {
    type Params = Value;
    const METHOD: &'static str = "$/progress";
}

/// An empty notification after the last partial result. Responses and notifications have separate queues, and
/// the queue of notifications holds one message: once this notification is queued, every partial result has
/// left the queue, so the response cannot overtake any. Editors may ignore methods that start with `$/`.
enum Sent {}

impl Notification for Sent {
    type Params = Value;
    const METHOD: &'static str = "$/npc/sent";
}

/// The result id: a hash of the diagnostics.
fn key(found: &[Diagnostic]) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(found).unwrap_or_default().hash(&mut hasher);
    format!("{:x}", hasher.finish())
}

/// The report of a file; `before` is the result id that the editor has.
fn report(
    uri: Uri,
    version: Option<i32>,
    found: Vec<Diagnostic>,
    before: Option<&str>,
) -> WorkspaceDocumentDiagnosticReport {
    let (id, version) = (key(&found), version.map(i64::from));
    if before == Some(&*id) {
        let unchanged_document_diagnostic_report = UnchangedDocumentDiagnosticReport { result_id: id };
        return WorkspaceDocumentDiagnosticReport::Unchanged(WorkspaceUnchangedDocumentDiagnosticReport {
            uri,
            version,
            unchanged_document_diagnostic_report,
        });
    }
    let full_document_diagnostic_report = FullDocumentDiagnosticReport { result_id: Some(id), items: found };
    WorkspaceDocumentDiagnosticReport::Full(WorkspaceFullDocumentDiagnosticReport {
        uri,
        version,
        full_document_diagnostic_report,
    })
}

impl Server {
    /// The diagnostics of one file.
    pub(super) async fn document_diagnostics(
        &self,
        parameters: DocumentDiagnosticParams,
    ) -> Result<DocumentDiagnosticReportResult> {
        let path = convert::path(&parameters.text_document.uri);
        let mut found = Vec::new();
        if let Some(path) = path {
            let program_id = self.state().workspace.program_id(&path);
            let program = self.program(&program_id).await?;
            let state = self.state();
            found = match state.found(&path) {
                Some(found) => found.to_vec(),
                // The file's program is not in the editor's folders, so no background check covers it.
                None => {
                    let places = convert::Places { program: &program, encoding: state.encoding };
                    diagnostics::of_program(places).remove(&path).unwrap_or_default()
                }
            };
        }
        let id = key(&found);
        let report = if parameters.previous_result_id.as_deref() == Some(&id) {
            DocumentDiagnosticReport::Unchanged(RelatedUnchangedDocumentDiagnosticReport {
                related_documents: None,
                unchanged_document_diagnostic_report: UnchangedDocumentDiagnosticReport { result_id: id },
            })
        } else {
            DocumentDiagnosticReport::Full(RelatedFullDocumentDiagnosticReport {
                related_documents: None,
                full_document_diagnostic_report: FullDocumentDiagnosticReport {
                    result_id: Some(id),
                    items: found,
                },
            })
        };
        Ok(DocumentDiagnosticReportResult::Report(report))
    }

    /// The current diagnostics of every file of every program. Files that the editor holds a result for and
    /// that no longer exist get an empty report.
    pub(super) async fn workspace_diagnostics(
        &self,
        parameters: WorkspaceDiagnosticParams,
    ) -> Result<WorkspaceDiagnosticReportResult> {
        // Diagnostics that were pushed for closed files would be shown twice, so they are cleared.
        let taken_back = self.state().pull_all();
        for uri in taken_back {
            self.client.publish_diagnostics(uri, Vec::new(), None).await;
        }
        let mut before: HashMap<PathBuf, PreviousResultId> = HashMap::new();
        let mut items = Vec::new();
        for own in parameters.previous_result_ids {
            match convert::path(&own.uri) {
                Some(path) => {
                    before.insert(path, own);
                }
                None => items.push(report(own.uri, None, Vec::new(), Some(&own.value))),
            }
        }
        for (path, found, version) in self.found_of_all().await? {
            let own = before.remove(&path);
            // The report uses the editor's own spelling of the URI.
            let (address, id) = own.map(|own| (own.uri, own.value)).unzip();
            if let Some(address) = address.or_else(|| uri(&path)) {
                items.push(report(address, version, found, id.as_deref()));
            }
        }
        items.extend(before.into_values().map(|own| report(own.uri, None, Vec::new(), Some(&own.value))));
        if let Some(token) = parameters.partial_result_params.partial_result_token {
            for part in items.chunks(PART) {
                let part = json!({"token": token, "value": {"items": part}});
                self.client.send_notification::<Part>(part).await;
            }
            self.client.send_notification::<Sent>(json!({})).await;
            items.clear();
        }
        Ok(WorkspaceDiagnosticReportResult::Report(WorkspaceDiagnosticReport { items }))
    }

    /// The diagnostics of all files, after every program was checked.
    async fn found_of_all(&self) -> Result<Vec<FileDiagnostics>> {
        loop {
            let checked = self.checked.notified();
            tokio::pin!(checked);
            // From here on no notification is missed.
            checked.as_mut().enable();
            {
                let state = self.state();
                let found = if state.is_found { state.found_of_all() } else { None };
                if let Some(found) = found {
                    return Ok(found);
                }
            }
            checked.await;
        }
    }
}
