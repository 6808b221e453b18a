//! Resolution of tests.

use std::sync::Arc;

use npc_diagnostics::{Applicability, Diagnostic, Location};
use npc_suggest::nearest;
use npc_syntax::ast::{self, TestEntry, Word};
use rustc_hash::{FxHashMap, FxHashSet};

use super::Context;
use super::sets::{Value, View, WRONG_KIND};
use crate::ir::{End, Expectation, Labels, Test, TestNamespace, TestPod};
use crate::load::ItemSource;
use crate::names::Names;
use crate::values::address;
use crate::values::label::{check_key, check_value};
use crate::values::name::check_namespace;
use crate::values::port::{self, NOT_A_PORT};
use npc_vocabulary::Which;

npc_diagnostics::codes! {
    /// # A test uses an unknown pod or namespace
    ///
    /// Every pod and namespace that a test uses must be declared in the test, or be in a file that it
    /// reads with `cluster`.
    ///
    /// ```np fails
    /// test "web is reached" {
    ///   namespace shop
    ///   pod web in shop
    ///   allow shop/client -> shop/web on tcp/80
    /// }
    /// ```
    ///
    /// ```np
    /// test "web is reached" {
    ///   namespace shop
    ///   pod web in shop
    ///   pod client in shop
    ///   allow shop/client -> shop/web on tcp/80
    /// }
    /// ```
    TEST_UNKNOWN = "NP0501" "test-unknown" Error;

    /// # A name of a test is declared twice
    ///
    /// The name of a pod must be unique in its namespace, the name of a namespace in the test, and the
    /// name of a test in the program.
    ///
    /// ```np fails
    /// test "web" {
    ///   namespace shop
    ///   namespace shop
    ///   pod web in shop
    ///   allow shop/web -> 10.0.0.1
    /// }
    /// ```
    ///
    /// ```np
    /// test "web" {
    ///   namespace shop
    ///   pod web in shop
    ///   allow shop/web -> 10.0.0.1
    /// }
    /// ```
    TEST_TWICE = "NP0502" "test-twice" Error;

    /// # A test without expectations
    ///
    /// The test has no line with `allow` or `deny`, so it cannot fail.
    ///
    /// ```np fails
    /// test "web" {
    ///   namespace shop
    ///   pod web in shop
    /// }
    /// ```
    ///
    /// ```np
    /// test "web" {
    ///   namespace shop
    ///   pod web in shop
    ///   allow shop/web -> 10.0.0.1
    /// }
    /// ```
    TEST_EMPTY = "NP0503" "test-empty" Warning;

    /// # Invalid labels of a pod or namespace in a test
    ///
    /// The labels of a pod or a namespace are written `key = value`, each key once. The operators of
    /// selectors are not allowed here.
    ///
    /// ```np fails
    /// test "web" {
    ///   namespace shop
    ///   pod web in shop { app in (web, api) }
    ///   allow shop/web -> 10.0.0.1
    /// }
    /// ```
    ///
    /// ```np
    /// test "web" {
    ///   namespace shop
    ///   pod web in shop { app = web }
    ///   allow shop/web -> 10.0.0.1
    /// }
    /// ```
    FIXTURE_LABELS = "NP0504" "fixture-labels" Error;
}

impl Context<'_> {
    /// Resolves a test. Omits parts that have errors.
    pub(super) fn test(
        &mut self,
        source: ItemSource,
        tree: &ast::Test,
        view: &View<'_, '_>,
        names: &mut FxHashMap<String, Location>,
    ) -> Test {
        let name = self.text(source, tree.name).into_owned();
        let location = source.at(tree.name.span);
        self.once(names, name.clone(), location, "test");
        let mut test = Test {
            name,
            location,
            clusters: Vec::new(),
            namespaces: Vec::new(),
            pods: Vec::new(),
            expectations: Vec::new(),
        };
        let mut known = FxHashMap::default();
        for entry in &tree.entries {
            match entry {
                TestEntry::Cluster(path) => {
                    let text = self.text(source, *path).into_owned();
                    test.clusters.push((text, source.at(path.span)));
                }
                TestEntry::Namespace { name, labels } => {
                    let location = source.at(name.span);
                    let name = self.name(source, *name);
                    let checked = check_namespace(&name, false, location);
                    self.ok(checked);
                    self.once(&mut known, name.to_string(), location, "namespace");
                    let labels = self.labels(source, labels.as_ref());
                    test.namespaces.push(TestNamespace { name, labels, location });
                }
                TestEntry::Pod(pod) => {
                    let pod = self.test_pod(source, pod);
                    self.once(&mut known, format!("{}/{}", pod.namespace, pod.name), pod.location, "pod");
                    test.pods.push(pod);
                }
                TestEntry::Expect(_) => {}
            }
        }
        let fixtures = Fixtures::new(&test, tree.broken);
        if fixtures.closed {
            for (pod, tree) in test.pods.iter().zip(pods_of(tree)) {
                if !fixtures.namespaces.contains(&pod.namespace) {
                    let place = source.at(tree.namespace.span);
                    self.emit(fixtures.unknown("namespace", &pod.namespace, place));
                }
            }
        }
        let mut expectations = Vec::new();
        let mut expects = false;
        for entry in &tree.entries {
            let TestEntry::Expect(expect) = entry else { continue };
            expects = true;
            let from = self.end(source, expect.source, &fixtures, view);
            let destination = self.end(source, expect.destination, &fixtures, view);
            let ports = view.ports(source, &expect.ports, self);
            if let (Some(from), Some(destination), Some(ports)) = (from, destination, ports) {
                let location = source.at(expect.span);
                expectations.push(Expectation {
                    allowed: expect.allowed,
                    source: from,
                    destination,
                    ports,
                    location,
                });
            }
        }
        test.expectations = expectations;
        if !expects && !tree.broken {
            self.emit(
                Diagnostic::new(
                    &TEST_EMPTY,
                    format!("the test \"{}\" has no expectations", test.name),
                    location,
                    "it cannot fail",
                )
                .help("add an expectation, such as `deny shop/web -> payments/db on tcp/5432`"),
            );
        }
        test
    }

    /// Reports a name that is already declared.
    fn once(
        &mut self,
        known: &mut FxHashMap<String, Location>,
        name: String,
        location: Location,
        what: &str,
    ) {
        match known.entry(name) {
            std::collections::hash_map::Entry::Occupied(first) => {
                let diagnostic = Diagnostic::new(
                    &TEST_TWICE,
                    format!("the {what} `{}` is declared twice", first.key()),
                    location,
                    "again here",
                )
                .label(*first.get(), "first here");
                self.emit(diagnostic);
            }
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(location);
            }
        }
    }

    fn test_pod(&mut self, source: ItemSource, tree: &ast::TestPod) -> TestPod {
        let name = self.name(source, tree.name);
        let namespace = self.name(source, tree.namespace);
        let labels = self.labels(source, tree.labels.as_ref());
        let mut addresses = Vec::new();
        for word in &tree.addresses {
            let text = self.text(source, *word).into_owned();
            let location = source.at(word.span);
            if let Some(net) = self.ok(address::parse(&text, location)) {
                if net.prefix_len() == net.max_prefix_len() {
                    addresses.push(net);
                } else {
                    self.emit(Diagnostic::new(
                        &address::NOT_AN_ADDRESS,
                        "a pod has addresses, not CIDRs",
                        location,
                        "expected one address, such as `10.0.0.7`",
                    ));
                }
            }
        }
        let mut ports = Vec::new();
        for (key, value) in &tree.ports {
            let port_name = self.name(source, *key);
            if let Err(why) = npc_vocabulary::check_port_name(&port_name) {
                let wrong = format!("`{port_name}` cannot be the name of a port");
                self.emit(Diagnostic::new(&NOT_A_PORT, wrong, source.at(key.span), why));
            }
            let text = self.text(source, *value).into_owned();
            let location = source.at(value.span);
            if let Some(port) = self.ok(port::parse(&text, location)) {
                if matches!(port.which, Which::Range(first, last) if first == last) {
                    ports.push((port_name, port));
                } else {
                    self.emit(Diagnostic::new(
                        &NOT_A_PORT,
                        "a pod's port must be a single port of one protocol",
                        location,
                        "expected a port such as `tcp/9187`",
                    ));
                }
            }
        }
        TestPod { name, namespace, labels, addresses, ports, location: source.at(tree.name.span) }
    }

    /// Resolves the labels of a pod or namespace.
    fn labels(&mut self, source: ItemSource, tree: Option<&ast::Selector>) -> Labels {
        let mut labels: Labels = Vec::new();
        for one in tree.map_or(&[][..], |tree| &tree.requirements) {
            let location = source.at(one.span);
            let key = self.name(source, one.key);
            let (ast::Operator::In, [value]) = (one.operator, one.values.as_slice()) else {
                self.emit(
                    Diagnostic::new(
                        &FIXTURE_LABELS,
                        "pods and namespaces of a test have labels, `key = value`, not requirements",
                        location,
                        "expected `key = value`",
                    )
                    .help(format!("write `{key} = VALUE`; an empty value is `\"\"`")),
                );
                continue;
            };
            let value_location = source.at(value.span);
            let value = self.name(source, *value);
            let fine = self.ok(check_key(&key, source.at(one.key.span))).is_some()
                & self.ok(check_value(&value, value_location)).is_some();
            if labels.iter().any(|(other, _)| *other == key) {
                self.emit(Diagnostic::new(
                    &FIXTURE_LABELS,
                    format!("the label `{key}` is set twice"),
                    location,
                    "again here",
                ));
            } else if fine {
                labels.push((key, value));
            }
        }
        labels
    }

    fn end(
        &mut self,
        source: ItemSource,
        word: Word,
        fixtures: &Fixtures,
        view: &View<'_, '_>,
    ) -> Option<End> {
        let text = self.text(source, word).into_owned();
        let location = source.at(word.span);
        if let Some((namespace, name)) = Names::pod(&text) {
            if fixtures.closed && !fixtures.pods.contains(text.as_str()) {
                self.emit(fixtures.unknown("pod", &text, location));
                return None;
            }
            return Some(End::Pod(namespace.into(), name.into()));
        }
        let term = ast::Term::Word(ast::WordTerm { span: word.span, word, scope: None, except: Vec::new() });
        match &*view.term(source, &term, self) {
            Value::Addresses(blocks) => {
                Some(End::Addresses(blocks.iter().map(|term| term.block.clone()).collect()))
            }
            Value::Broken => None,
            Value::Pods(_) => {
                self.emit(
                    Diagnostic::new(
                        &WRONG_KIND,
                        "expected a single pod, found a set of pods",
                        location,
                        "expected `namespace/pod`, an address or a set of addresses",
                    )
                    .help("to check every pod of the set, write an `assert`"),
                );
                None
            }
            Value::Ports(_) => {
                self.emit(Diagnostic::new(
                    &WRONG_KIND,
                    "the end of a connection must be a pod or addresses, found ports",
                    location,
                    "expected `namespace/pod`, an address or a set of addresses",
                ));
                None
            }
        }
    }
}

fn pods_of(tree: &ast::Test) -> impl Iterator<Item = &ast::TestPod> {
    tree.entries.iter().filter_map(|entry| match entry {
        TestEntry::Pod(pod) => Some(&**pod),
        _ => None,
    })
}

/// The names of the pods and namespaces of a test.
struct Fixtures {
    namespaces: FxHashSet<Arc<str>>,
    pods: FxHashSet<String>,
    /// Whether the names are complete: the test reads no `cluster` file and has no syntax error.
    closed: bool,
}

impl Fixtures {
    fn new(test: &Test, broken: bool) -> Self {
        Self {
            namespaces: test.namespaces.iter().map(|namespace| Arc::clone(&namespace.name)).collect(),
            pods: test.pods.iter().map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect(),
            closed: test.clusters.is_empty() && !broken,
        }
    }

    fn unknown(&self, what: &str, name: &str, location: Location) -> Diagnostic {
        let diagnostic = Diagnostic::new(
            &TEST_UNKNOWN,
            format!("the test has no {what} `{name}`"),
            location,
            "not declared in this test",
        );
        let near = if what == "pod" {
            nearest(name, self.pods.iter().map(String::as_str))
        } else {
            nearest(name, self.namespaces.iter().map(|name| &**name))
        };
        match near {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")).fix(
                Applicability::Maybe,
                format!("write `{near}`"),
                location,
                near,
            ),
            None if what == "pod" => {
                let (namespace, pod) = name.split_once('/').unwrap_or(("", name));
                diagnostic.help(format!("add it: `pod {pod} in {namespace} {{ … }}`"))
            }
            None => diagnostic.help(format!("add it: `namespace {name}`")),
        }
    }
}
