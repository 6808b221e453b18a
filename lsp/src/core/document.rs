//! A file that is open in the editor.

use std::sync::{Arc, OnceLock};

use npc_program::Known;
use npc_syntax::Parsed;

use super::text::Text;

/// The text of a file that is open, and what it was parsed to: once, for whoever asks.
#[derive(Debug)]
pub struct Document {
    text: Text,
    known: OnceLock<Known>,
}

impl Document {
    /// Of a text.
    #[must_use]
    pub const fn new(text: Text) -> Self {
        Self { text, known: OnceLock::new() }
    }

    /// The text.
    #[must_use]
    pub const fn text(&self) -> &Text {
        &self.text
    }

    /// What it was parsed to.
    #[must_use]
    pub fn parsed(&self) -> Arc<Parsed> {
        Arc::clone(&self.known("").parsed)
    }

    /// The file, under a path. It is parsed once, whatever it is called.
    #[must_use]
    pub fn known(&self, path: &str) -> Known {
        let known = self.known.get_or_init(|| Known::new(path, Arc::clone(self.text.text())));
        known.named(path)
    }
}
