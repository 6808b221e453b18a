//! Refactorings. Each is tried before it is offered, and offered only if the program keeps its meaning.

use npc_diagnostics::{FileId, Level, Location, Span};
use npc_program::Files;
use npc_syntax::ast::{Address, Item, ItemKind, Peer as PeerTree, Statement, Term, Word};

use super::program::Program;
use super::symbol::Symbol;

/// A refactoring that can be offered.
#[derive(Clone, Debug)]
pub struct Refactoring {
    /// The title.
    pub title: String,
    /// The replacements.
    pub edits: Vec<(Location, String)>,
    /// Its kind.
    pub kind: Kind,
}

/// The kind of a refactoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Extracts terms into a new set.
    Extract,
    /// Replaces the name of a set by its members.
    Inline,
}

/// A list in which names of sets may be used, with its members.
struct List {
    what: &'static str,
    members: Vec<Member>,
}

struct Member {
    span: Span,
    /// Whether it is only a name.
    is_name: bool,
    /// Whether it can be a member of a set.
    fits: bool,
}

impl Program {
    /// Extracts the selected peers, ports or addresses into a new set.
    #[must_use]
    pub fn extract(&self, file: usize, selected: Span, files: &impl Files) -> Option<Refactoring> {
        let item = self.item(file, selected.start)?;
        let id = self.files().get(file)?.id;
        let source = self.source(file);
        let touched = |own: &Member| own.span.start <= selected.end && selected.start <= own.span.end;
        // The innermost list wins, such as the list after an `except`.
        let mut lists = lists(item, source);
        lists.sort_by_key(|list| list.members.first().map(|own| std::cmp::Reverse(own.span.start)));
        let list = lists.into_iter().find(|list| list.members.iter().any(touched))?;
        let chosen: Vec<&Member> = list.members.iter().filter(|own| touched(own)).collect();
        if chosen.iter().any(|own| !own.fits) || matches!(chosen.as_slice(), [only] if only.is_name) {
            return None;
        }
        let whole = chosen.first()?.span.to(chosen.last()?.span);
        let text = whole.of(source);
        if text.contains("//") {
            return None;
        }
        let name = (1..)
            .map(|number| {
                if number == 1 { format!("new-{}", list.what) } else { format!("new-{}-{number}", list.what) }
            })
            .find(|name| !self.checked.names.sets.iter().any(|set| *set.name == **name))?;
        let at = self.head(file, item)?;
        let edits = vec![
            (Location::new(id, Span::new(at, at)), format!("let {name} = {text}\n\n")),
            (Location::new(id, whole), name),
        ];
        let title = format!("Extract {} into a set", if chosen.len() == 1 { "this" } else { "these" });
        self.keeps_meaning(&edits, files).then_some(Refactoring { title, edits, kind: Kind::Extract })
    }

    /// Replaces a set by its members: at the offset, or everywhere if the offset is at the definition.
    #[must_use]
    pub fn inline(&self, file: usize, offset: u32, files: &impl Files) -> Option<Refactoring> {
        let (Symbol::Set(index), span) = self.symbol(file, offset)? else { return None };
        let set = self.checked.names.sets.get(index)?;
        let id = self.files().get(file)?.id;
        let here = Location::new(id, span);
        let item = self.files().get(set.file)?.parsed.tree.items.get(set.item)?;
        let ItemKind::Let(tree) = &item.kind else { return None };
        let terms = tree.terms.as_deref()?;
        let text = terms.first()?.span().to(terms.last()?.span()).of(self.source(set.file));
        if text.contains("//") {
            return None;
        }
        let everywhere = here == set.location;
        let uses = self.uses(&Symbol::Set(index)).into_iter().filter(|one| !one.is_definition);
        let places: Vec<Location> =
            uses.map(|one| one.location).filter(|place| everywhere || *place == here).collect();
        if places.is_empty() {
            return None;
        }
        let mut edits: Vec<(Location, String)> = places
            .iter()
            .map(|place| {
                let before = self.checked.sources().file(place.file).text().get(..place.span.start as usize);
                let alone = before.is_some_and(|before| before.trim_end().ends_with("except"));
                let text = if alone && terms.len() > 1 { format!("({text})") } else { text.to_owned() };
                (*place, text)
            })
            .collect();
        let title = if everywhere {
            let start = item.docs.first().map_or(item.span.start, |docs| docs.start);
            let source = self.source(set.file);
            // Without the item, an `npc:` comment above it would apply to the next item.
            if Span::new(self.head(set.file, item)?, item.span.start).of(source).contains("npc:") {
                return None;
            }
            let rest = source.get(item.span.end as usize..)?;
            let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
            let end = item.span.end + u32::try_from(blank).ok()?;
            edits.push((Location::new(set.location.file, Span::new(start, end)), String::new()));
            format!("Inline `{}` everywhere, and remove it", set.name)
        } else {
            format!("Inline `{}`", set.name)
        };
        self.keeps_meaning(&edits, files).then_some(Refactoring { title, edits, kind: Kind::Inline })
    }

    /// The start of an item including the comments directly above it, some of which may be directives
    /// (`npc:`).
    fn head(&self, file: usize, item: &Item) -> Option<u32> {
        let source = self.source(file);
        let line = |at: u32| {
            let before = source.get(..at as usize)?;
            u32::try_from(before.rfind('\n').map_or(0, |at| at + 1)).ok()
        };
        let mut head = line(item.span.start)?;
        let comments = &self.files().get(file)?.parsed.comments;
        for comment in comments.iter().rev().filter(|own| own.span.end <= item.span.start) {
            let start = line(comment.span.start)?;
            let is_alone = Span::new(start, comment.span.start).of(source).trim().is_empty();
            let is_next = matches!(Span::new(comment.span.end, head).of(source), "\n" | "\r\n");
            if !is_alone || !is_next {
                break;
            }
            head = start;
        }
        Some(head)
    }

    /// Whether the program has the same meaning and the same number of errors after the edits.
    fn keeps_meaning(&self, edits: &[(Location, String)], files: &impl Files) -> bool {
        let (loaded, resolved) = self.tried(edits, files);
        let errors = |found: &[npc_diagnostics::Diagnostic]| {
            found.iter().filter(|own| own.code.level == Level::Error).count()
        };
        errors(&loaded.diagnostics) + errors(&resolved.diagnostics) == self.own_errors()
            && self.checked.program == resolved.program
    }
}

/// The lists of an item.
fn lists(item: &Item, source: &str) -> Vec<List> {
    let mut found = Vec::new();
    let port =
        |word: &Word| Member { span: word.span, is_name: !word.span.of(source).contains('/'), fits: true };
    let ports = |words: &[Word]| List { what: "ports", members: words.iter().map(port).collect() };
    let mut peers = |list: Vec<Member>, trees: &mut dyn Iterator<Item = &[Address]>| {
        found.push(List { what: "peers", members: list });
        for tree in trees {
            addresses(tree, source, &mut found);
        }
    };
    match &item.kind {
        ItemKind::Policy(policy) => {
            peers(policy.subject.iter().map(|own| term(own, source)).collect(), &mut std::iter::empty());
            for statement in &policy.statements {
                let Statement::Rule(rule) = statement else { continue };
                let list = rule.peers.iter().map(|own| peer(own, source)).collect();
                peers(list, &mut rule.peers.iter().map(except_of));
            }
            for statement in &policy.statements {
                if let Statement::Rule(rule) = statement {
                    found.push(ports(&rule.ports));
                }
            }
        }
        ItemKind::Let(set) => {
            let terms = set.terms.as_deref().unwrap_or_default();
            peers(terms.iter().map(|own| term(own, source)).collect(), &mut std::iter::empty());
        }
        ItemKind::Assert(own) => {
            peers(vec![term(&own.source, source)], &mut std::iter::empty());
            peers(vec![peer(&own.destination, source)], &mut std::iter::once(except_of(&own.destination)));
            found.push(ports(&own.ports));
        }
        _ => {}
    }
    found
}

fn except_of(peer: &PeerTree) -> &[Address] {
    match peer {
        PeerTree::Anywhere { except, .. } => except,
        PeerTree::Term(Term::Word(word)) => &word.except,
        PeerTree::Term(Term::Pods(_)) => &[],
    }
}

fn addresses(list: &[Address], source: &str, found: &mut Vec<List>) {
    let member = |own: &Address| Member {
        span: own.span,
        is_name: own.except.is_empty()
            && !npc_program::values::address::looks_like_address(own.word.span.of(source)),
        fits: true,
    };
    if !list.is_empty() {
        found.push(List { what: "addresses", members: list.iter().map(member).collect() });
    }
}

fn peer(peer: &PeerTree, source: &str) -> Member {
    match peer {
        PeerTree::Anywhere { span, .. } => Member { span: *span, is_name: false, fits: false },
        PeerTree::Term(own) => term(own, source),
    }
}

fn term(term: &Term, source: &str) -> Member {
    let is_name = match term {
        Term::Pods(_) => false,
        Term::Word(own) => {
            let text = own.word.span.of(source);
            own.scope.is_none()
                && own.except.is_empty()
                && !npc_program::values::address::looks_like_address(text)
                && !npc_program::values::port::looks_like_port(text)
        }
    };
    Member { span: term.span(), is_name, fits: true }
}

/// Converts pasted YAML to a program.
///
/// # Errors
///
/// Why it cannot be converted.
pub fn from_yaml(text: &str) -> Result<String, String> {
    let import = npc_driver::import(FileId(0), text);
    let mut found = import.diagnostics.clone();
    found.extend(import.conflicts());
    if let Some(first) = found.iter().find(|own| own.level == Level::Error) {
        return Err(first.message.clone());
    }
    if import.policies.is_empty() {
        return Err("the text contains no policy".to_owned());
    }
    let (written, _) = import.to_text();
    npc_format::format(FileId(0), &written).map_err(|_| "a program cannot express it".to_owned())
}
