//! The levels of diagnostics: `[lints]` in `npc.toml`, and `// npc: allow(NP0210)` above an item.

use npc_diagnostics::{Code, Diagnostic, Level, Location, Report, Span};
use npc_program::{Loaded, LoadedFile};
use npc_suggest::nearest;
use npc_syntax::CommentKind;
use rustc_hash::FxHashMap;

use crate::config::LintLevels;

npc_diagnostics::codes! {
    /// # An `npc: allow` comment without effect
    ///
    /// `// npc: allow(…)` above an item takes codes such as `NP0210`, or their names, separated by
    /// commas. The comment contains an unknown code, has another syntax, or has no item below it.
    ///
    /// ```np fails
    /// // npc: allow(NP9999)
    /// policy p for all pods in namespace shop { isolate ingress }
    /// ```
    ///
    /// ```np
    /// // npc: allow(NP0407)
    /// policy p for all pods in namespace shop { }
    /// ```
    UNKNOWN_CODE = "NP0703" "unknown-code" Warning;
}

/// The prefix of comments that the compiler reads.
const MARKER: &str = "npc:";

/// The configured levels and the suppressions by comments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Levels {
    config: LintLevels,
    /// For each code, the items in which a comment allows it, sorted by location.
    allowed: FxHashMap<&'static str, Vec<Location>>,
}

impl Levels {
    /// The levels of a configuration, without comments.
    pub(crate) fn of(config: &LintLevels) -> Self {
        Self { config: config.clone(), allowed: FxHashMap::default() }
    }

    /// Reads the comments of all files. Also returns the diagnostics for comments without effect.
    pub(crate) fn new(loaded: &Loaded, config: &LintLevels) -> (Self, Vec<Diagnostic>) {
        let mut levels = Self { config: config.clone(), allowed: FxHashMap::default() };
        let mut diagnostics = Vec::new();
        let codes = crate::codes();
        for file in &loaded.files {
            let text = loaded.sources.file(file.id).text();
            for comment in &file.parsed.comments {
                let command = comment.text(text).trim_start();
                if comment.kind == CommentKind::Plain
                    && let Some(command) = command.strip_prefix(MARKER)
                {
                    levels.comment(file, comment.span, command.trim(), &codes, &mut diagnostics);
                }
            }
        }
        for places in levels.allowed.values_mut() {
            places.sort_unstable();
        }
        (levels, diagnostics)
    }

    /// Reads one comment, which allows codes in the item below it.
    fn comment(
        &mut self,
        file: &LoadedFile,
        span: Span,
        command: &str,
        codes: &[&'static Code],
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        let mut unknown = |why: String| {
            let place = Location::new(file.id, span);
            diagnostics.push(Diagnostic::new(&UNKNOWN_CODE, "this comment has no effect", place, why));
        };
        let inner = command.strip_prefix("allow(").and_then(|rest| rest.strip_suffix(')'));
        let Some(inner) = inner else { return unknown("expected `npc: allow(NP0000)`".to_owned()) };
        let items = &file.parsed.tree.items;
        let below = items.get(items.partition_point(|item| item.span.start < span.start));
        for name in inner.split(',').map(str::trim) {
            let code = codes.iter().find(|code| code.id == name || code.name == name);
            match (code, below) {
                (Some(code), Some(item)) => {
                    self.allowed.entry(code.id).or_default().push(Location::new(file.id, item.span));
                }
                (Some(_), None) => unknown("there is no item below the comment".to_owned()),
                (None, _) => {
                    let near = nearest(name, codes.iter().map(|code| code.id));
                    unknown(near.map_or_else(
                        || format!("there is no code `{name}`"),
                        |near| format!("there is no code `{name}`: did you mean `{near}`?"),
                    ));
                }
            }
        }
    }

    /// Sets the configured level of each diagnostic, and removes those that are allowed. Does not change errors.
    pub(crate) fn apply(&self, report: &mut Report) {
        report.diagnostics.retain_mut(|diagnostic| {
            if diagnostic.code.level == Level::Error {
                return true;
            }
            if let Some(level) = self.config.get(diagnostic.code) {
                diagnostic.level = level;
            }
            let by_comment = diagnostic.location().is_some_and(|place| {
                let Some(items) = self.allowed.get(diagnostic.code.id) else { return false };
                // Items do not overlap, so only the last one that begins before the location can contain it.
                let start = place.span.start;
                let behind =
                    items.partition_point(|item| (item.file, item.span.start) <= (place.file, start));
                let item = behind.checked_sub(1).and_then(|last| items.get(last));
                item.is_some_and(|item| item.file == place.file && item.span.touches(start))
            });
            diagnostic.level != Level::Allow && !by_comment
        });
    }
}
