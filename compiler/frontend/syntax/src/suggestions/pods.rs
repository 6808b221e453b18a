//! Suggestions for pods and namespaces.

use npc_diagnostics::{Applicability, Diagnostic, Span};

use super::Context;
use crate::TokenKind as T;
use crate::codes::SYNTAX;
use crate::error::Expected;
use crate::token::Token;

/// Words between `pods` and their labels that are dropped.
const FILLERS: [&str; 12] = [
    "with",
    "label",
    "labels",
    "labelled",
    "labeled",
    "where",
    "having",
    "selector",
    "matching",
    "matchlabels",
    "by",
    "the",
];

/// A selector without braces: its span, and its text with braces.
fn unbraced_selector(cx: &Context<'_>, start: u32) -> Option<(Span, String)> {
    let tokens = cx.tokens_from(start);
    let is_filler = |token: &&Token| {
        let text = cx.of(token).trim_end_matches(':').to_ascii_lowercase();
        token.kind == T::Word && FILLERS.contains(&text.as_str())
    };
    let skipped = tokens.iter().take_while(is_filler).count();
    let mut rest = tokens.get(skipped..)?.iter().peekable();
    let mut requirements = Vec::new();
    let mut last = start;
    loop {
        let key = rest.next().filter(|key| key.kind == T::Word || key.kind == T::Str)?;
        // `app=web` has three tokens, `app: web` two, and `app:web` one.
        let text = cx.of(key);
        let (key, value) = match (text.split_once(':'), rest.peek().map(|next| next.kind)) {
            (Some((key, "")), _) => (key, rest.next()?),
            (None, Some(T::Eq | T::EqEq)) => {
                rest.next();
                (text, rest.next()?)
            }
            _ => return None,
        };
        if !matches!(value.kind, T::Str) && !value.kind.is_word() {
            return None;
        }
        last = value.span.0.end.max(last);
        requirements.push(format!("{key} = {}", cx.of(value)));
        // Only `and` continues the selector: after a comma, the next word could be a peer.
        let more = rest.peek().is_some_and(|next| cx.of(next) == "and");
        if !more {
            break;
        }
        rest.next();
    }
    Some((Span::new(start, last), format!("{{ {} }}", requirements.join(", "))))
}

/// Names after `namespaces` without parentheses: the span of all of them, and the names.
fn unparenthesised_names(cx: &Context<'_>) -> Option<(Span, Vec<String>)> {
    let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-*?".contains(&b);
    let mut names = Vec::new();
    let mut last = cx.span.start;
    for token in cx.tokens_from(cx.span.start) {
        match token.kind {
            T::Comma => {}
            T::Word if matches!(cx.of(&token), "and" | "or") => {}
            T::Word if cx.of(&token).bytes().all(is_name) => {
                names.push(cx.of(&token).to_owned());
                last = token.span.0.end;
            }
            T::LBrace | T::RBrace | T::On | T::Log | T::Except => break,
            kind if kind.is_action() || kind == T::Isolate => break,
            // A name that is followed by something else may be a separate peer.
            _ => return None,
        }
    }
    (names.len() > 1).then_some((Span::new(cx.span.start, last), names))
}

/// Mistakes in `in …`, `namespaces …` and `pods …`.
pub(super) fn namespaces(cx: &Context<'_>) -> Option<Diagnostic> {
    use Applicability::{Automatic, Maybe};
    let found = format!("found `{}`", cx.text);
    let names = matches!(cx.found, Some(T::Namespace | T::Namespaces | T::Same));
    if names
        && (cx.expected.has(Expected::Peers)
            || cx.expected.has(Expected::Pods)
            || cx.expected.has(Expected::Set))
    {
        let diagnostic = cx.diagnostic("expected pods: namespaces are only allowed after `in`", &found);
        return Some(cx.insert(diagnostic, "write `all pods in` before it", "all pods in ", Automatic));
    }
    if cx.is(T::Namespaces) && cx.wants(T::Pods) && cx.word_before() == "all" {
        let diagnostic = cx.diagnostic("expected `pods`", &found);
        return Some(cx.insert(diagnostic, "write `all pods in all namespaces`", "pods in all ", Automatic));
    }
    if cx.wants(T::Pods) && cx.word_before() == "all" {
        let help = if cx.wants(T::LBrace) || cx.is(T::LBrace) {
            "write `all pods in all namespaces`, or `all pods in namespace NAME`"
        } else {
            "write `all pods` for the pods of the policy's own namespace, `all pods in all namespaces`, or `anywhere` to include addresses"
        };
        return Some(cx.diagnostic("expected `pods`", &cx.found()).help(help));
    }
    if cx.word_before() == "sharing" && cx.is(T::LBrace) {
        let label = cx.word_behind();
        return Some(
            cx.diagnostic("expected a label key", "found `{`")
                .help(format!("write the label without braces: `namespaces sharing {label}`")),
        );
    }
    if cx.word_before() == "same" && cx.wants(T::Namespace) && !cx.found.is_some_and(T::is_word) {
        let end = cx.before().at_end();
        return Some(Diagnostic::new(&SYNTAX, "expected `namespace`", cx.at(cx.before()), "incomplete").fix(
            Automatic,
            "write `same namespace`",
            cx.at(end),
            " namespace",
        ));
    }
    if names && cx.wants(T::In) {
        return Some(cx.insert(cx.diagnostic("expected `in`", &found), "insert `in`", "in ", Automatic));
    }
    if cx.is(T::Sharing) && cx.wants(T::In) {
        let label = cx.word_behind();
        let diagnostic = cx.diagnostic("namespaces are written after `in`", &found);
        let title = format!("write `in namespaces sharing {label}`");
        return Some(cx.insert(diagnostic, &title, "in namespaces ", Automatic));
    }
    if cx.expected.has(Expected::Scope) {
        return scope(cx);
    }
    if let Some(diagnostic) = exception(cx) {
        return Some(diagnostic);
    }
    if cx.word_before() == "namespaces" && cx.wants(T::Sharing) {
        return after_namespaces(cx);
    }
    if cx.word_before() == "namespace" && matches!(cx.found, Some(T::LBrace | T::LParen)) {
        let word = cx.at(cx.before());
        return Some(cx.diagnostic("`namespace` takes one name", "this can match several namespaces").fix(
            Automatic,
            "write `namespaces`",
            word,
            "namespaces",
        ));
    }
    if cx.second_before() == "all" && cx.word_before() == "pods" && cx.wants(T::In) && cx.is(T::Word) {
        let diagnostic = cx.diagnostic("expected `in`", &found);
        if matches!(cx.text, "everywhere" | "anywhere" | "globally") {
            let with = "in all namespaces";
            return Some(diagnostic.fix(Automatic, format!("write `{with}`"), cx.at(cx.span), with));
        }
        if let Some((_, selector)) = unbraced_selector(cx, cx.span.start) {
            return Some(diagnostic.help(format!("to select pods by label, write `pods {selector}`")));
        }
        return cx.wants(T::LBrace).then(|| {
            diagnostic.help("a policy states its namespaces, as in `all pods in namespace shop { … }`")
        });
    }
    if matches!(cx.found, Some(T::Eq | T::EqEq)) && cx.wants(T::Except) {
        let (span, selector) = unbraced_selector(cx, cx.before().start)?;
        return Some(
            Diagnostic::new(&SYNTAX, "pods are selected by labels in braces", cx.at(span), "a label").fix(
                Maybe,
                format!("write `pods {selector}`"),
                cx.at(span),
                format!("pods {selector}"),
            ),
        );
    }
    if cx.word_before() == "pods" && cx.second_before() != "all" && cx.wants(T::LBrace) {
        let word = cx.at(cx.before());
        let braces = || cx.diagnostic("expected `{`", "labels must be in braces");
        return Some(match cx.found {
            Some(T::In) => cx.diagnostic("expected `{`", "missing `all` or labels").fix(
                Maybe,
                "write `all pods`",
                word,
                "all pods",
            ),
            Some(T::LParen | T::Word | T::Str) => match unbraced_selector(cx, cx.span.start) {
                Some((span, selector)) => {
                    braces().fix(Maybe, format!("write `pods {selector}`"), cx.at(span), selector)
                }
                None => braces().help("as in `pods { app = web }`"),
            },
            _ => Diagnostic::new(&SYNTAX, "expected `{`", word, "missing `all` or labels")
                .help("write `all pods`, or `pods { app = web }`"),
        });
    }
    None
}

/// `all namespaces except namespace kube-system`
fn exception(cx: &Context<'_>) -> Option<Diagnostic> {
    if cx.is(T::Word) && cx.word_before() == "namespace" && cx.second_before() == "except" {
        let whole = cx.at(cx.with_word_before());
        return Some(
            Diagnostic::new(&SYNTAX, "after `except`, write only the name", whole, "remove `namespace`").fix(
                Applicability::Automatic,
                format!("write `{}`", cx.text),
                whole,
                cx.text,
            ),
        );
    }
    None
}

/// Mistakes after `in`.
fn scope(cx: &Context<'_>) -> Option<Diagnostic> {
    use Applicability::{Automatic, Maybe};
    let message = "expected namespaces";
    let found = format!("found `{}`", cx.text);
    let insert = |word: &str, title: String, sure| {
        Some(cx.insert(cx.diagnostic(message, &found), &title, &format!("{word} "), sure))
    };
    match (cx.found?, cx.text) {
        (T::Sharing, _) => {
            let label = cx.word_behind();
            insert("namespaces", format!("write `namespaces sharing {label}`"), Automatic)
        }
        (T::LParen, _) => insert("namespaces", "write `namespaces (…)`".to_owned(), Automatic),
        (T::LBrace, _) => {
            let operator = cx.tokens_from(cx.span.end).get(1).map(|token| token.kind);
            let is_selector =
                matches!(operator, Some(T::Eq | T::EqEq | T::NotEq | T::In | T::Notin | T::Comma));
            let diagnostic = || insert("namespaces", "write `namespaces { … }`".to_owned(), Automatic);
            is_selector.then(diagnostic).flatten()
        }
        (_, "*" | "any" | "every" | "everywhere" | "anywhere" | "everything") => {
            // `any namespace`, `every namespace`
            let next = cx.tokens_from(cx.span.end).into_iter().next();
            let next = next.filter(|next| matches!(next.kind, T::Namespace | T::Namespaces));
            let whole = cx.at(next.map_or(cx.span, |next| cx.span.to(next.span.0)));
            let with = "all namespaces";
            Some(cx.diagnostic(message, &found).fix(Automatic, format!("write `{with}`"), whole, with))
        }
        (T::Word, "not" | "except") => {
            let names = cx.tokens_from(cx.span.end);
            let name = names.iter().find(|own| own.kind == T::Word).map_or("NAME", |own| cx.of(own));
            Some(cx.diagnostic(message, &found).help(format!("write `in all namespaces except {name}`")))
        }
        (T::Word, "ns") => Some(cx.instead(message, "namespace", Automatic)),
        (T::Word, "this" | "own" | "my") => Some(cx.instead(message, "same", Maybe)),
        (T::Word, text) if npc_suggest::nearest(text, ["namespace", "namespaces"]).is_none() => {
            match unparenthesised_names(cx) {
                Some((span, names)) => Some(list(cx, span, &names, "namespaces ")),
                None => insert("namespace", format!("write `namespace {text}`"), Maybe),
            }
        }
        _ => None,
    }
}

/// The diagnostic for several names without parentheses.
fn list(cx: &Context<'_>, span: Span, names: &[String], word: &str) -> Diagnostic {
    let list = format!("({})", names.join(", "));
    let whole = format!("namespaces {list}");
    Diagnostic::new(&SYNTAX, "several names of namespaces must be in parentheses", cx.at(span), "these names")
        .fix(Applicability::Maybe, format!("write `{whole}`"), cx.at(span), format!("{word}{list}"))
}

/// `namespaces shop`, `namespaces shop, payments`, `namespaces with label env = prod`, `namespaces *`
fn after_namespaces(cx: &Context<'_>) -> Option<Diagnostic> {
    use Applicability::{Automatic, Maybe};
    let found = format!("found `{}`", cx.text);
    let message = "expected `(`, `{` or `sharing`";
    if matches!(cx.text, "*" | "any" | "all" | "every") {
        let whole = cx.at(cx.with_word_before());
        let diagnostic = cx.diagnostic(message, &found);
        return Some(diagnostic.fix(Automatic, "write `all namespaces`", whole, "all namespaces"));
    }
    if !matches!(cx.found, Some(T::Word | T::Str)) {
        return None;
    }
    if let Some((span, selector)) = unbraced_selector(cx, cx.span.start) {
        let message = "namespaces are selected by labels in braces";
        return Some(Diagnostic::new(&SYNTAX, message, cx.at(span), "missing braces").fix(
            Automatic,
            format!("write `namespaces {selector}`"),
            cx.at(span),
            selector,
        ));
    }
    if FILLERS.contains(&cx.text) {
        let diagnostic = cx.diagnostic("namespaces are selected by labels in braces", &found);
        return Some(diagnostic.help("as in `namespaces { env = prod }`"));
    }
    if let Some((span, names)) = unparenthesised_names(cx) {
        return Some(list(cx, span, &names, ""));
    }
    let name = cx.text.trim_matches('"');
    Some(cx.diagnostic(message, &found).fix(
        Maybe,
        format!("write `namespace {name}`"),
        cx.at(cx.before()),
        "namespace",
    ))
}

/// `podSelector { app = web }`: the name of a manifest field before braces.
pub(super) fn field(cx: &Context<'_>) -> Option<Diagnostic> {
    let ahead = cx.ahead();
    // The parser may have taken the brace for the start of the policy's body.
    let ahead = match ahead.strip_suffix('{') {
        Some(ahead) if cx.expected.has(Expected::End) => ahead.trim_end(),
        _ if cx.is(T::LBrace) && cx.wants(T::Except) => ahead,
        _ => return None,
    };
    let word = super::last_word(ahead);
    let with = match word.to_ascii_lowercase().trim_end_matches(':') {
        "podselector" | "endpointselector" | "toendpoints" | "fromendpoints" | "selector" | "matchlabels"
        | "pod" | "podlabels" => "pods",
        "namespaceselector" | "ns" => "all pods in namespaces",
        _ => return None,
    };
    let span = Span::new((ahead.len() - word.len()) as u32, ahead.len() as u32);
    let message = format!("`{word}` is not a keyword");
    Some(Diagnostic::new(&SYNTAX, message, cx.at(span), "found before a selector").fix(
        Applicability::Automatic,
        format!("write `{with} {{ … }}`"),
        cx.at(span),
        with,
    ))
}

/// Objects of Kubernetes that stand for pods, and other words before a name.
enum NamedObject {
    /// A workload or Service, whose selector has the labels: its kind, and its name for `kubectl get`.
    Selecting(&'static str, &'static str),
    Pod,
    ServiceAccount,
    Node,
    HostName,
    Label,
    /// A Cilium entity.
    Entity,
    Exception,
}

fn named_object(word: &str) -> Option<NamedObject> {
    use NamedObject::{Entity, Exception, HostName, Label, Node, Pod, Selecting, ServiceAccount};
    Some(match word.to_ascii_lowercase().trim_end_matches(':') {
        "service" | "services" | "svc" => Selecting("Service", "service"),
        "deployment" | "deployments" | "deploy" => Selecting("Deployment", "deployment"),
        "statefulset" | "statefulsets" | "sts" => Selecting("StatefulSet", "statefulset"),
        "daemonset" | "daemonsets" | "ds" => Selecting("DaemonSet", "daemonset"),
        "replicaset" | "replicasets" | "rs" => Selecting("ReplicaSet", "replicaset"),
        "job" | "jobs" => Selecting("Job", "job"),
        "pod" => Pod,
        "serviceaccount" | "serviceaccounts" | "sa" => ServiceAccount,
        "node" | "nodes" => Node,
        "toentities" | "fromentities" | "entity" | "entities" => Entity,
        "not" => Exception,
        "host" | "hostname" | "domain" | "fqdn" | "dns" | "url" | "tofqdns" => HostName,
        "label" | "labels" | "selector" | "app" | "tag" => Label,
        _ => return None,
    })
}

/// `service db`, `deployment web`, `pod web`: the name of an object where a selector is expected.
pub(super) fn workload(cx: &Context<'_>) -> Option<Diagnostic> {
    // The parser accepted the word before as a set name, or there is none.
    if !cx.wants(T::Except) || !cx.found.is_some_and(|found| found.is_word() || found == T::Str) {
        return None;
    }
    let kind = cx.word_before();
    let named_object = named_object(kind)?;
    let name = cx.text.trim_matches('"');
    if matches!(
        cx.found,
        Some(T::On | T::Log | T::In | T::Except | T::Allow | T::Deny | T::Pass | T::Isolate)
    ) {
        return None;
    }
    let whole = cx.at(cx.with_word_before());
    // Keep the namespace if one follows.
    let mut rest = cx.tokens_from(cx.span.end).into_iter();
    let namespace = match (rest.next().map(|own| own.kind), rest.next().map(|own| own.kind), rest.next()) {
        (Some(T::In), Some(T::Namespace), Some(name)) => Some(cx.of(&name)),
        _ => None,
    };
    let subject = cx.wants(T::LBrace);
    let scope = match (namespace, subject) {
        (Some(name), _) => format!(" in namespace {name}"),
        (None, true) => " in namespace NAMESPACE".to_owned(),
        (None, false) => String::new(),
    };
    let pods = format!("pods {{ app = {name} }}{scope}");
    let flag = namespace.map(|name| format!(" -n {name}")).unwrap_or_default();
    let reported = |what: &str, label: &str| {
        let message = format!("pods are selected by labels, not by the name of {what}");
        Diagnostic::new(&SYNTAX, message, whole, label)
    };
    Some(match named_object {
        NamedObject::Selecting(kind, resource) => {
            let label = match kind {
                "Service" if !subject => "a Service cannot be a peer",
                _ => "not a selector",
            };
            reported(&format!("a {kind}"), label).help(format!(
                "write the labels of the {kind}'s selector, as in `{pods}`; `kubectl get {resource} {name}{flag} -o wide` shows them"
            ))
        }
        NamedObject::Pod => reported("a pod", "not a selector").help(format!(
            "write the pod's labels, as in `{pods}`; `kubectl get pod {name}{flag} --show-labels` shows them"
        )),
        NamedObject::ServiceAccount => reported("a ServiceAccount", "not a selector")
            .help(format!("write the labels of the pods that use it, as in `{pods}`")),
        NamedObject::Label => {
            let start = if matches!(kind, "app" | "tag") { cx.before().start } else { cx.span.start };
            let braces = "labels must be in braces after `pods`";
            let label = "not a selector";
            match unbraced_selector(cx, start) {
                Some((span, selector)) => {
                    Diagnostic::new(&SYNTAX, braces, cx.at(cx.before().to(span)), label)
                        .help(format!("write `pods {selector}{scope}`"))
                }
                None => Diagnostic::new(&SYNTAX, braces, whole, label).help("as in `pods { app = web }`"),
            }
        }
        NamedObject::Node => Diagnostic::new(&SYNTAX, "the language has no construct for nodes", whole, "a node").help(
            "write the addresses of the nodes, as in `10.0.0.0/24`; `kubectl get nodes -o wide` shows them. A pod's own node may always reach it",
        ),
        NamedObject::Entity => {
            let with = match cx.text {
                "world" => "0.0.0.0/0, ::/0",
                "all" => "anywhere",
                "cluster" => "all pods in all namespaces",
                _ => return Some(cx.diagnostic("Cilium entities are not supported", &cx.found()).help(
                    "peers are pods, addresses and `anywhere`: write the addresses of a node or of the API server",
                )),
            };
            let message = "Cilium entities are not supported";
            Diagnostic::new(&SYNTAX, message, whole, "a Cilium entity").help(format!("write `{with}`"))
        }
        NamedObject::Exception => Diagnostic::new(&SYNTAX, "`not` is not valid before a peer", whole, "found `not`")
            .help(format!("write `anywhere except {name}`")),
        NamedObject::HostName if name.contains('.') && name.contains(|c: char| c.is_ascii_alphabetic()) => {
            let message = "the language has no construct for host names: rules match addresses";
            Diagnostic::new(&SYNTAX, message, whole, "a host name")
                .help("write the addresses that the name resolves to, as in `203.0.113.0/24`, and update them when they change; no target of npc matches names (Cilium's own `toFQDNs` does)")
        }
        NamedObject::HostName => return None,
    })
}
