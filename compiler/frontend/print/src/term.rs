//! Writes terms: pods, scopes, addresses, ports.

use npc_program::values::address::Block;
use npc_program::{PodTerm, Scope, ScopeBase, Selector};
use npc_syntax::TokenKind;
use npc_vocabulary::Operator;

/// A label's key or value, in quotes if the language requires them.
#[must_use]
pub fn word(text: &str) -> String {
    let keyword = TokenKind::KEYWORDS.iter().any(|(keyword, _)| *keyword == text);
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    let joined = |byte: u8| inner(byte) || matches!(byte, b'-' | b'/');
    let plain = text.bytes().all(joined)
        && text.bytes().next().is_some_and(inner)
        && text.bytes().last().is_some_and(inner)
        && !["//", "-/", "/-"].iter().any(|pair| text.contains(pair));
    if plain && !keyword {
        text.to_owned()
    } else {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

/// `{ app = web, tier in (db, cache), !legacy }`
#[must_use]
pub fn selector_text(selector: &Selector) -> String {
    let requirements: Vec<String> = selector
        .requirements
        .iter()
        .map(|requirement| {
            let key = word(&requirement.key);
            let values: Vec<String> = requirement.values.iter().map(|value| word(value)).collect();
            match (requirement.operator, values.as_slice()) {
                (Operator::In, [value]) => format!("{key} = {value}"),
                (Operator::NotIn, [value]) => format!("{key} != {value}"),
                (Operator::In, _) => format!("{key} in ({})", values.join(", ")),
                (Operator::NotIn, _) => format!("{key} notin ({})", values.join(", ")),
                (Operator::Exists, _) => key,
                (Operator::DoesNotExist, _) => format!("!{key}"),
            }
        })
        .collect();
    if requirements.is_empty() { "{ }".to_owned() } else { format!("{{ {} }}", requirements.join(", ")) }
}

/// Pods with their scope. A subject must state its scope; a peer need not if that is the subject's namespace.
#[must_use]
pub fn pods_text(term: &PodTerm, subject: bool) -> String {
    let pods = if term.selector.requirements.is_empty() {
        "all pods".to_owned()
    } else {
        format!("pods {}", selector_text(&term.selector))
    };
    let plain = term.scope.except_names.is_empty() && term.scope.except_labels.is_empty();
    if term.scope.base == ScopeBase::Same && plain && !subject {
        return pods;
    }
    format!("{pods} in {}", scope_text(&term.scope))
}

/// `namespaces { env = prod } except (kube-*)`
pub fn scope_text(scope: &Scope) -> String {
    let base = match &scope.base {
        ScopeBase::All => "all namespaces".to_owned(),
        ScopeBase::Names(names) => match names.as_slice() {
            [name] if !name.contains(['*', '?']) => format!("namespace {name}"),
            _ => format!("namespaces ({})", names.join(", ")),
        },
        ScopeBase::Labels(selector) => format!("namespaces {}", selector_text(selector)),
        ScopeBase::Same => "same namespace".to_owned(),
        ScopeBase::Sharing(keys) => {
            let keys: Vec<String> = keys.iter().map(|key| word(key)).collect();
            match keys.as_slice() {
                [key] => format!("namespaces sharing {key}"),
                _ => format!("namespaces sharing ({})", keys.join(", ")),
            }
        }
    };
    let mut except: Vec<String> = scope.except_names.iter().map(ToString::to_string).collect();
    except.extend(scope.except_labels.iter().map(selector_text));
    match (except.as_slice(), scope.except_names.is_empty()) {
        ([], _) => base,
        ([labels], true) => format!("{base} except {labels}"),
        _ => format!("{base} except ({})", except.join(", ")),
    }
}

/// `10.0.0.0/8 except (10.1.0.0/16, 10.2.0.0/16)`. Always with parentheses: otherwise a list that continues
/// after a single exception would read as further exceptions.
#[must_use]
pub fn block_text(block: &Block) -> String {
    let except: Vec<String> = block.except.iter().map(ToString::to_string).collect();
    match except.as_slice() {
        [] => block.net.to_string(),
        _ => format!("{} except ({})", block.net, except.join(", ")),
    }
}

/// `anywhere except (10.0.0.0/8, 2001:db8::/32)`
pub(crate) fn anywhere_text(except: &[Block]) -> String {
    let blocks: Vec<String> = except.iter().map(block_text).collect();
    match blocks.as_slice() {
        [] => "anywhere".to_owned(),
        [one] if except.iter().all(|block| block.except.is_empty()) => format!("anywhere except {one}"),
        _ => format!("anywhere except ({})", blocks.join(", ")),
    }
}
