//! Lexer, syntax tree and parser of the `.np` language.
//!
//! ```
//! let parsed = npc_syntax::parse(
//!     npc_diagnostics::FileId(0),
//!     "policy db for all pods in namespace payments { isolate ingress }",
//! );
//! assert!(parsed.diagnostics.is_empty());
//! assert_eq!(parsed.tree.items.len(), 1);
//! ```
//!
//! The parser recovers from every error: for any input, [`parse`] returns a tree of the items that it could
//! parse, and a diagnostic for each that it could not. It keeps tokens, comments and spans for the formatter
//! and the language server.

mod again;
pub mod ast;
mod codes;
mod error;
mod expect;
mod grammar;
mod items;
mod output;
mod shift;
mod split;
mod suggestions;
mod token;
mod unexpected;
mod words;

pub use again::parse_again;
pub use codes::{
    BAD_CHARACTER, CODES, MISPLACED_DOC, MISSPELT_KEYWORD, NESTED_TOO_DEEPLY, SYNTAX, TOO_MANY, UNCLOSED,
    UNTERMINATED_STRING, WRONG_PREPOSITION,
};
pub use expect::{Expectation, Expected, expectation};
pub use items::{Parsed, next_id, parse};
pub use token::{Comment, CommentKind, Token, TokenKind, TokenSpan};
pub use words::{Object, Role, visit_words};
