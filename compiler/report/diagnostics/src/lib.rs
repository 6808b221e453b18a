//! Source files, spans, stable codes and the diagnostic type of the compiler.
//!
//! Every stage of the compiler reports a [`Diagnostic`], which is independent of the output format.
//! `npc-render` converts it to text, JSON or SARIF; the language server converts it to LSP.

mod code;
mod diagnostic;
mod source;

pub use code::{Code, Level};
pub use diagnostic::{Applicability, Diagnostic, Edit, Fix, Label, Report};
pub use source::{FileId, LineColumn, Location, SourceFile, SourceMap, Span};
