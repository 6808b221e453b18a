//! `workspace/executeCommand`: shows the result in a message, for editors without a view for it.

use tower_lsp::jsonrpc::{Error, Result};
use tower_lsp::ls_types::{ExecuteCommandParams, LSPAny, MessageType, TextDocumentIdentifier};

use super::Server;
use crate::capability::lenses::{RUN_TEST, SHOW_PODS};
use crate::capability::tests::{RunParams, RunResult};
use crate::capability::views::{PolicyParams, Shown};

impl Server {
    pub(super) async fn execute(&self, parameters: ExecuteCommandParams) -> Result<Option<LSPAny>> {
        let text = |place: usize| parameters.arguments.get(place).and_then(serde_json::Value::as_str);
        let wrong = || Error::invalid_params("expected a file URI and a name");
        let (Some(uri), Some(name)) = (text(0), text(1).map(str::to_owned)) else { return Err(wrong()) };
        let text_document = TextDocumentIdentifier { uri: uri.parse().map_err(|_| wrong())? };
        match parameters.command.as_str() {
            RUN_TEST => {
                let ran = self.run_tests(RunParams { text_document, ids: Some(vec![name]) }).await?;
                match &ran {
                    RunResult::TestResult { results } => {
                        for own in results {
                            let failures = own.failures.iter().map(|failure| failure.message.as_str());
                            let failures: Vec<&str> = failures.collect();
                            if own.passed {
                                self.show(MessageType::INFO, format!("{}: passed", own.name)).await;
                            } else {
                                let text = format!("{}: failed\n{}", own.name, failures.join("\n"));
                                self.show(MessageType::WARNING, text).await;
                            }
                        }
                    }
                    RunResult::Not { why } => self.show(MessageType::WARNING, why.clone()).await,
                }
                Ok(serde_json::to_value(ran).ok())
            }
            SHOW_PODS => {
                let shown = self.pods(PolicyParams { text_document, policy: name }).await?;
                match &shown {
                    Shown::Pods { pods } => self.show(MessageType::INFO, pods.join("\n")).await,
                    Shown::Not { why } => self.show(MessageType::WARNING, why.clone()).await,
                    _ => {}
                }
                Ok(serde_json::to_value(shown).ok())
            }
            other => Err(Error::invalid_params(format!("unknown command `{other}`"))),
        }
    }
}
