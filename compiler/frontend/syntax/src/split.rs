//! Finds where items begin and end, before any of them is parsed.
//!
//! Some pairs and triples of tokens occur in a valid program only at the start of an item (`let NAME =`,
//! `policy NAME for`, `test "…"`). They always start an item, whatever precedes them, so that a missing brace
//! above cannot swallow them.

use npc_diagnostics::{Applicability, Diagnostic, Location};
use npc_suggest::nearest;

use crate::codes::{MISPLACED_ITEM, MISSPELT_KEYWORD, NESTED_TOO_DEEPLY, SYNTAX};
use crate::output::Output;
use crate::token::{Token, TokenKind as T};
use crate::unexpected::bad_character;

/// The maximum nesting depth of braces and parentheses.
const MAX_DEPTH: usize = 64;

/// The tokens of an item, as a range of indices.
pub(crate) struct Chunk {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The offset of the brace that opens the body; policies only.
    pub(crate) body: Option<u32>,
    /// Whether to parse the tokens. False if they are nested too deeply, contain an unclosed string or a
    /// regular expression, or do not begin an item.
    pub(crate) parse: bool,
    /// Whether a token has an invalid character. The item is then parsed without these tokens.
    pub(crate) bad: bool,
}

pub(crate) fn kind_at(tokens: &[Token], index: usize) -> Option<T> {
    tokens.get(index).map(|token| token.kind)
}

/// Whether the tokens at `index` begin an item, whatever precedes them.
fn starts_item(tokens: &[Token], index: usize) -> bool {
    let next = kind_at(tokens, index + 1);
    let after = kind_at(tokens, index + 2);
    match kind_at(tokens, index) {
        Some(T::Import | T::Test) => next == Some(T::Str),
        Some(T::Let) => next.is_some_and(T::is_word) && after == Some(T::Eq),
        Some(T::Policy) => {
            next == Some(T::For) && after != Some(T::For)
                || next.is_some_and(T::is_word) && matches!(after, Some(T::For | T::Priority))
        }
        Some(T::Audit) => matches!(next, Some(T::Policy | T::Admin | T::Baseline)),
        Some(T::Admin | T::Baseline) => next == Some(T::Policy),
        Some(T::Assert) => matches!(next, Some(T::Allow | T::Deny)),
        _ => false,
    }
}

/// Whether the token before `index` requires a word, so that a keyword at `index` is a name and begins no
/// item: namespaces, sets, labels and tests can be called `audit`, `admin` or `kyverno`.
///
/// `nested` is true inside parentheses or a selector. A keyword that is the first of its line, and not
/// indented further than the item, begins an item nevertheless: the line above is then incomplete.
fn is_required_name(tokens: &[Token], index: usize, item: usize, nested: bool, source: &str) -> bool {
    let kind = |at: usize| kind_at(tokens, at);
    let (Some(this), Some(before)) = (kind(index), index.checked_sub(1).and_then(kind)) else { return false };
    let asked = match before {
        // After these tokens a user-defined name follows, whatever it is.
        T::Namespace | T::Sharing | T::Pod | T::Policy => true,
        T::Except => kind(index.wrapping_sub(2)) != Some(T::Namespace),
        T::In => index >= 3 && kind(index - 3) == Some(T::Pod),
        T::Comma | T::Eq | T::LParen | T::From | T::To | T::On | T::For | T::Arrow => {
            nested || !this.is_reserved()
        }
        T::EqEq | T::NotEq | T::Not | T::Notin | T::LBrace => nested,
        _ => false,
    };
    if !asked {
        return false;
    }
    // Only the gap before a token is searched for a line break: the line itself can be long.
    let gap = |index: usize| {
        let from = index.checked_sub(1).and_then(|before| tokens.get(before)).map_or(0, |t| t.span.0.end);
        source.get(from as usize..tokens.get(index)?.span.0.start as usize)
    };
    let Some((_, indent)) = gap(index).and_then(|gap| gap.rsplit_once('\n')) else { return true };
    if !indent.trim().is_empty() || indent.chars().count() > column(tokens, item, source) {
        return true;
    }
    // `audit` alone on its line after a comma is the last member of a list.
    before == T::Comma && gap(index + 1).is_none_or(|gap| gap.contains('\n'))
}

/// The number of characters before a token in its line; `FAR` if the line is longer than that.
fn column(tokens: &[Token], index: usize, source: &str) -> usize {
    const FAR: usize = 1_000;
    let start = tokens.get(index).map_or(0, |token| token.span.0.start as usize);
    let near = source.floor_char_boundary(start.saturating_sub(FAR));
    let ahead = source.get(near..start).unwrap_or("");
    match ahead.rsplit_once('\n') {
        Some((_, line)) => line.chars().count(),
        None if near == 0 => ahead.chars().count(),
        None => FAR,
    }
}

/// Whether an incomplete item begins at `index`, judging by the layout: the keyword is the first of its line,
/// is not indented further than the item before it, and the next token cannot continue a selector.
fn starts_item_by_layout(tokens: &[Token], index: usize, item: usize, source: &str) -> bool {
    let keyword = matches!(
        kind_at(tokens, index),
        Some(T::Import | T::Let | T::Policy | T::Audit | T::Admin | T::Baseline | T::Test | T::Assert)
    );
    if !keyword {
        return false;
    }
    let follows = kind_at(tokens, index + 1).is_none_or(|next| {
        !next.is_word() && next != T::Str && next != T::LBrace || matches!(next, T::In | T::Notin)
    });
    let preceded = index.checked_sub(1).and_then(|before| kind_at(tokens, before));
    let continues = matches!(
        preceded,
        Some(
            T::Namespace
                | T::Pod
                | T::In
                | T::Notin
                | T::Comma
                | T::Eq
                | T::EqEq
                | T::NotEq
                | T::Not
                | T::LParen
                | T::LBrace
                | T::Sharing
                | T::Arrow
                | T::Allow
                | T::Deny
        )
    );
    if follows || continues {
        return false;
    }
    let column = |index: usize| {
        let start = tokens.get(index)?.span.0.start as usize;
        let line = source.get(..start)?.rfind('\n').map_or(0, |at| at + 1);
        let indent = source.get(line..start)?;
        Some((indent.chars().count(), indent.trim().is_empty()))
    };
    match (column(index), column(item)) {
        (Some((at, true)), Some((above, _))) => at <= above,
        _ => false,
    }
}

/// If an item at `index` is written inside the open item `outer`, returns the end of `outer`. This is so if
/// the inner item is indented further and the closing brace of `outer` exists.
fn inside(tokens: &[Token], index: usize, outer: &Chunk, depth: usize, source: &str) -> Option<usize> {
    if depth != 1 || !starts_item(tokens, index) {
        return None;
    }
    let block = outer.body.is_some() || kind_at(tokens, outer.start) == Some(T::Test);
    let indent = column(tokens, outer.start, source);
    if !block || column(tokens, index, source) <= indent {
        return None;
    }
    let mut depth = depth;
    for (at, token) in tokens.iter().enumerate().skip(index) {
        match token.kind {
            T::LBrace | T::LParen => depth += 1,
            T::RBrace | T::RParen => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            // `column` searches the line, so it is called for keywords only.
            kind if begins_item(kind) && column(tokens, at, source) <= indent => return None,
            _ => {}
        }
    }
    None
}

fn misplaced_item(tokens: &[Token], index: usize, outer: usize, out: &Output<'_>) -> Diagnostic {
    let span = |index: usize| tokens.get(index).map(|token| token.span.0).unwrap_or_default();
    let word = out.text(span(index));
    let kind = if kind_at(tokens, outer) == Some(T::Test) { "test" } else { "policy" };
    Diagnostic::new(
        &MISPLACED_ITEM,
        format!("`{word}` is not allowed inside a {kind}"),
        out.at(span(index)),
        format!("move it above or below the {kind}"),
    )
    .label(out.at(span(outer)), format!("the {kind} begins here"))
    .note("it then applies to the whole program, not only here")
}

/// The item keyword that the word at `index` is a misspelling of, if the tokens after it fit that item.
fn misspelt(tokens: &[Token], index: usize, source: &str) -> Option<(&'static str, T)> {
    let token = tokens.get(index).filter(|token| token.kind == T::Word)?;
    let next = kind_at(tokens, index + 1);
    // If one keyword is in capitals, the following ones may be too.
    let after = tokens.get(index + 2).map(|after| {
        let text = after.span.0.of(source);
        let is = |word: &str| after.kind == T::Word && text.eq_ignore_ascii_case(word);
        if is("for") {
            T::For
        } else if is("priority") {
            T::Priority
        } else {
            after.kind
        }
    });
    let meant: &[T] = match (next, after) {
        (Some(T::Str), Some(T::LBrace)) => &[T::Test],
        (Some(T::Str), _) => &[T::Import],
        (Some(next), Some(T::For | T::Priority)) if next.is_word() => &[T::Policy],
        (Some(next), Some(T::Eq)) if next.is_word() => &[T::Let],
        (Some(T::Policy), _) => &[T::Admin, T::Baseline, T::Audit],
        (Some(T::Admin | T::Baseline), Some(T::Policy)) => &[T::Audit],
        (Some(T::Allow | T::Deny), _) => &[T::Assert],
        (Some(T::LBrace), _) => &[T::Kyverno],
        _ => return None,
    };
    let text = token.span.0.of(source);
    let word = nearest(text, meant.iter().filter_map(|kind| kind.keyword()))?;
    T::KEYWORDS.into_iter().find(|(keyword, _)| *keyword == word)
}

/// Reports `ingress allow from`, and swaps the two tokens so that parsing continues normally.
fn reorder(tokens: &mut [Token], index: usize, out: &mut Output<'_>) {
    let Some([direction, action, preposition]) = tokens.get_mut(index..index + 3) else { return };
    let is_direction = matches!(direction.kind, T::Ingress | T::Egress);
    if !is_direction || !action.kind.is_action() || !matches!(preposition.kind, T::From | T::To) {
        return;
    }
    std::mem::swap(&mut direction.kind, &mut action.kind);
    let span = direction.span.0.to(action.span.0);
    let location = out.at(span);
    let rule = format!("{} {}", direction.kind.describe(), action.kind.describe()).replace('`', "");
    out.diagnostics.push(
        Diagnostic::new(
            &SYNTAX,
            "a rule begins with its action, followed by the direction",
            location,
            format!("found `{}`", out.text(span).split_whitespace().collect::<Vec<_>>().join(" ")),
        )
        .fix(Applicability::Automatic, format!("write `{rule}`"), location, rule),
    );
}

/// Whether the brace at `open` opens a selector rather than a body.
fn opens_selector(tokens: &[Token], open: usize) -> bool {
    let before = open.checked_sub(1).and_then(|before| kind_at(tokens, before));
    let second = open.checked_sub(2).and_then(|before| kind_at(tokens, before));
    // `all pods {` opens a body. So does `namespace pods {`, where `pods` is the name of a namespace.
    let other = matches!(second, Some(T::All | T::Namespace | T::Except));
    if matches!(before, Some(T::Pods | T::Namespaces | T::Except)) && !other {
        return true;
    }
    match kind_at(tokens, open + 1) {
        Some(T::Not | T::Str) => true,
        // An incomplete statement.
        Some(T::Allow | T::Deny | T::Pass | T::Isolate) if kind_at(tokens, open + 2) == Some(T::RBrace) => {
            false
        }
        Some(kind) if kind.is_word() => matches!(
            kind_at(tokens, open + 2),
            Some(T::Eq | T::EqEq | T::NotEq | T::In | T::Notin | T::Comma | T::RBrace)
        ),
        Some(T::RBrace) => {
            matches!(kind_at(tokens, open + 2), Some(T::In | T::Except | T::Comma | T::LBrace))
        }
        _ => false,
    }
}

/// Splits the tokens into items, replaces misspelt keywords and reports invalid tokens.
pub(crate) fn split(tokens: &mut [Token], out: &mut Output<'_>) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut depth = 0usize;
    // The index of the brace or parenthesis that opened the current block at depth zero.
    let mut open = 0usize;
    // For each open brace or parenthesis, whether it holds names and labels.
    let mut nested: Vec<bool> = Vec::new();
    // Whether the last item is complete, so that the next token must begin another.
    let mut complete = true;
    let mut index = 0;
    while let Some(token) = tokens.get(index).copied() {
        let item = chunks.last().map_or(0, |chunk| chunk.start);
        // `policy` after `admin`, and `admin` after `audit`, continue the item.
        let modified = !complete
            && index > 0
            && index <= item + 2
            && matches!(kind_at(tokens, index - 1), Some(T::Audit | T::Admin | T::Baseline));
        let is_name =
            !complete && is_required_name(tokens, index, item, nested.last() == Some(&true), out.source);
        let mut starts = !modified
            && !is_name
            && (starts_item(tokens, index)
                || depth == 0 && token.kind == T::Kyverno && kind_at(tokens, index + 1) == Some(T::LBrace)
                || (complete || depth > 0 || index > item)
                    && starts_item_by_layout(tokens, index, item, out.source)
                || complete && begins_item(token.kind));
        if !starts
            && !modified
            && !is_name
            && depth == 0
            && let Some((word, kind)) = misspelt(tokens, index, out.source)
        {
            let location = out.at(token.span.0);
            let text = out.text(token.span.0).to_owned();
            out.diagnostics.push(
                Diagnostic::new(
                    &MISSPELT_KEYWORD,
                    format!("unknown keyword `{text}`"),
                    location,
                    format!("did you mean `{word}`?"),
                )
                .fix(Applicability::Automatic, format!("write `{word}`"), location, word),
            );
            if let Some(token) = tokens.get_mut(index) {
                token.kind = kind;
            }
            starts = true;
        }
        if depth == 1 && chunks.last().is_some_and(|chunk| chunk.body.is_some()) {
            reorder(tokens, index, out);
        }
        let token = tokens.get(index).copied().unwrap_or(token);
        if starts
            && let Some(chunk) = chunks.last_mut()
            && let Some(end) = inside(tokens, index, chunk, depth, out.source)
        {
            out.diagnostics.push(misplaced_item(tokens, index, chunk.start, out));
            chunk.parse = false;
            chunk.end = end;
            (index, depth, complete) = (end, 0, true);
            nested.clear();
            continue;
        }
        if starts || complete {
            chunks.push(Chunk { start: index, end: index, body: None, parse: starts, bad: false });
            depth = 0;
            nested.clear();
            complete = false;
        }
        let Some(chunk) = chunks.last_mut() else { break };
        let is_policy =
            matches!(kind_at(tokens, chunk.start), Some(T::Policy | T::Audit | T::Admin | T::Baseline));
        match token.kind {
            T::LBrace | T::LParen => {
                if depth == 0 {
                    open = index;
                    let brace = token.kind == T::LBrace;
                    if brace && is_policy && chunk.body.is_none() && !opens_selector(tokens, index) {
                        chunk.body = Some(token.span.0.start);
                    }
                }
                let selector = token.kind == T::LParen || opens_selector(tokens, index);
                nested.push(selector);
                depth += 1;
                if depth == MAX_DEPTH && chunk.parse {
                    chunk.parse = false;
                    out.diagnostics.push(
                        Diagnostic::new(
                            &NESTED_TOO_DEEPLY,
                            format!("braces and parentheses are nested more than {MAX_DEPTH} deep"),
                            Location::new(out.file, token.span.0),
                            "too deep here",
                        )
                        .help("close the open ones"),
                    );
                }
            }
            T::RBrace | T::RParen => {
                depth = depth.saturating_sub(1);
                nested.pop();
                let block = matches!(kind_at(tokens, chunk.start), Some(T::Kyverno | T::Test));
                complete = depth == 0
                    && (block
                        || chunk
                            .body
                            .is_some_and(|body| tokens.get(open).is_some_and(|t| t.span.0.start == body)));
            }
            T::Bad => {
                bad_character(token, chunk.bad, out);
                chunk.bad = true;
                // Without these characters a regular expression would parse as something else.
                chunk.parse &= !out.text(token.span.0).contains(['^', '$']);
            }
            T::OpenStr => {
                chunk.parse = false;
                out.open_string(token.span.0);
            }
            _ => {}
        }
        index += 1;
        chunk.end = index;
    }
    chunks
}

/// Whether the keyword can begin an item.
pub(crate) const fn begins_item(kind: T) -> bool {
    matches!(
        kind,
        T::Import | T::Let | T::Policy | T::Audit | T::Admin | T::Baseline | T::Kyverno | T::Test | T::Assert
    )
}
