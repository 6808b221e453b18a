//! The language server: `npc lsp`.
//!
//! [`core`] holds the files and analyses them; it does not depend on the protocol. Each module of
//! `capability` answers one kind of editor request; `server` implements the protocol. Diagnostics, fixes and
//! the formatter come from the compiler's crates.

mod capability;
mod convert;
pub mod core;
mod server;
mod transport;

use tokio::io::BufReader;
use tower_lsp::{LspService, Server};

/// Serves an editor on standard input and output until the editor ends the session. Returns whether the
/// editor sent `shutdown` before `exit`.
///
/// # Errors
///
/// If the operating system cannot create the runtime's threads.
pub fn serve() -> std::io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(async {
        let service = LspService::build(server::Server::new);
        let (service, socket) = service
            .custom_method("npc/yaml", server::Server::yaml)
            .custom_method("npc/reach", server::Server::reach)
            .custom_method("npc/pods", server::Server::pods)
            .custom_method("npc/tests", server::Server::tests)
            .custom_method("npc/runTests", server::Server::run_tests)
            .finish();
        let (messages, believed) = tokio::io::duplex(1 << 16);
        let input = tokio::spawn(transport::filter(BufReader::new(tokio::io::stdin()), messages));
        // Most requests wait for a check; the limit is high so that they do not block requests that need
        // none.
        Server::new(believed, tokio::io::stdout(), socket)
            .concurrency_level(256)
            .serve(transport::Guard(service))
            .await;
        input.await.ok().and_then(Result::ok).unwrap_or(true)
    });
    // A blocked read of standard input must not keep the process alive.
    runtime.shutdown_background();
    Ok(ended)
}
