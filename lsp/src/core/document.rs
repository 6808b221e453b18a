//! A file that is open in the editor.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use npc_program::Known;
use npc_syntax::Parsed;

use super::text::Text;

/// The text of a file that is open, and what it was parsed to: once, for whoever asks.
#[derive(Debug)]
pub struct Document {
    text: Text,
    known: OnceLock<Known>,
    /// An earlier text of the file, that was parsed; until this one is.
    before: Mutex<Option<Before>>,
}

/// A text, and what it was parsed to.
#[derive(Clone, Debug)]
struct Before {
    text: Arc<str>,
    parsed: Arc<Parsed>,
}

impl Document {
    /// Of a text, and what the file was before.
    #[must_use]
    pub fn new(text: Text, before: Option<&Self>) -> Self {
        let before = before.and_then(|own| match own.known.get() {
            Some(known) => {
                Some(Before { text: Arc::clone(own.text.text()), parsed: Arc::clone(&known.parsed) })
            }
            // Nobody looked at it: what it would have been parsed from, will do.
            None => own.before().clone(),
        });
        Self { text, known: OnceLock::new(), before: Mutex::new(before) }
    }

    fn before(&self) -> MutexGuard<'_, Option<Before>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Where the text can be read from for what stands at a place; its head, where it is not parsed yet.
    #[must_use]
    pub fn clean_before(&self, offset: u32) -> u32 {
        self.known.get().map_or(0, |known| known.parsed.clean_before(offset))
    }

    /// The file, under a path. It is parsed once, whatever it is called.
    #[must_use]
    pub fn known(&self, path: &str) -> Known {
        if let Some(known) = self.known.get() {
            return known.named(path);
        }
        // Nothing is held meanwhile: to parse is to share out work, and who waits for that may be given work
        // that asks here again. Where two do it at once, one of both is thrown away.
        let text = Arc::clone(self.text.text());
        let before = self.before().clone();
        let made = match before {
            Some(before) => Known::again(path, text, &before.parsed, &before.text),
            None => Known::new(path, text),
        };
        let known = self.known.get_or_init(|| made);
        *self.before() = None;
        known.named(path)
    }
}
