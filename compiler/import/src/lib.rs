//! Reads policies of Kubernetes and of Kyverno as a program.
//!
//! What the API server would fill in is filled in, and what it would refuse is refused, by the same
//! field. What a program cannot say is an error at its place; nothing is dropped.
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
mod write;

pub use kubernetes::network_policy::LEFT_OUT_RULES;
pub use write::{block_text, pods_text, rule_text, selector_text, word};

use std::sync::Arc;

use npc_diagnostics::{Code, Diagnostic, FileId, Level, Location};
use npc_manifest::{Documents, Node, Path, Reader, Value};
use npc_program::{Policy, Program};
use rustc_hash::{FxHashMap, FxHashSet};

npc_diagnostics::codes! {
    /// # Not a kind of policy that is known
    ///
    /// `npc` reads NetworkPolicy (`networking.k8s.io/v1`), ClusterNetworkPolicy
    /// (`policy.networking.k8s.io/v1alpha2`), AdminNetworkPolicy and BaselineAdminNetworkPolicy
    /// (`policy.networking.k8s.io/v1alpha1`), Kyverno's ClusterPolicy (`kyverno.io/v1`) and
    /// GeneratingPolicy (`policies.kyverno.io/v1`), and lists of these. Objects of other kinds are
    /// not passed over: a policy of a CNI's own, or of another version, would be left out of every
    /// answer.
    UNKNOWN_KIND = "NP0903" "unknown-kind" Error;

    /// # What a program cannot say
    ///
    /// The object is valid, and holds something for which the language has no words. It is not left
    /// out, since that would change what the policies mean.
    NOT_CARRIED = "NP0904" "not-carried" Error;

    /// # Labels and annotations that are not carried
    ///
    /// A program has no labels or annotations for the objects that it becomes, so `npc import` leaves
    /// them out. Descriptions become comments.
    DROPPED = "NP0914" "labels-left-out" Note;

    /// # Defaults that are not Kyverno's
    ///
    /// Where a policy does not say otherwise, Kyverno has ten seconds to answer the API server, and a
    /// ClusterPolicy makes the API server refuse namespaces while Kyverno is away. A program's defaults
    /// are five seconds and `failure-policy = ignore`, which the GeneratingPolicy has too. `npc import`
    /// carries what a policy says itself, and leaves the rest to the program's defaults.
    DEFAULTS = "NP0915" "other-defaults" Note;

    /// # A part that has no effect
    ///
    /// Nothing can satisfy a selector of this policy (a label cannot have two values, or be there
    /// and not be there), so the policy selects no pod, or a peer is none. In the program that
    /// `npc import` writes a comment stands for it.
    NO_EFFECT = "NP0907" "no-effect" Warning;
}

/// Policies that were read.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// The policies, in the order of the text.
    pub policies: Vec<Imported>,
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
    /// The namespace of objects that say none.
    namespace: Option<Arc<str>>,
}

/// One policy.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The policy. The name of one that is in a namespace is `namespace/name`.
    pub policy: Policy,
    /// Its name alone, without a namespace before it.
    pub short_name: Arc<str>,
    /// The policy of a program that it was compiled from, where an annotation (`npc/policy`) says so.
    pub origin: Option<Arc<str>>,
    /// The names of its rules, where they have some.
    pub rule_names: Vec<Option<String>>,
    /// The kind of object that it was.
    pub kind: &'static str,
    /// What Kyverno generates it as; nothing of an object that is applied itself.
    pub generated: Option<Generated>,
    /// The labels and annotations of the object that a program does not carry, with where they stand.
    pub dropped: Vec<(String, Location)>,
    /// Whether it says no namespace, so that `default` is assumed.
    pub assumes_namespace: bool,
}

/// The NetworkPolicies that a policy of Kyverno's generates: one in each namespace.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The name of Kyverno's policy, and where it stands.
    pub by: (String, Location),
    /// The name of the objects; nothing where it depends on the namespace.
    pub name: Option<String>,
    /// Whether namespaces that existed before Kyverno's policy get one (`generateExisting`).
    pub existing: bool,
    /// Whether Kyverno's policy leaves `failurePolicy` or the webhook's timeout to Kyverno.
    pub leaves_defaults: bool,
}

/// Every code of this crate and of the manifests that it reads, in the order of their numbers.
#[must_use]
pub fn codes() -> Vec<&'static Code> {
    let mut codes: Vec<&Code> = [
        npc_manifest::CODES,
        CODES,
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

/// The same, where objects without a namespace are applied to this one.
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
    /// The policies as a program. They keep their names, `namespace/name`, which are none of a
    /// program's own: it is there to be asked, not to be compiled.
    #[must_use]
    pub fn into_program(self) -> Program {
        let policies = self.policies.into_iter().map(|imported| imported.policy.into()).collect();
        Program { policies, ..Program::default() }
    }

    /// Adds what other texts hold: all are applied together.
    pub fn extend(&mut self, other: Self) {
        self.policies.extend(other.policies);
        self.diagnostics.extend(other.diagnostics);
    }

    /// The text of a program that says what these policies say: what stands in several places gets a
    /// name, and one policy in many namespaces is written once. Descriptions become comments.
    #[must_use]
    pub fn to_text(mut self) -> (String, Vec<Diagnostic>) {
        let names: Vec<Arc<str>> = self.policies.iter().map(|one| Arc::clone(&one.policy.name)).collect();
        for (imported, name) in self.policies.iter_mut().zip(program_names(&names)) {
            imported.policy.name = name;
        }
        let mut diagnostics = self.dropped();
        let text = write::program_text(&self, &mut diagnostics);
        (text, diagnostics)
    }

    /// Tells which labels and annotations a program leaves out, once for each object; and where its defaults are
    /// not Kyverno's.
    fn dropped(&self) -> Vec<Diagnostic> {
        let of_object = |imported: &Imported| {
            let (_, place) = imported.dropped.first()?;
            let all: Vec<&str> = imported.dropped.iter().map(|(what, _)| what.as_str()).collect();
            let policy = &imported.policy.name;
            let message = format!("the program leaves out labels and annotations of `{policy}`");
            Some(Diagnostic::new(&DROPPED, message, *place, all.join(", ")))
        };
        let mut found: Vec<Diagnostic> = self.policies.iter().filter_map(of_object).collect();
        let left =
            self.policies.iter().find(|one| one.generated.as_ref().is_some_and(|own| own.leaves_defaults));
        found.extend(left.map(|imported| {
            Diagnostic::new(
                &DEFAULTS,
                "the program has other defaults than Kyverno",
                imported.policy.location,
                "leaves `failurePolicy` or the webhook's timeout to Kyverno",
            )
            .help("to keep Kyverno's: `kyverno { webhook-timeout = 10s  failure-policy = fail }`; the second for target `kyverno` only")
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

    /// Adds what an object became. What is wrong in one field leaves nothing of the object: half a
    /// policy means another thing.
    fn several(&mut self, imported: Option<Vec<Imported>>, reader: Reader) {
        let broken = reader.diagnostics.iter().any(|found| found.level == Level::Error);
        self.diagnostics.extend(reader.diagnostics);
        self.policies.extend(imported.filter(|_| !broken).into_iter().flatten());
    }

    /// The objects of a list. Those of a list of one kind need not say theirs.
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

/// Gives each policy a name that it can have in a program: its own where no other has that one, or
/// else with its namespace before it. Names that are none of an imported policy stay as they are.
pub fn rename(program: &mut Program) {
    let names: Vec<Arc<str>> = program.policies.iter().map(|policy| Arc::clone(&policy.name)).collect();
    for (policy, name) in program.policies.iter_mut().zip(program_names(&names)) {
        Arc::make_mut(policy).name = name;
    }
}

/// The names that policies of these names, `namespace/name` or a name alone, have in a program.
fn program_names(names: &[Arc<str>]) -> Vec<Arc<str>> {
    let short = |name: &str| Arc::<str>::from(name.rsplit('/').next().unwrap_or(name));
    let mut uses: FxHashMap<Arc<str>, usize> = FxHashMap::default();
    for name in names {
        *uses.entry(short(name)).or_default() += 1;
    }
    // Those that keep their names have them first.
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

/// Whether objects of a kind are network policies: then leaving one out makes answers wrong.
pub(crate) fn is_network_policy(version: &str, kind: &str) -> bool {
    let group = version.split_once('/').map_or("", |(group, _)| group);
    // Calico's staged policies only report.
    let by_name = kind.ends_with("NetworkPolicy") && !kind.starts_with("Staged");
    by_name
        || matches!(
            (group, kind),
            ("k8s.ovn.org", "EgressFirewall")
                | ("networking.k8s.aws", "PolicyEndpoint" | "ClusterPolicyEndpoint")
                | ("security.istio.io", "AuthorizationPolicy")
        )
}

/// What is told of an object of a kind that is not known.
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
        let what = "this document is no object of Kubernetes";
        return Diagnostic::new(&UNKNOWN_KIND, what, place("kind"), "there is no `kind`");
    }
    if let Some((_, known)) = KNOWN.into_iter().find(|(known, group)| {
        *known == kind && group.split_once('/').map(|(g, _)| g) == version.split_once('/').map(|(g, _)| g)
    }) {
        return Diagnostic::new(
            &UNKNOWN_KIND,
            format!("`{version}` is not a version of {kind} that is known"),
            place("apiVersion"),
            format!("`{known}` is"),
        );
    }
    let told = Diagnostic::new(
        &UNKNOWN_KIND,
        format!("`{kind}` of `{version}` is not a policy that npc can read"),
        place("kind"),
        if is_network_policy(version, kind) {
            "a network policy: every answer would be wrong without it"
        } else {
            "not skipped, since it may hold network rules"
        },
    );
    told.help("take it out of the input to get answers that leave it out")
}

#[cfg(test)]
mod tests {
    use npc_diagnostics::FileId;

    /// The text of the program that a ClusterPolicy with these filters becomes.
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
            assert!(imported(&filters).starts_with("a program cannot say"), "{bad}");
        }
    }
}
