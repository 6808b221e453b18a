//! `textDocument/documentSymbol`: items, and the statements of policies.

use npc_diagnostics::Span;
use npc_syntax::Parsed;
use npc_syntax::ast::{Action, Direction, Item, ItemKind, Policy, Rule, Statement, Tier};
use tower_lsp::ls_types::{DocumentSymbol, SymbolKind};

use crate::convert::range;
use crate::core::text::{Encoding, Text};

pub(crate) fn symbols(text: &Text, parsed: &Parsed, encoding: Encoding) -> Vec<DocumentSymbol> {
    let maker = Maker { text, encoding };
    parsed.tree.items.iter().map(|item| maker.item(item)).collect()
}

struct Maker<'t> {
    text: &'t Text,
    encoding: Encoding,
}

impl Maker<'_> {
    fn item(&self, item: &Item) -> DocumentSymbol {
        let word = |word: npc_syntax::ast::Word| (word.text(self.text.text()).into_owned(), word.span);
        let head = |text: &str| (text.to_owned(), item.span);
        let mut children = Vec::new();
        let ((name, span), kind, detail) = match &item.kind {
            ItemKind::Import(own) => (word(own.path), SymbolKind::FILE, Some("import".to_owned())),
            ItemKind::Let(own) => (word(own.name), SymbolKind::CONSTANT, None),
            ItemKind::Policy(own) => {
                children = own.statements.iter().map(|statement| self.statement(statement)).collect();
                (word(own.name), SymbolKind::CLASS, Some(tier(own)))
            }
            ItemKind::Kyverno(_) => (head("kyverno"), SymbolKind::OBJECT, None),
            ItemKind::Test(own) => (word(own.name), SymbolKind::METHOD, Some("test".to_owned())),
            ItemKind::Assert(_) => (self.line(item.span), SymbolKind::EVENT, None),
        };
        // The name of a broken item may be missing, and the protocol does not allow an empty name.
        let name = if name.trim().is_empty() { "(no name)".to_owned() } else { name };
        self.symbol(name, detail, kind, item.span, span, children)
    }

    fn statement(&self, statement: &Statement) -> DocumentSymbol {
        let (name, span) = match statement {
            Statement::Rule(rule) => (rule_name(rule).to_owned(), rule.span),
            Statement::Isolate(own) => ("isolate".to_owned(), own.span),
        };
        let detail = self.line(span).0.strip_prefix(&name).map(|rest| rest.trim().to_owned());
        self.symbol(name, detail, SymbolKind::PROPERTY, span, span, Vec::new())
    }

    /// The first line of a span, and the span.
    fn line(&self, span: Span) -> (String, Span) {
        let text = span.of(self.text.text()).lines().next().unwrap_or("");
        (text.trim().to_owned(), span)
    }

    #[allow(deprecated, reason = "the protocol's type has a deprecated field")]
    fn symbol(
        &self,
        name: String,
        detail: Option<String>,
        kind: SymbolKind,
        whole: Span,
        own: Span,
        children: Vec<DocumentSymbol>,
    ) -> DocumentSymbol {
        DocumentSymbol {
            name,
            detail,
            kind,
            tags: None,
            deprecated: None,
            range: range(self.text, whole, self.encoding),
            selection_range: range(self.text, own, self.encoding),
            children: (!children.is_empty()).then_some(children),
        }
    }
}

fn tier(policy: &Policy) -> String {
    let audit = if policy.audit.is_some() { "audit " } else { "" };
    let tier = match policy.tier {
        Tier::Admin => "admin ",
        Tier::Baseline => "baseline ",
        Tier::Namespaced => "",
    };
    format!("{audit}{tier}policy")
}

const fn rule_name(rule: &Rule) -> &'static str {
    match (rule.action, rule.direction) {
        (Action::Allow, Direction::Ingress) => "allow ingress",
        (Action::Allow, Direction::Egress) => "allow egress",
        (Action::Deny, Direction::Ingress) => "deny ingress",
        (Action::Deny, Direction::Egress) => "deny egress",
        (Action::Pass, Direction::Ingress) => "pass ingress",
        (Action::Pass, Direction::Egress) => "pass egress",
    }
}
