//! A file that is open in the editor.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use npc_program::Known;
use npc_syntax::Parsed;

use super::text::Text;

/// The text of an open file and its syntax tree, which is parsed once, on first use.
#[derive(Debug)]
pub struct Document {
    text: Text,
    known: OnceLock<Known>,
    /// An earlier, parsed text of the file, as the base for incremental parsing. Removed once this text is
    /// parsed.
    before: Mutex<Option<Before>>,
}

/// A text and its syntax tree.
#[derive(Clone, Debug)]
struct Before {
    text: Arc<str>,
    parsed: Arc<Parsed>,
}

impl Document {
    /// A new version of a document; `before` is the previous version.
    #[must_use]
    pub fn new(text: Text, before: Option<&Self>) -> Self {
        let before = before.and_then(|own| match own.known.get() {
            Some(known) => {
                Some(Before { text: Arc::clone(own.text.text()), parsed: Arc::clone(&known.parsed) })
            }
            // The previous version was never parsed: its own base is used.
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

    /// The syntax tree.
    #[must_use]
    pub fn parsed(&self) -> Arc<Parsed> {
        Arc::clone(&self.known("").parsed)
    }

    /// The start of the last item before `offset` that can be parsed on its own; 0 if the text is not parsed
    /// yet.
    #[must_use]
    pub fn clean_before(&self, offset: u32) -> u32 {
        self.known.get().map_or(0, |known| known.parsed.clean_before(offset))
    }

    /// The parsed file under a path. It is parsed once, whatever the path.
    #[must_use]
    pub fn known(&self, path: &str) -> Known {
        if let Some(known) = self.known.get() {
            return known.named(path);
        }
        // No lock is held during the parse: parsing runs on rayon, and a thread that waits for rayon may run
        // another task that calls this function. If two threads parse at once, one result is dropped.
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
