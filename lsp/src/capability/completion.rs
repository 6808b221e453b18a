//! `textDocument/completion`: converts the candidates for the editor.

use tower_lsp::ls_types::{
    CompletionItem, CompletionItemKind, CompletionList, CompletionTextEdit, Documentation, InsertTextFormat,
    MarkupContent, MarkupKind, TextEdit,
};

use crate::convert::range;
use crate::core::complete::{Candidate, Completion, Kind};
use crate::core::text::{Encoding, Text};

/// The editor's completion capabilities.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Abilities {
    /// It supports snippets.
    pub(crate) snippets: bool,
    /// It has the command that triggers completion.
    pub(crate) asks_again: bool,
}

/// The editor's command that triggers completion again.
pub(crate) const ASK_AGAIN: &str = "editor.action.triggerSuggest";

pub(crate) fn list(found: Completion, text: &Text, encoding: Encoding, can: Abilities) -> CompletionList {
    let snippets = can.snippets;
    let range = range(text, found.typed, encoding);
    let item = |(place, own): (usize, Candidate)| {
        let is_snippet = own.kind == Kind::Snippet;
        let new_text = if is_snippet && !snippets { plain(&own.insert) } else { own.insert };
        let about = MarkupContent { kind: MarkupKind::Markdown, value: own.about };
        // After a space or a slash, more text must follow: completion is triggered again.
        let more = can.asks_again && new_text.ends_with([' ', '/']);
        // The typed text of a path starts with a quote.
        let filter_text = (own.kind == Kind::File).then(|| new_text.clone());
        CompletionItem {
            filter_text,
            label: own.label,
            kind: Some(kind(own.kind)),
            detail: (!own.detail.is_empty()).then_some(own.detail),
            documentation: (!about.value.is_empty()).then_some(Documentation::MarkupContent(about)),
            sort_text: Some(format!("{}{place:05}", own.rank)),
            insert_text_format: Some(match is_snippet && snippets {
                true => InsertTextFormat::SNIPPET,
                false => InsertTextFormat::PLAIN_TEXT,
            }),
            text_edit: Some(CompletionTextEdit::Edit(TextEdit { range, new_text })),
            command: more.then(|| tower_lsp::ls_types::Command {
                title: "Suggest".to_owned(),
                command: ASK_AGAIN.to_owned(),
                arguments: None,
            }),
            ..CompletionItem::default()
        }
    };
    let items = found.candidates.into_iter().enumerate().map(item).collect();
    CompletionList { is_incomplete: false, items }
}

const fn kind(kind: Kind) -> CompletionItemKind {
    match kind {
        Kind::Keyword => CompletionItemKind::KEYWORD,
        Kind::Snippet => CompletionItemKind::SNIPPET,
        Kind::Set => CompletionItemKind::CONSTANT,
        Kind::Namespace => CompletionItemKind::MODULE,
        Kind::Key | Kind::Setting => CompletionItemKind::PROPERTY,
        Kind::Value => CompletionItemKind::ENUM_MEMBER,
        Kind::Port => CompletionItemKind::VALUE,
        Kind::Pod => CompletionItemKind::CLASS,
        Kind::File => CompletionItemKind::FILE,
    }
}

/// A snippet as plain text for editors without snippet support: placeholders are replaced by their default
/// text.
fn plain(snippet: &str) -> String {
    let mut out = String::new();
    let mut rest = snippet.chars().peekable();
    let mut depth = 0;
    while let Some(c) = rest.next() {
        match c {
            '$' if rest.peek() == Some(&'{') => {
                rest.next();
                depth += 1;
                // Skip the number and the separator. For a choice, take the first option.
                while rest.peek().is_some_and(char::is_ascii_digit) {
                    rest.next();
                }
                if rest.next() == Some('|') {
                    let first: String = rest.by_ref().take_while(|c| *c != '}').collect();
                    out.push_str(first.split([',', '|']).next().unwrap_or(""));
                    depth -= 1;
                }
            }
            '$' => while rest.next_if(char::is_ascii_digit).is_some() {},
            '}' if depth > 0 => depth -= 1,
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn snippets_become_plain_text() {
        assert_eq!(
            plain("policy ${1:name} for ${2:all pods} in ${3:namespace ${4:a}} {\n  $0\n}"),
            "policy name for all pods in namespace a {\n  \n}"
        );
        assert_eq!(plain("assert ${1|deny,allow|} ${0:x} -> y"), "assert deny x -> y");
    }
}
