//! The language server: `npc lsp`.
//!
//! [`core`] holds the files and finds things out, and knows no protocol; each of `capability` is one thing
//! that an editor can ask for; `server` is the protocol. Checks, repairs and the style are the compiler's.

mod capability;
mod convert;
pub mod core;
mod server;
mod transport;

use tokio::io::BufReader;
use tower_lsp::{LspService, Server};

/// Serves an editor on standard input and output, until it says to stop. Says whether it ended as it should.
///
/// # Errors
///
/// Where the system gives no threads.
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
        // Most wait for a check; what does not is not to wait for those.
        Server::new(believed, tokio::io::stdout(), socket)
            .concurrency_level(256)
            .serve(transport::Guard(service))
            .await;
        input.await.ok().and_then(Result::ok).unwrap_or(true)
    });
    // What still waits for input must not keep the process.
    runtime.shutdown_background();
    Ok(ended)
}
