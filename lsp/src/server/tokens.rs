//! Semantic tokens, in full or as the difference from the previous result.

use tower_lsp::jsonrpc::Result;
use tower_lsp::ls_types::{SemanticToken, Uri};

use super::{Open, Server};
use crate::capability::semantic_tokens;

type Tokens = Vec<SemanticToken>;

impl Server {
    /// The tokens of a file, their result id, and the previous id and tokens.
    pub(super) async fn tokens(
        &self,
        uri: &Uri,
    ) -> Result<Option<(String, Tokens, Option<(String, Tokens)>)>> {
        let all = !self.state().editor.augments;
        let found = self.with_document(uri, move |Open { path, document, encoding }| {
            let found = semantic_tokens::tokens(document.text(), &document.parsed(), None, *encoding, all);
            (path.clone(), found)
        });
        let Some((path, data)) = found.await? else { return Ok(None) };
        let mut state = self.state();
        let before = state.tokens.remove(&path);
        let number = before.as_ref().and_then(|(id, _)| id.parse::<u64>().ok()).unwrap_or_default() + 1;
        state.tokens.insert(path, (number.to_string(), data.clone()));
        Ok(Some((number.to_string(), data, before)))
    }
}
