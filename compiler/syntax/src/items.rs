//! Where items begin and end, and the tree made of them.
//!
//! A file is cut into items before any of them is parsed. Some pairs and triples of tokens occur
//! in a correct program nowhere but at the start of an item (`let NAME =`, `policy NAME for`,
//! `test "…"`), so they are taken as one whatever surrounds them: a brace that is missing above
//! cannot swallow them. Inside an item, the grammar's own recovery takes over.

use chumsky::Parser as _;
use npc_diagnostics::{Applicability, Diagnostic, FileId, Location, Span, nearest};

use crate::ast::{Item, ItemKind, Let, Policy, Tier, Tree, Word};
use crate::codes::{
    BAD_CHARACTER, MISPLACED_DOC, MISSPELT_KEYWORD, NESTED_TOO_DEEPLY, SYNTAX, TOO_MANY, UNTERMINATED_STRING,
};
use crate::error::SyntaxError;
use crate::grammar::{Built, Parsers, PolicyEntry, PolicyHeader, tokens};
use crate::token::{Comment, CommentKind, Token, TokenKind as T, lex};

/// How deep braces and parentheses may stand in one another.
const MAX_DEPTH: usize = 64;
/// How many findings of one file are told.
const MAX_DIAGNOSTICS: usize = 1_000;

/// A file, parsed.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The tree.
    pub tree: Tree,
    /// All tokens, without comments.
    pub tokens: Vec<Token>,
    /// All comments, in their order.
    pub comments: Vec<Comment>,
    /// What could not be read.
    pub diagnostics: Vec<Diagnostic>,
    /// Whether an import could not be read, so that names may be missing for that reason.
    pub broken_import: bool,
}

/// Parses a file. Never fails: what cannot be read is in the diagnostics, the rest in the tree.
#[must_use]
pub fn parse(file: FileId, source: &str) -> Parsed {
    let (mut tokens, comments) = lex(source);
    let mut out = Output { file, source, diagnostics: Vec::new() };
    if let Some(diagnostic) = manifest(&tokens, &out) {
        return Parsed { tokens, comments, diagnostics: vec![diagnostic], ..Parsed::default() };
    }
    let chunks = split(&mut tokens, &mut out);
    let mut tree = Tree::default();
    let mut broken_import = false;
    // Items with bad characters are parsed as if those were not there.
    let cleaned: Vec<(Vec<Token>, Vec<Span>)> = chunks
        .iter()
        .map(|chunk| {
            let all = tokens.get(chunk.start..chunk.end).filter(|_| chunk.bad).unwrap_or_default();
            let is_bad = |token: &&Token| token.kind == T::Bad;
            let bad = all.iter().filter(is_bad).map(|token| token.span.0).collect();
            (all.iter().filter(|token| !is_bad(token)).copied().collect(), bad)
        })
        .collect();
    {
        let parsers = Parsers::new();
        let mut docs = Docs::new(&comments, &mut tree.docs);
        let mut before = 0;
        for (chunk, (clean, bad)) in chunks.iter().zip(&cleaned) {
            let chunk_tokens = if chunk.bad {
                clean.as_slice()
            } else {
                tokens.get(chunk.start..chunk.end).unwrap_or_default()
            };
            let Some((first, last)) = chunk_tokens.first().zip(chunk_tokens.last()) else {
                continue;
            };
            let span = first.span.0.to(last.span.0);
            let docs = docs.above(before, span, &mut out);
            before = span.end;
            let told = out.diagnostics.len();
            match item(&parsers, chunk, chunk_tokens, span, &mut out) {
                Some(kind) => tree.items.push(Item { span, docs, kind }),
                None => broken_import |= first.kind == T::Import,
            }
            if !bad.is_empty() {
                out.forget_beside(told, bad);
            }
        }
        docs.rest(&mut out);
    }
    let mut diagnostics = out.diagnostics;
    diagnostics.sort_by_key(Diagnostic::location);
    if diagnostics.len() > MAX_DIAGNOSTICS {
        let rest = diagnostics.len() - MAX_DIAGNOSTICS;
        let last = diagnostics.get(MAX_DIAGNOSTICS).and_then(Diagnostic::location);
        diagnostics.truncate(MAX_DIAGNOSTICS);
        let place = last.unwrap_or(Location::new(file, Span::default()));
        diagnostics.push(Diagnostic::new(
            &TOO_MANY,
            format!("{rest} more mistakes in this file are not shown"),
            place,
            "the first of them",
        ));
    }
    Parsed { tree, tokens, comments, diagnostics, broken_import }
}

/// Tells a file that is a Kubernetes manifest, once.
fn manifest(tokens: &[Token], out: &Output<'_>) -> Option<Diagnostic> {
    let first = tokens.iter().find(|token| token.kind != T::Bad)?;
    matches!(out.text(first.span.0), "apiVersion:" | "kind:" | "metadata:" | "spec:").then(|| {
        Diagnostic::new(
            &SYNTAX,
            "this is a Kubernetes manifest, and not a program of this language",
            out.at(first.span.0),
            "YAML begins here",
        )
        .help("a NetworkPolicy for pods `app: web` is written `policy web for pods { app = web } in namespace shop { … }`")
    })
}

struct Output<'a> {
    file: FileId,
    source: &'a str,
    diagnostics: Vec<Diagnostic>,
}

impl Output<'_> {
    fn at(&self, span: Span) -> Location {
        Location::new(self.file, span)
    }

    fn text(&self, span: Span) -> &str {
        span.of(self.source)
    }

    fn syntax(&mut self, error: SyntaxError) {
        self.diagnostics.push(error.diagnostic(self.file, self.source));
    }

    fn open_string(&mut self, span: Span) {
        self.diagnostics.push(
            Diagnostic::new(
                &UNTERMINATED_STRING,
                "this string has no closing quote",
                self.at(span),
                "the string begins here and must end in this line",
            )
            .fix(Applicability::Maybe, "close the string", self.at(span.at_end()), "\""),
        );
    }

    /// Forgets what was told since `before` of places in a line with a bad character: it most likely
    /// follows from that.
    fn forget_beside(&mut self, before: usize, bad: &[Span]) {
        let line = |span: &Span| {
            let (ahead, behind) = self.source.split_at(self.source.floor_char_boundary(span.start as usize));
            let start = ahead.rfind('\n').map_or(0, |at| at + 1);
            let end = behind.find('\n').map_or(self.source.len(), |at| ahead.len() + at);
            start..=end
        };
        let lines: Vec<_> = bad.iter().map(line).collect();
        let new = self.diagnostics.split_off(before);
        let beside = |at: usize| {
            // In the order of the source, as the bad characters are.
            let behind = lines.partition_point(|line| *line.end() < at);
            lines.get(behind).is_some_and(|line| line.contains(&at))
        };
        let kept =
            new.into_iter().filter(|d| d.location().is_none_or(|place| !beside(place.span.start as usize)));
        let kept: Vec<Diagnostic> = kept.collect();
        self.diagnostics.extend(kept);
    }
}

/// The tokens of an item, by index.
struct Chunk {
    start: usize,
    end: usize,
    /// Where the brace stands that opens the body, in bytes; policies only.
    body: Option<u32>,
    /// Whether the tokens may be parsed: not where they are nested too deeply, hold a bad token, or
    /// begin no item.
    parse: bool,
    /// Whether a token in it has no meaning; it is parsed as if that were not there.
    bad: bool,
}

fn kind_at(tokens: &[Token], index: usize) -> Option<T> {
    tokens.get(index).map(|token| token.kind)
}

/// Whether the tokens at `index` begin an item whatever stands before them.
fn surely_starts(tokens: &[Token], index: usize) -> bool {
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

/// Whether the word at `index` is what the token before it asks for, so that it begins nothing:
/// namespaces, sets, labels and tests may be called `audit`, `admin`, `kyverno`.
///
/// `nested` says that it stands in parentheses or in a selector. A keyword that is the first of its
/// line, no further right than the item, begins an item all the same: the line above is broken.
fn is_asked_for(tokens: &[Token], index: usize, item: usize, nested: bool, source: &str) -> bool {
    let kind = |at: usize| kind_at(tokens, at);
    let (Some(this), Some(before)) = (kind(index), index.checked_sub(1).and_then(kind)) else { return false };
    let asked = match before {
        // Behind these stands a name of the user's, whatever it is.
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
    // What stands between two tokens tells whether a line begins there; the line itself may be long.
    let gap = |index: usize| {
        let from = index.checked_sub(1).and_then(|before| tokens.get(before)).map_or(0, |t| t.span.0.end);
        source.get(from as usize..tokens.get(index)?.span.0.start as usize)
    };
    let Some((_, indent)) = gap(index).and_then(|gap| gap.rsplit_once('\n')) else { return true };
    if !indent.trim().is_empty() || indent.chars().count() > column(tokens, item, source) {
        return true;
    }
    // `audit` alone in its line, behind a comma, is the last of a list.
    before == T::Comma && gap(index + 1).is_none_or(|gap| gap.contains('\n'))
}

/// How many characters stand before a token in its line, or many where the line is long.
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

/// Whether an item that is not yet finished may begin at `index`, going by the layout: the keyword
/// is the first of its line, no further right than the item before it, and what follows cannot
/// continue a selector. Asked only inside braces that are still open.
fn seems_to_start(tokens: &[Token], index: usize, item: usize, source: &str) -> bool {
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

/// An item keyword that the word at `index` was surely meant to be: the tokens behind it are those
/// of an item.
fn misspelt(tokens: &[Token], index: usize, source: &str) -> Option<(&'static str, T)> {
    let token = tokens.get(index).filter(|token| token.kind == T::Word)?;
    let next = kind_at(tokens, index + 1);
    let after = kind_at(tokens, index + 2);
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

/// Whether the brace at `open` opens a selector and not a body.
fn opens_selector(tokens: &[Token], open: usize) -> bool {
    let before = open.checked_sub(1).and_then(|before| kind_at(tokens, before));
    let second = open.checked_sub(2).and_then(|before| kind_at(tokens, before));
    // `all pods {` opens a body, and so does `namespace pods {`, of a namespace of that name.
    let other = matches!(second, Some(T::All | T::Namespace | T::Except));
    if matches!(before, Some(T::Pods | T::Namespaces | T::Except)) && !other {
        return true;
    }
    match kind_at(tokens, open + 1) {
        Some(T::Not | T::Str) => true,
        // A statement that goes no further.
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

/// Cuts the tokens into items, repairs keywords that are misspelt, and tells bad tokens.
fn split(tokens: &mut [Token], out: &mut Output<'_>) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut depth = 0usize;
    // The brace that opened the current block at depth zero.
    let mut open = 0usize;
    // For each brace or parenthesis that is open, whether names and labels stand in it.
    let mut nested: Vec<bool> = Vec::new();
    // Whether the item that began last is complete, so that what follows must begin another.
    let mut complete = true;
    let mut index = 0;
    while let Some(token) = tokens.get(index).copied() {
        let item = chunks.last().map_or(0, |chunk| chunk.start);
        // `policy` behind `admin`, and `admin` behind `audit`, go on with the item.
        let modified = !complete
            && index > 0
            && index <= item + 2
            && matches!(kind_at(tokens, index - 1), Some(T::Audit | T::Admin | T::Baseline));
        let asked_for =
            !complete && is_asked_for(tokens, index, item, nested.last() == Some(&true), out.source);
        let mut starts = !modified
            && !asked_for
            && (surely_starts(tokens, index)
                || depth == 0 && token.kind == T::Kyverno && kind_at(tokens, index + 1) == Some(T::LBrace)
                || (complete || depth > 0 || index > item)
                    && seems_to_start(tokens, index, item, out.source)
                || complete && begins_item(token.kind));
        if !starts
            && !modified
            && !asked_for
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
                            format!("braces and parentheses stand more than {MAX_DEPTH} deep"),
                            Location::new(out.file, token.span.0),
                            "too deep here",
                        )
                        .help("close the ones that are open"),
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

/// Whether items begin with the keyword.
const fn begins_item(kind: T) -> bool {
    matches!(
        kind,
        T::Import | T::Let | T::Policy | T::Audit | T::Admin | T::Baseline | T::Kyverno | T::Test | T::Assert
    )
}

/// Tells characters that have no meaning. `again` says that the item had such before.
fn bad_character(token: Token, again: bool, out: &mut Output<'_>) {
    let location = out.at(token.span.0);
    let text = out.text(token.span.0);
    const CURLY: [char; 3] = ['\u{201c}', '\u{201d}', '\u{201e}'];
    // Of a pair, of quotes or of brackets, the first is told.
    if again && text.chars().all(|c| CURLY.contains(&c) || "'[]`/".contains(c)) {
        return;
    }
    let shown: String = text.chars().take(20).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let message = match text.chars().next() {
        Some('\0') => "a NUL character (U+0000) has no meaning in this language".to_owned(),
        Some(c)
            if c.is_whitespace() || c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}') =>
        {
            format!("an invisible character (U+{:04X}) has no meaning in this language", c as u32)
        }
        _ => format!("`{shown}` has no meaning in this language"),
    };
    let plain = |label: &str| Diagnostic::new(&BAD_CHARACTER, message.clone(), location, label);
    let about = |message: &str, label: &str| Diagnostic::new(&BAD_CHARACTER, message, location, label);
    let rest = out.source.get(token.span.0.end as usize..).unwrap_or("");
    let next = rest.chars().next();
    let joined = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let ahead = out.source.get(..token.span.0.start as usize).unwrap_or("");
    let diagnostic = match text {
        ";" => {
            // Between two members of a list, and in what was meant as a comment, it stands for more.
            let line = ahead.rsplit('\n').next().unwrap_or(ahead);
            let ends = rest.trim_start_matches([' ', '\t', ';']).starts_with(['\n', '\r', '}', '/'])
                || rest.trim().is_empty();
            let sure =
                if ends && !line.contains('#') { Applicability::Automatic } else { Applicability::Maybe };
            plain("statements need no terminator").fix(sure, "remove the semicolon", location, "")
        }
        "'" => plain("strings are written in double quotes"),
        "&" | "&&" | "|" | "||" => {
            let braces = ahead.rfind('{') > ahead.rfind('}');
            match (text.starts_with('|'), braces) {
                (true, true) => {
                    about("requirements are separated by commas, and all of them must hold", "no comma")
                        .help("for either of two values write `app in (a, b)`")
                }
                _ => about("the members of a list are separated by commas", "no comma").fix(
                    Applicability::Maybe,
                    "write a comma",
                    location,
                    ",",
                ),
            }
        }
        "#" => about("comments begin with `//`", "no comment begins so").fix(
            Applicability::Automatic,
            "write `//`",
            location,
            "//",
        ),
        "[" | "]" => about("lists have no brackets", "no bracket belongs here").help(
            "values stand in parentheses, `app in (a, b)`; peers and ports only have commas between them",
        ),
        "-" if next == Some('-') || ahead.ends_with('-') => {
            about("comments begin with `//`", "not with `--`")
        }
        "-" if joined(rest.trim_start_matches(' ').chars().next())
            && ahead.trim_end_matches(' ').ends_with(['\n', '{', ':']) =>
        {
            about("rules and values are no list items", "leave out the `-`")
        }
        "-" if ahead.ends_with(' ') || ahead.is_empty() => plain("no word begins with `-`"),
        "-" => about("a word does not end in `-`", "something is missing behind it"),
        "/" if next == Some('*') || ahead.ends_with('*') => {
            about("comments begin with `//`", "not with `/*`")
        }
        "/" if ahead.ends_with(' ') && joined(next) => {
            plain("no space stands before the length of a block, nor before a port")
        }
        "/" => about("a word does not end in `/`", "something is missing behind it"),
        ">" if ahead.ends_with('=') || ahead.ends_with('-') => {
            about("an arrow is written `->`", "this is none")
        }
        _ if text.contains(CURLY) => plain("strings are written in straight double quotes"),
        _ if !text.is_ascii() => plain(
            "names, labels and ports are written in ASCII; other characters stand only in strings and comments",
        ),
        _ => plain("not part of any word or mark"),
    };
    out.diagnostics.push(diagnostic);
}

/// Parses the tokens of one item.
fn item<'a>(
    parsers: &Parsers<'a>,
    chunk: &Chunk,
    chunk_tokens: &'a [Token],
    span: Span,
    out: &mut Output<'_>,
) -> Option<ItemKind> {
    let first = chunk_tokens.first()?;
    if !chunk.parse {
        let told =
            out.diagnostics.iter().rev().any(|d| d.location().is_some_and(|at| span.touches(at.span.start)));
        if !told {
            junk(first, out);
        }
        return fragment(chunk_tokens, out);
    }
    let mut run = |parser: &Built<'a, ItemKind>| {
        let (kind, errors) = parser.parse(tokens(chunk_tokens, span)).into_output_errors();
        for error in errors {
            out.syntax(error);
        }
        kind
    };
    let kind = match first.kind {
        T::Import => run(&parsers.import),
        T::Let => run(&parsers.set),
        T::Kyverno => run(&parsers.kyverno),
        T::Test => run(&parsers.test),
        T::Assert => run(&parsers.assert),
        _ => return policy(parsers, chunk, chunk_tokens, span, out).map(ItemKind::Policy),
    };
    kind.or_else(|| fragment(chunk_tokens, out))
}

/// Parses a policy: its header and its body, each with its own mistakes.
fn policy<'a>(
    parsers: &Parsers<'a>,
    chunk: &Chunk,
    chunk_tokens: &'a [Token],
    span: Span,
    out: &mut Output<'_>,
) -> Option<Policy> {
    let split = chunk
        .body
        .map(|body| chunk_tokens.partition_point(|token| token.span.0.start < body))
        .unwrap_or(chunk_tokens.len());
    // The header's parser asks for the brace too, so that its messages can name it.
    let header_tokens = chunk_tokens.get(..=split).unwrap_or(chunk_tokens);
    let header_end = header_tokens.last().map_or(span, |token| token.span.0);
    let (header, errors) =
        parsers.policy_header.parse(tokens(header_tokens, header_end)).into_output_errors();
    for error in errors {
        out.syntax(error);
    }
    let mut broken = header.is_none();
    let mut entries = Vec::new();
    if let Some(body) = chunk_tokens.get(split..).filter(|body| !body.is_empty()) {
        let (parsed, errors) = parsers.policy_body.parse(tokens(body, span)).into_output_errors();
        for error in errors {
            out.syntax(error);
        }
        match parsed {
            Some((parsed, body_broken)) => {
                entries = parsed;
                broken |= body_broken;
            }
            None => broken = true,
        }
    }
    let header = header.or_else(|| {
        let at = chunk_tokens.iter().position(|token| token.kind == T::Policy)?;
        let name = chunk_tokens.get(at + 1).filter(|token| token.kind.is_word())?;
        // The mistake is told; that this is no plain policy must not look like another.
        let before = chunk_tokens.get(..at).unwrap_or_default();
        let tier = before.iter().rev().find_map(|token| match token.kind {
            T::Admin => Some((Tier::Admin, token.span.0)),
            T::Baseline => Some((Tier::Baseline, token.span.0)),
            _ => None,
        });
        Some(PolicyHeader {
            audit: before.iter().find(|token| token.kind == T::Audit).map(|token| token.span.0),
            tier: tier.map_or(Tier::Namespaced, |(tier, _)| tier),
            tier_span: tier.map(|(_, span)| span),
            name: Word { span: name.span.0 },
            priority: None,
            subject: Vec::new(),
        })
    })?;
    let mut policy = Policy {
        audit: header.audit,
        tier: header.tier,
        tier_span: header.tier_span,
        name: header.name,
        priority: header.priority,
        subject: header.subject,
        statements: Vec::new(),
        settings: Vec::new(),
        broken,
    };
    for entry in entries {
        match entry {
            PolicyEntry::Statement(statement) => policy.statements.push(statement),
            PolicyEntry::Settings(settings) => policy.settings.push(settings),
        }
    }
    Some(policy)
}

/// What can be known of an item that could not be parsed: the name of a set, so that its uses are
/// not told as mistakes too.
fn fragment(chunk_tokens: &[Token], out: &Output<'_>) -> Option<ItemKind> {
    let name =
        chunk_tokens.get(1).filter(|name| name.kind.is_word() && kind_at(chunk_tokens, 0) == Some(T::Let))?;
    let mut span = name.span.0;
    if out.text(span).ends_with(':') {
        span.end -= 1;
    }
    Some(ItemKind::Let(Let { name: Word { span }, terms: None }))
}

/// Tells tokens that begin no item.
fn junk(first: &Token, out: &mut Output<'_>) {
    let text = out.text(first.span.0).to_owned();
    let location = out.at(first.span.0);
    let diagnostic = match first.kind {
        T::RBrace => Diagnostic::new(&SYNTAX, "this `}` closes nothing", location, "no `{` is open here")
            .fix(Applicability::Maybe, "remove it", location, ""),
        T::Allow | T::Deny | T::Pass | T::Isolate => Diagnostic::new(
            &SYNTAX,
            format!("`{text}` stands outside a policy"),
            location,
            "statements belong between the braces of a policy",
        ),
        kind => {
            let diagnostic = Diagnostic::new(
                &SYNTAX,
                "expected `import`, `let`, `policy`, `kyverno`, `test` or `assert`",
                location,
                format!(
                    "found {}",
                    if kind.is_word() { format!("`{text}`") } else { kind.describe().to_owned() }
                ),
            );
            let items = T::KEYWORDS.iter().filter(|(_, kind)| begins_item(*kind)).map(|(word, _)| *word);
            match nearest(&text, items) {
                Some(word) if kind.is_word() => diagnostic.help(format!("did you mean `{word}`?")).fix(
                    Applicability::Maybe,
                    format!("write `{word}`"),
                    location,
                    word,
                ),
                _ => diagnostic,
            }
        }
    };
    out.diagnostics.push(diagnostic);
}

/// The documentation comments, handed out to the items below them.
struct Docs<'a> {
    comments: std::iter::Peekable<std::slice::Iter<'a, Comment>>,
    file_docs: &'a mut Vec<Span>,
}

impl<'a> Docs<'a> {
    fn new(comments: &'a [Comment], file_docs: &'a mut Vec<Span>) -> Self {
        Self { comments: comments.iter().peekable(), file_docs }
    }

    /// The `///` comments between the end of the item before and the item.
    fn above(&mut self, before: u32, item: Span, out: &mut Output<'_>) -> Vec<Span> {
        let mut docs = Vec::new();
        while let Some(comment) = self.comments.next_if(|comment| comment.span.start < item.end) {
            match comment.kind {
                CommentKind::Plain => {}
                CommentKind::File => self.file_docs.push(comment.span),
                CommentKind::Doc if comment.span.start < item.start && comment.span.start >= before => {
                    docs.push(comment.span);
                }
                CommentKind::Doc => misplaced(comment, out),
            }
        }
        docs
    }

    /// What stands behind the last item.
    fn rest(&mut self, out: &mut Output<'_>) {
        for comment in self.comments.by_ref() {
            match comment.kind {
                CommentKind::Plain => {}
                CommentKind::File => self.file_docs.push(comment.span),
                CommentKind::Doc => misplaced(comment, out),
            }
        }
    }
}

fn misplaced(comment: &Comment, out: &mut Output<'_>) {
    let slashes = Span::new(comment.span.start, comment.span.start + 3);
    out.diagnostics.push(
        Diagnostic::new(
            &MISPLACED_DOC,
            "this comment documents nothing",
            out.at(comment.span),
            "`///` documents the item below it",
        )
        .fix(Applicability::Automatic, "make it a note", out.at(slashes), "//"),
    );
}
