//! `textDocument/semanticTokens`: the role of each word in the syntax tree.

use std::collections::HashMap;

use npc_diagnostics::Span;
use npc_program::Names;
use npc_program::values::address::looks_like_address;
use npc_program::values::port::looks_like_port;
use npc_syntax::{CommentKind, Parsed, Role, TokenKind, visit_words};
use tower_lsp::ls_types::{
    SemanticToken, SemanticTokenModifier, SemanticTokenType, SemanticTokensEdit, SemanticTokensLegend,
};

use crate::core::text::{Encoding, Text};

/// The type of a token, as its index in the legend.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Kind {
    Keyword,
    Comment,
    String,
    Number,
    Operator,
    Variable,
    Class,
    Namespace,
    Property,
    EnumMember,
    Function,
}

const DECLARATION: u32 = 1;
const DOCUMENTATION: u32 = 2;

pub(crate) fn legend() -> SemanticTokensLegend {
    SemanticTokensLegend {
        token_types: vec![
            SemanticTokenType::KEYWORD,
            SemanticTokenType::COMMENT,
            SemanticTokenType::STRING,
            SemanticTokenType::NUMBER,
            SemanticTokenType::OPERATOR,
            SemanticTokenType::VARIABLE,
            SemanticTokenType::CLASS,
            SemanticTokenType::NAMESPACE,
            SemanticTokenType::PROPERTY,
            SemanticTokenType::ENUM_MEMBER,
            SemanticTokenType::FUNCTION,
        ],
        token_modifiers: vec![SemanticTokenModifier::DECLARATION, SemanticTokenModifier::DOCUMENTATION],
    }
}

/// The tokens of a text, or those that touch a span. Without `all`, leaves out keywords, comments, strings
/// and operators, for editors whose own grammar highlights them.
pub(crate) fn tokens(
    text: &Text,
    parsed: &Parsed,
    within: Option<Span>,
    encoding: Encoding,
    all: bool,
) -> Vec<SemanticToken> {
    let source = text.text().as_ref();
    let mut roles: HashMap<u32, (Kind, u32)> = HashMap::new();
    let is_within = |span: Span| within.is_none_or(|own| span.start <= own.end && own.start <= span.end);
    for item in parsed.tree.items.iter().filter(|item| is_within(item.span)) {
        visit_words(item, &mut |role, word| {
            roles.insert(word.span.start, kind(role, &word.text(source)));
        });
    }
    let token = |own: &npc_syntax::Token| {
        let span = own.span.0;
        let (kind, modifiers) = match (roles.get(&span.start), own.kind) {
            (Some(known), _) => *known,
            (None, TokenKind::Str | TokenKind::OpenStr) => (Kind::String, 0),
            (
                None,
                TokenKind::Arrow | TokenKind::Eq | TokenKind::EqEq | TokenKind::NotEq | TokenKind::Not,
            ) => (Kind::Operator, 0),
            (None, own) if own.keyword().is_some() => (Kind::Keyword, 0),
            _ => return None,
        };
        Some((span, kind, modifiers))
    };
    let comment = |own: &npc_syntax::Comment| {
        let modifiers = if own.kind == CommentKind::Plain { 0 } else { DOCUMENTATION };
        (own.span, Kind::Comment, modifiers)
    };
    let own = parsed.tokens.iter().filter_map(token).chain(parsed.comments.iter().map(comment));
    let is_plain = |kind: Kind| matches!(kind, Kind::Keyword | Kind::Comment | Kind::String | Kind::Operator);
    let mut wanted: Vec<(Span, Kind, u32)> =
        own.filter(|(span, kind, _)| is_within(*span) && (all || !is_plain(*kind))).collect();
    wanted.sort_unstable_by_key(|(span, ..)| span.start);
    let mut found = Vec::with_capacity(wanted.len());
    let (mut line, mut column) = (0, 0);
    for (span, kind, modifiers) in wanted {
        let start = text.position(span.start as usize, encoding);
        let length = match encoding {
            Encoding::Utf8 => span.of(source).len(),
            Encoding::Utf16 => span.of(source).encode_utf16().count(),
        };
        let same = start.line == line;
        found.push(SemanticToken {
            delta_line: start.line - line,
            delta_start: if same { start.column - column } else { start.column },
            length: u32::try_from(length).unwrap_or(u32::MAX),
            token_type: kind as u32,
            token_modifiers_bitset: modifiers,
        });
        (line, column) = (start.line, start.column);
    }
    found
}

fn kind(role: Role, text: &str) -> (Kind, u32) {
    match role {
        Role::ImportPath | Role::ClusterPath => (Kind::String, 0),
        Role::SetName => (Kind::Variable, DECLARATION),
        Role::PolicyName => (Kind::Class, DECLARATION),
        Role::TestName => (Kind::Function, DECLARATION),
        Role::Priority | Role::PodAddress | Role::PodPort => (Kind::Number, 0),
        Role::End if Names::pod(text).is_some() => (Kind::Class, 0),
        Role::Member | Role::Address | Role::Port | Role::End => {
            let is_value = looks_like_address(text) || looks_like_port(text);
            (if is_value { Kind::Number } else { Kind::Variable }, 0)
        }
        Role::LabelKey(_) | Role::Setting => (Kind::Property, 0),
        Role::LabelValue { .. } | Role::SettingValue { .. } => (Kind::EnumMember, 0),
        Role::Namespace => (Kind::Namespace, 0),
        Role::TestNamespace => (Kind::Namespace, DECLARATION),
        Role::TestPod => (Kind::Class, DECLARATION),
        Role::PodPortName => (Kind::Property, DECLARATION),
    }
}

/// The edit that turns one list of tokens into another; none if they are equal. Positions count integers, of
/// which each token has five.
pub(crate) fn delta(before: &[SemanticToken], after: &[SemanticToken]) -> Vec<SemanticTokensEdit> {
    let same = before.iter().zip(after).take_while(|(one, other)| one == other).count();
    let (before, rest) = (before.get(same..).unwrap_or_default(), after.get(same..).unwrap_or_default());
    let tail = before.iter().rev().zip(rest.iter().rev()).take_while(|(one, other)| one == other).count();
    let (deleted, inserted) = (before.len() - tail, rest.len() - tail);
    if deleted == 0 && inserted == 0 {
        return Vec::new();
    }
    let number = |count: usize| u32::try_from(count * 5).unwrap_or(u32::MAX);
    vec![SemanticTokensEdit {
        start: number(same),
        delete_count: number(deleted),
        data: Some(rest.get(..inserted).unwrap_or_default().to_vec()),
    }]
}
