//! Source files, places in them, stable codes and the one diagnostic type of the compiler.
//!
//! Every stage of the compiler says what it found as a [`Diagnostic`]; nothing here knows how it
//! is shown. `npc-render` turns it into text, JSON or SARIF, the language server into the
//! protocol's form.

mod code;
mod diagnostic;
mod source;
mod suggest;

pub use code::{Code, Level};
pub use diagnostic::{Applicability, Diagnostic, Edit, Fix, Label, Report};
pub use source::{FileId, LineColumn, Location, SourceFile, SourceMap, Span};
pub use suggest::{near, nearest};
