//! Reads policies of Kubernetes and of Kyverno as a program.
//!
//! Import applies the API server's defaults and rejects what the API server rejects, naming the same field.
//! Anything that a program cannot express is an error with its location; nothing is dropped silently.
//!
//! ```
//! use npc_diagnostics::FileId;
//!
//! let text = "
//! apiVersion: networking.k8s.io/v1
//! kind: NetworkPolicy
//! metadata: {name: web, namespace: shop}
//! spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}
//! ";
//! let import = npc_import::import(FileId(0), text);
//! assert!(import.diagnostics.is_empty());
//! assert_eq!(&*import.policies[0].policy.name, "shop/web");
//! ```

mod conflicts;
mod kubernetes;
mod kyverno;

pub use kubernetes::network_policy::LEFT_OUT_RULES;

use std::sync::Arc;

use npc_diagnostics::{Code, Diagnostic, FileId, Level, Location};
use npc_manifest::{Documents, Node, Path, Reader, Value};
use npc_print::{Printed, program_text};
use npc_program::{Policy, Program};
use rustc_hash::{FxHashMap, FxHashSet};

npc_diagnostics::codes! {
    /// # Unknown kind of policy
    ///
    /// npc reads NetworkPolicy (`networking.k8s.io/v1`), ClusterNetworkPolicy
    /// (`policy.networking.k8s.io/v1alpha2`), AdminNetworkPolicy and BaselineAdminNetworkPolicy
    /// (`policy.networking.k8s.io/v1alpha1`), Kyverno's ClusterPolicy (`kyverno.io/v1`) and GeneratingPolicy
    /// (`policies.kyverno.io/v1`), and lists of these.
    ///
    /// npc does not skip objects of other kinds. One of them may be a network policy, of a CNI or of another
    /// API version, and npc would give wrong answers without it.
    UNKNOWN_KIND = "NP0903" "unknown-kind" Error;

    /// # Not supported by the language
    ///
    /// The object is valid, but contains something that the language cannot express. npc does not omit it,
    /// since that would change what the policies mean.
    UNSUPPORTED = "NP0904" "not-carried" Error;

    /// # Labels and annotations that are omitted
    ///
    /// A program has no labels or annotations for the objects that it is compiled to, so `npc import` omits
    /// them. Descriptions become comments.
    DROPPED = "NP0914" "labels-left-out" Note;

    /// # Defaults that differ from Kyverno's
    ///
    /// Kyverno's defaults are a webhook timeout of ten seconds and, for a ClusterPolicy, `failurePolicy:
    /// Fail`: the API server rejects namespaces while Kyverno is unavailable. A program's defaults are five
    /// seconds and `failure-policy = ignore`, which is also how a GeneratingPolicy behaves. `npc import`
    /// keeps the settings that a policy states, and leaves the others to the program's defaults.
    DEFAULTS = "NP0915" "other-defaults" Note;
}

/// Imported policies.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// The policies, in the order of the text.
    pub policies: Vec<Imported>,
    /// The errors, warnings and notes.
    pub diagnostics: Vec<Diagnostic>,
    /// The namespace of objects without `metadata.namespace`.
    namespace: Option<Arc<str>>,
}

/// One imported policy.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The policy. The name of a namespaced policy is `namespace/name`.
    pub policy: Policy,
    /// Its name without the namespace.
    pub short_name: Arc<str>,
    /// The policy of the program that it was compiled from, if the annotation `npc/policy` names one.
    pub origin: Option<Arc<str>>,
    /// The names of its rules, if the kind has names for rules.
    pub rule_names: Vec<Option<String>>,
    /// The kind of the object that it was read from.
    pub kind: &'static str,
    /// The generated objects, if Kyverno generates the policy. `None` for an object that is applied itself.
    pub generated: Option<Generated>,
    /// The labels and annotations of the object that the program omits, with their locations.
    pub dropped: Vec<(String, Location)>,
    /// Whether it has no namespace, so that npc assumes `default`.
    pub assumes_namespace: bool,
}

impl Imported {
    fn into_printed(self) -> Printed {
        Printed { policy: self.policy, short_name: self.short_name, rule_names: self.rule_names }
    }
}

/// The NetworkPolicies that a Kyverno policy generates, one in each namespace.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The name of the Kyverno policy, with its location.
    pub by: (String, Location),
    /// The name of the generated objects. `None` if it depends on the namespace.
    pub name: Option<String>,
    /// Whether Kyverno also generates objects in namespaces that are older than its policy
    /// (`generateExisting`).
    pub existing: bool,
    /// Whether the Kyverno policy does not set `failurePolicy` or the webhook's timeout.
    pub leaves_defaults: bool,
}

/// All diagnostic codes of this crate and of `npc_manifest`, sorted by number.
#[must_use]
pub fn codes() -> Vec<&'static Code> {
    let mut codes: Vec<&Code> = [
        npc_manifest::CODES,
        CODES,
        npc_print::CODES,
        conflicts::CODES,
        kubernetes::selector::CODES,
        kubernetes::network_policy::CODES,
        kyverno::CODES,
    ]
    .into_iter()
    .flatten()
    .copied()
    .collect();
    codes.sort_by_key(|code| code.id);
    codes
}

/// Reads a stream of manifests, or lists of them.
#[must_use]
pub fn import(file: FileId, text: &str) -> Import {
    import_in(file, text, None)
}

/// Like [`import`], but objects without a namespace are in this namespace.
#[must_use]
pub fn import_in(file: FileId, text: &str, namespace: Option<&str>) -> Import {
    let documents = Documents::parse(file, text);
    let namespace = namespace.map(Arc::from);
    let mut import = Import { diagnostics: documents.diagnostics, namespace, ..Import::default() };
    for node in &documents.list {
        import.document(node, text, true);
    }
    import.diagnostics.sort_by_key(Diagnostic::location);
    import
}

impl Import {
    /// Converts the policies to a program for evaluation. The program cannot be compiled: its policies keep
    /// names of the form `namespace/name`, which the language does not allow.
    #[must_use]
    pub fn into_program(self) -> Program {
        let policies = self.policies.into_iter().map(|imported| imported.policy.into()).collect();
        Program { policies, ..Program::default() }
    }

    /// Adds the policies of other texts, which are applied together with these.
    pub fn extend(&mut self, other: Self) {
        self.policies.extend(other.policies);
        self.diagnostics.extend(other.diagnostics);
    }

    /// The text of a program that means the same as these policies. Values that occur several times become
    /// sets, equal policies of several namespaces become one policy, and descriptions become comments.
    #[must_use]
    pub fn to_text(mut self) -> (String, Vec<Diagnostic>) {
        let names: Vec<Arc<str>> = self.policies.iter().map(|one| Arc::clone(&one.policy.name)).collect();
        for (imported, name) in self.policies.iter_mut().zip(program_names(&names)) {
            imported.policy.name = name;
        }
        let mut diagnostics = self.dropped();
        let policies: Vec<Printed> = self.policies.into_iter().map(Imported::into_printed).collect();
        let text = program_text(&policies, &mut diagnostics);
        (text, diagnostics)
    }

    /// Reports the labels and annotations that the program omits, once for each object; and that the
    /// program's defaults are not Kyverno's.
    fn dropped(&self) -> Vec<Diagnostic> {
        let of_object = |imported: &Imported| {
            let (_, place) = imported.dropped.first()?;
            let all: Vec<&str> = imported.dropped.iter().map(|(what, _)| what.as_str()).collect();
            let policy = &imported.policy.name;
            let message = format!("the program omits labels and annotations of `{policy}`");
            Some(Diagnostic::new(&DROPPED, message, *place, all.join(", ")))
        };
        let mut found: Vec<Diagnostic> = self.policies.iter().filter_map(of_object).collect();
        let left =
            self.policies.iter().find(|one| one.generated.as_ref().is_some_and(|own| own.leaves_defaults));
        found.extend(left.map(|imported| {
            Diagnostic::new(
                &DEFAULTS,
                "the program's defaults differ from Kyverno's",
                imported.policy.location,
                "does not set `failurePolicy` or the webhook's timeout",
            )
            .help("to keep Kyverno's defaults, add `kyverno { webhook-timeout = 10s  failure-policy = fail }`; `failure-policy = fail` is for target `kyverno` only")
        }));
        found
    }

    fn document(&mut self, node: &Node, source: &str, outer: bool) {
        let text = |key: &str| node.get(key).and_then(Node::as_str).unwrap_or("");
        let (version, kind) = (text("apiVersion"), text("kind"));
        let mut reader = Reader::default();
        let imported = match (version, kind) {
            (_, list) if outer && list.ends_with("List") && node.get("items").is_some() => {
                self.items(node, source, list.strip_suffix("List").unwrap_or(""), version);
                return;
            }
            ("networking.k8s.io/v1", "NetworkPolicy") => {
                kubernetes::network_policy::network_policy(&mut reader, node, self.namespace.as_deref())
            }
            ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy") => {
                kubernetes::cluster_network_policy::cluster_network_policy(&mut reader, node)
            }
            ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy") => {
                kubernetes::admin_network_policy::admin_network_policy(&mut reader, node)
            }
            ("policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicy") => {
                kubernetes::admin_network_policy::baseline_admin_network_policy(&mut reader, node)
            }
            ("kyverno.io/v1" | "kyverno.io/v2beta1", "ClusterPolicy") => {
                self.several(kyverno::cluster_policy::cluster_policy(&mut reader, node), reader);
                return;
            }
            (
                "policies.kyverno.io/v1" | "policies.kyverno.io/v1beta1" | "policies.kyverno.io/v1alpha1",
                "GeneratingPolicy",
            ) => {
                self.several(
                    kyverno::generating_policy::generating_policy(&mut reader, node, source),
                    reader,
                );
                return;
            }
            (
                "policies.kyverno.io/v1" | "policies.kyverno.io/v1beta1" | "policies.kyverno.io/v1alpha1",
                "ValidatingPolicy",
            ) => {
                reader.diagnostics.push(kyverno::validating(node));
                None
            }
            _ => {
                reader.diagnostics.push(unknown_kind(node, version, kind));
                None
            }
        };
        self.several(imported.map(|one| vec![one]), reader);
    }

    /// Adds the policies of one object. If the object has an error, none of them is added: half a policy
    /// means something else.
    fn several(&mut self, imported: Option<Vec<Imported>>, reader: Reader) {
        let broken = reader.diagnostics.iter().any(|found| found.level == Level::Error);
        self.diagnostics.extend(reader.diagnostics);
        self.policies.extend(imported.filter(|_| !broken).into_iter().flatten());
    }

    /// Reads the objects of a list. In a list of one kind the items may omit their kind and version.
    fn items(&mut self, node: &Node, source: &str, kind: &str, version: &str) {
        let mut reader = Reader::default();
        let items = node.get("items").and_then(|items| reader.list(&Path::Root.field("items"), items));
        self.diagnostics.append(&mut reader.diagnostics);
        for item in items.unwrap_or_default() {
            let mut item = item.clone();
            if let Value::Map(entries) = &mut item.value
                && !kind.is_empty()
            {
                for (key, text) in [("kind", kind), ("apiVersion", version)] {
                    if !entries.iter().any(|entry| entry.key == key) {
                        let value = Value::String(text.to_owned());
                        let node = Node { value, location: node.location };
                        let location = node.location;
                        entries.push(npc_manifest::Entry { key: key.to_owned(), location, node });
                    }
                }
            }
            self.document(&item, source, false);
        }
    }
}

/// Gives each policy a name that the language allows: its own name if that is unique, otherwise its namespace
/// and its name. Unique names without a namespace do not change.
pub fn rename(program: &mut Program) {
    let names: Vec<Arc<str>> = program.policies.iter().map(|policy| Arc::clone(&policy.name)).collect();
    for (policy, name) in program.policies.iter_mut().zip(program_names(&names)) {
        Arc::make_mut(policy).name = name;
    }
}

/// The names in a program for policies with these names, which are `namespace/name` or a name alone.
fn program_names(names: &[Arc<str>]) -> Vec<Arc<str>> {
    let short = |name: &str| Arc::<str>::from(name.rsplit('/').next().unwrap_or(name));
    let mut uses: FxHashMap<Arc<str>, usize> = FxHashMap::default();
    for name in names {
        *uses.entry(short(name)).or_default() += 1;
    }
    // Unique names are reserved first, since they do not change.
    let mut taken: FxHashSet<Arc<str>> =
        uses.iter().filter(|(_, uses)| **uses == 1).map(|(name, _)| Arc::clone(name)).collect();
    names
        .iter()
        .map(|name| {
            let alone = short(name);
            if uses.get(&alone) == Some(&1) {
                return alone;
            }
            let first = name.replace('/', "-");
            let mut wanted: Arc<str> = first.as_str().into();
            let mut number = 1;
            while !taken.insert(Arc::clone(&wanted)) {
                number += 1;
                wanted = format!("{first}-{number}").into();
            }
            wanted
        })
        .collect()
}

/// Whether objects of a kind are network policies. Without such an object, answers would be wrong.
pub(crate) fn is_network_policy(version: &str, kind: &str) -> bool {
    let group = version.split_once('/').map_or("", |(group, _)| group);
    // Calico's staged policies only report, and decide nothing.
    let by_name = kind.ends_with("NetworkPolicy") && !kind.starts_with("Staged");
    by_name
        || matches!(
            (group, kind),
            ("k8s.ovn.org", "EgressFirewall")
                | ("networking.k8s.aws", "PolicyEndpoint" | "ClusterPolicyEndpoint")
                | ("security.istio.io", "AuthorizationPolicy")
        )
}

/// The diagnostic for an object of an unknown kind.
fn unknown_kind(node: &Node, version: &str, kind: &str) -> Diagnostic {
    const KNOWN: [(&str, &str); 7] = [
        ("ClusterPolicy", "kyverno.io/v1"),
        ("GeneratingPolicy", "policies.kyverno.io/v1"),
        ("ValidatingPolicy", "policies.kyverno.io/v1"),
        ("NetworkPolicy", "networking.k8s.io/v1"),
        ("ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2"),
        ("AdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1"),
        ("BaselineAdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1"),
    ];
    let place = |key: &str| node.get(key).map_or(node.location, |node| node.location);
    if kind.is_empty() {
        let what = "this document is not a Kubernetes object";
        return Diagnostic::new(&UNKNOWN_KIND, what, place("kind"), "it has no `kind`");
    }
    if let Some((_, known)) = KNOWN.into_iter().find(|(known, group)| {
        *known == kind && group.split_once('/').map(|(g, _)| g) == version.split_once('/').map(|(g, _)| g)
    }) {
        return Diagnostic::new(
            &UNKNOWN_KIND,
            format!("npc does not support version `{version}` of {kind}"),
            place("apiVersion"),
            format!("use `{known}`"),
        );
    }
    let diagnostic = Diagnostic::new(
        &UNKNOWN_KIND,
        format!("npc cannot read `{kind}` of `{version}`"),
        place("kind"),
        if is_network_policy(version, kind) {
            "a network policy: answers without it would be wrong"
        } else {
            "npc does not skip it, since it may contain network rules"
        },
    );
    diagnostic.help("to get answers that ignore it, remove it from the input")
}

#[cfg(test)]
mod tests {
    use npc_diagnostics::FileId;

    /// The text of the program that is imported from a ClusterPolicy with these filters.
    fn imported(filters: &str) -> String {
        let text = format!(
            "apiVersion: kyverno.io/v1\nkind: ClusterPolicy\nmetadata: {{name: p}}\nspec:\n  generateExisting: true\n  webhookConfiguration: {{timeoutSeconds: 5, failurePolicy: Ignore}}\n  rules:\n  - name: r\n{filters}\n    generate:\n      kind: NetworkPolicy\n      apiVersion: networking.k8s.io/v1\n      name: deny\n      namespace: '{{{{request.object.metadata.name}}}}'\n      synchronize: true\n      data: {{spec: {{podSelector: {{}}, policyTypes: [Ingress]}}}}\n"
        );
        let import = super::import(FileId(0), &text);
        match import.diagnostics.first() {
            Some(found) => found.message.clone(),
            None => import.to_text().0,
        }
    }

    #[test]
    fn filters_of_kyverno() {
        let policy = |scope: &str| format!("policy deny for all pods in {scope} {{\n  isolate ingress\n}}\n");
        for (filters, expected) in [
            ("    match: {any: [{resources: {kinds: [Namespace]}}]}", "all namespaces"),
            ("    match: {resources: {kinds: [Namespace], name: 'team-*'}}", "namespaces (team-*)"),
            (
                "    match: {all: [{resources: {kinds: [v1/Namespace], selector: {matchLabels: {a: b}}}}]}\n    exclude: {any: [{resources: {names: [kube-*]}}]}",
                "namespaces { a = b } except (kube-*)",
            ),
            (
                "    match: {any: [{resources: {kinds: [Namespace]}}]}\n    exclude: {resources: {kinds: [Pod], names: [x]}}",
                "all namespaces",
            ),
            (
                "    match: {any: [{resources: {kinds: [Namespace], names: [x*], selector: {matchExpressions: [{key: a, operator: Exists}]}}}]}",
                "namespaces (x*) except { !a }",
            ),
        ] {
            assert_eq!(imported(filters), policy(expected), "{filters}");
        }
        for bad in ["{kinds: [Namespace, Pod]}", "{kinds: [Pod]}", "{kinds: [Namespace], namespaces: [x]}"] {
            let filters = format!("    match: {{any: [{{resources: {bad}}}]}}");
            assert!(imported(&filters).starts_with("npc does not support"), "{bad}");
        }
    }
}
