//! Source excerpts with annotations.

use std::fmt;

use ariadne::{Cache, CharSet, Color, Config, IndexType, Label, Report, ReportKind, Source};
use npc_diagnostics::{Applicability, Diagnostic, FileId, Level, SourceMap};
use rustc_hash::FxHashMap;

use crate::{Style, short};

/// Lines longer than this, in bytes, are not drawn: such a file is not written for people.
const MAX_LINE: usize = 1_000;

pub(crate) fn render(diagnostics: &[Diagnostic], sources: &SourceMap, style: &Style) -> String {
    let mut cache = Files { sources, style, drawn: FxHashMap::default() };
    let mut out = Vec::new();
    for (index, diagnostic) in diagnostics.iter().enumerate() {
        if index > 0 {
            out.push(b'\n');
        }
        if !draw(&mut out, diagnostic, &mut cache) {
            let mut text = String::new();
            short::line(&mut text, diagnostic, sources, style);
            for note in &diagnostic.notes {
                text.push_str(&format!("  note: {note}\n"));
            }
            if let Some(help) = help(diagnostic) {
                text.push_str(&format!("  help: {help}\n"));
            }
            out.extend_from_slice(text.as_bytes());
        }
    }
    let text =
        String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    // Ariadne pads lines; remove the trailing spaces.
    let text: String = text.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    if style.colour { text } else { without_colours(&text) }
}

/// Removes the ANSI colour codes from a text: ariadne colours the word `Note` even with colours disabled.
fn without_colours(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("\u{1b}[") {
        out.push_str(before);
        rest = behind.split_once('m').map_or("", |(_, rest)| rest);
    }
    out + rest
}

fn draw(out: &mut Vec<u8>, diagnostic: &Diagnostic, cache: &mut Files<'_>) -> bool {
    let Some(primary) = diagnostic.location() else { return false };
    let colour = cache.style.colour;
    let too_long = diagnostic.labels.iter().any(|label| {
        let file = cache.sources.file(label.location.file);
        let first = file.line_column(label.location.span.start).line;
        let last = file.line_column(label.location.span.end).line;
        [first, last].iter().any(|line| file.line(*line).len() > MAX_LINE)
    });
    if too_long {
        return false;
    }
    let (kind, main) = match diagnostic.level {
        Level::Error => (ReportKind::Error, Color::Red),
        Level::Warning => (ReportKind::Warning, Color::Yellow),
        Level::Note | Level::Allow => (ReportKind::Custom("Note", Color::Cyan), Color::Cyan),
    };
    let config = Config::default()
        .with_color(colour)
        .with_index_type(IndexType::Byte)
        .with_char_set(CharSet::Unicode)
        .with_tab_width(4);
    let range = |label: &npc_diagnostics::Label| (label.location.file, label.location.span.range());
    let mut report = Report::build(kind, (primary.file, primary.span.range()))
        .with_config(config)
        .with_code(diagnostic.code.id)
        .with_message(&diagnostic.message);
    // Ariadne draws the labels of one file as one block if they are in line order.
    let mut labels: Vec<(usize, &npc_diagnostics::Label)> = diagnostic.labels.iter().enumerate().collect();
    labels.sort_by_key(|(index, label)| {
        let place = label.location;
        let last = cache.sources.file(place.file).line_column(place.span.end).line;
        (place.file != primary.file, place.file, last, *index)
    });
    for (order, (index, label)) in labels.into_iter().enumerate() {
        let colour = if index == 0 { main } else { Color::Blue };
        let mut drawn = Label::new(range(label)).with_color(colour).with_order(order as i32);
        if !label.text.is_empty() {
            drawn = drawn.with_message(&label.text);
        }
        report = report.with_label(drawn);
    }
    for note in &diagnostic.notes {
        report = report.with_note(note);
    }
    if let Some(help) = help(diagnostic) {
        report = report.with_help(help);
    }
    report.finish().write(cache, out).is_ok()
}

/// The help text, and whether `--fix` applies it.
fn help(diagnostic: &Diagnostic) -> Option<String> {
    let automatic = diagnostic.fixes.iter().find(|fix| fix.applicability == Applicability::Automatic);
    match (&diagnostic.help, automatic) {
        (Some(help), Some(_)) => Some(format!("{help} (`npc check --fix` applies this)")),
        (None, Some(fix)) => Some(format!("{} (`npc check --fix` applies this)", fix.title)),
        (Some(help), None) => Some(help.clone()),
        (None, None) => diagnostic.alternatives(),
    }
}

struct Files<'a> {
    sources: &'a SourceMap,
    style: &'a Style,
    drawn: FxHashMap<FileId, Source<String>>,
}

impl Cache<FileId> for &mut Files<'_> {
    type Storage = String;

    fn fetch(&mut self, id: &FileId) -> Result<&Source<String>, impl fmt::Debug> {
        let text = self.sources.file(*id).text();
        // Replace ASCII control characters, which a terminal could interpret, with a space. Both are one byte
        // long, so that offsets stay valid.
        let blank = |c: char| if c.is_ascii_control() && !matches!(c, '\n' | '\r' | '\t') { ' ' } else { c };
        let drawn = || Source::from(text.chars().map(blank).collect::<String>());
        Ok::<_, fmt::Error>(self.drawn.entry(*id).or_insert_with(drawn))
    }

    fn display<'b>(&self, id: &'b FileId) -> Option<impl fmt::Display + 'b> {
        Some(self.style.path(self.sources.file(*id).name()))
    }
}
