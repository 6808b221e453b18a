//! A running Kyverno: after each step in the life of a policy, the NetworkPolicies in the cluster equal the
//! expansion, and no namespace that keeps its policy is without it for a moment.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeMap;
use std::time::Duration;

use npc_program::FailurePolicy;
use npc_targets::{AnyTarget, Options};
use npc_tests::live::{Key, Watch, kubectl, namespaces, normal, try_kubectl};
use npc_tests::memory::Memory;
use npc_tests::tools::{examples, sources, tools};
use serde_json::{Value, json};

/// How long Kyverno may take, in seconds.
const PATIENCE: u64 = 60;

/// For each example, an edit that Kyverno applies in place.
const EDITS: [(&str, &str); 3] = [
    ("169.254.169.254/32", "169.254.0.0/16"),
    ("udp/53, tcp/53", "udp/53, tcp/53, tcp/853"),
    ("isolate ingress\n", "isolate ingress, egress\n"),
];

struct Program {
    name: String,
    files: Vec<(String, String)>,
}

impl Program {
    fn compile(&self, target: AnyTarget) -> String {
        let roots: Vec<String> = self.files.iter().map(|(name, _)| name.clone()).collect();
        let files = Memory::new(self.files.clone());
        let checked = npc_driver::check(&files, &roots, &npc_driver::Config::default(), None);
        assert!(!checked.report.has_errors(), "{}: {:?}", self.name, checked.report);
        npc_driver::compile(&checked, &[target], &Options::default(), None).remove(0).text
    }

    /// The program with an edit that changes the generated objects.
    fn edited(&self) -> Self {
        let edit = |(name, text): &(String, String)| {
            let text = EDITS.iter().fold(text.clone(), |text, (from, to)| text.replace(from, to));
            (name.clone(), text)
        };
        Self { name: self.name.clone(), files: self.files.iter().map(edit).collect() }
    }
}

fn main() {
    if tools("kyverno_live", "a running cluster with Kyverno").is_none() {
        return;
    }
    let programs: Vec<Program> = examples()
        .into_iter()
        .filter(|(name, _)| name != "tiers")
        .map(|(name, folder)| Program { name, files: sources(&folder) })
        .collect();
    guards();
    updates();
    let only = std::env::var("NPC_TEST_EXAMPLE").ok();
    let mut run = Run { watch: Watch::start(), compared: 0, steps: 0, made: 0 };
    for program in &programs {
        if only.as_ref().is_some_and(|only| *only != program.name) {
            continue;
        }
        for target in [AnyTarget::KYVERNO, AnyTarget::KYVERNO_CEL] {
            run.life(program, target);
        }
    }
    println!(
        "kyverno_live: {} examples, both kinds, {} steps, {} objects compared, 0 different, 0 gaps",
        programs.len(),
        run.steps,
        run.compared
    );
}

/// A program with denials in both directions and IP families, for some namespaces only.
const GUARDED: &str = r"
policy no-metadata for all pods in namespaces { env = prod } except (guard-free) {
  allow egress to anywhere except (169.254.169.254, fe80::/10)
  allow ingress from anywhere except 224.0.0.0/4
}
policy dns for all pods in namespaces { env = prod } {
  allow egress to all pods in namespace kube-system on udp/53
}
";

/// NetworkPolicies that others create, and whether the guard admits them.
fn shapes() -> Vec<(&'static str, Value, bool)> {
    let egress = |rules: Value| json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": rules});
    let ingress = |rules: Value| json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": rules});
    let to = |peers: Value| egress(json!([{"to": peers}]));
    let block = |cidr: &str, except: &[&str]| {
        let mut block = json!({"cidr": cidr});
        if !except.is_empty() {
            block["except"] = json!(except);
        }
        json!([{"ipBlock": block}])
    };
    vec![
        ("everything allowed", egress(json!([{}])), false),
        (
            "everything allowed on a port",
            egress(json!([{"ports": [{"protocol": "TCP", "port": 80}]}])),
            false,
        ),
        ("every address", to(block("0.0.0.0/0", &[])), false),
        ("every address but another", to(block("0.0.0.0/0", &["169.254.169.253/32"])), false),
        ("every address but part of it", to(block("0.0.0.0/0", &["10.0.0.0/8"])), false),
        ("every address but it", to(block("0.0.0.0/0", &["169.254.169.254/32"])), true),
        ("every address but a block around it", to(block("0.0.0.0/0", &["169.254.0.0/16"])), true),
        ("a block around it", to(block("169.254.0.0/16", &[])), false),
        ("it alone", to(block("169.254.169.254/32", &[])), false),
        ("its neighbour", to(block("169.254.169.253/32", &[])), true),
        ("another block", to(block("10.0.0.0/8", &[])), true),
        ("every IPv6 address", to(block("::/0", &[])), false),
        ("every IPv6 address but the denied block", to(block("::/0", &["fe80::/10"])), true),
        ("every IPv6 address but half of it", to(block("::/0", &["fe80::/11"])), false),
        ("a part of the denied block", to(block("fe80:1::/32", &[])), false),
        ("pods", to(json!([{"podSelector": {}}])), true),
        ("namespaces", to(json!([{"namespaceSelector": {}}])), true),
        (
            "pods and a block around it",
            to(json!([{"podSelector": {}}, {"ipBlock": {"cidr": "169.254.0.0/16"}}])),
            false,
        ),
        ("nothing allowed", egress(json!([])), true),
        (
            "ingress only, from it",
            ingress(block("169.254.169.254/32", &[]).as_array().map(|from| json!([{"from": from}])).unwrap()),
            true,
        ),
        ("ingress from everyone", ingress(json!([{}])), false),
        (
            "ingress from multicast",
            ingress(json!([{"from": [{"ipBlock": {"cidr": "224.0.0.0/24"}}]}])),
            false,
        ),
        ("no types, egress to everyone", json!({"podSelector": {}, "egress": [{}]}), false),
        (
            "for some pods only",
            json!({"podSelector": {"matchLabels": {"a": "b"}}, "policyTypes": ["Egress"], "egress": [{}]}),
            false,
        ),
    ]
}

/// The guard rejects NetworkPolicies of others if they would undo a denial, and admits all others.
fn guards() {
    let files = Memory::one(GUARDED);
    let checked = files.check(None);
    let options = Options { guard: Some(FailurePolicy::Fail), ..Options::default() };
    let output = npc_driver::compile(&checked, &[AnyTarget::KYVERNO_CEL], &options, None).remove(0);
    assert!(output.diagnostics.is_empty(), "{:?}", output.diagnostics);
    assert_eq!((output.objects, output.guards), (2, 1));
    for (name, labels) in [
        ("guard-prod", json!({"env": "prod"})),
        ("guard-free", json!({"env": "prod"})),
        ("guard-test", json!({"env": "test"})),
    ] {
        let object =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        kubectl(&["apply", "-f", "-"], &object.to_string());
    }
    kubectl(&["create", "--validate=strict", "-f", "-"], &output.text);
    let attempt = |namespace: &str, spec: &Value| {
        let object = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "other", "namespace": namespace},
            "spec": spec,
        });
        try_kubectl(&["create", "--dry-run=server", "-f", "-"], &object.to_string())
    };
    let open = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]});
    let begun = std::time::Instant::now();
    while attempt("guard-prod", &open).is_ok() {
        assert!(begun.elapsed().as_secs() < PATIENCE, "the guard does not come into force");
        std::thread::sleep(Duration::from_millis(200));
    }
    let mut tried = 0;
    for (what, spec, admitted) in shapes() {
        for namespace in ["guard-prod", "guard-free", "guard-test"] {
            let guarded = namespace == "guard-prod" && !admitted;
            match attempt(namespace, &spec) {
                Ok(_) => assert!(!guarded, "{what} is admitted in {namespace}"),
                Err(error) => {
                    assert!(guarded, "{what} is refused in {namespace}: {error}");
                    assert!(error.contains("is denied by the policy no-metadata"), "{error}");
                }
            }
            tried += 1;
        }
    }
    // Kyverno itself can create the program's objects.
    let mut made = false;
    for _ in 0..PATIENCE * 5 {
        made = ["no-metadata", "dns"].iter().all(|name| {
            try_kubectl(&["-n", "guard-prod", "get", "networkpolicy", name, "-o", "name"], "").is_ok()
        });
        if made {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(made, "the guard keeps Kyverno from making the program's objects");
    kubectl(&["delete", "validatingpolicies.policies.kyverno.io", "guard-no-metadata"], "");
    Run::idle();
    kubectl(&["delete", "generatingpolicies.policies.kyverno.io", "netpol-no-metadata", "netpol-dns"], "");
    Run::idle();
    println!(
        "kyverno_live: a guard, {} shapes in 3 namespaces, {tried} attempts, 0 otherwise than expected",
        shapes().len()
    );
}

/// A named change of a ClusterPolicy.
type Change = (&'static str, fn(&mut Value));

/// The updates that `npc diff` reports as refused are those that Kyverno's admission refuses.
fn updates() {
    let rule = |name: &str, target: &str| {
        json!({
            "name": name,
            "match": {"any": [{"resources": {"kinds": ["Namespace"], "selector": {"matchLabels": {"updates": "no"}}}}]},
            "exclude": {"any": [{"resources": {"names": ["updates-*"]}}]},
            "preconditions": {"all": [{"key": "{{ request.object.metadata.name }}", "operator": "NotEquals", "value": "x"}]},
            "context": [{"name": "c", "variable": {"value": "v"}}],
            "generate": {
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "name": target,
                "namespace": "{{ request.object.metadata.name }}",
                "synchronize": true, "generateExisting": false,
                "data": {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}},
            },
        })
    };
    let changes: [Change; 13] = [
        ("nothing", |_| {}),
        ("data", |p| p["spec"]["rules"][0]["generate"]["data"]["spec"]["policyTypes"] = json!(["Egress"])),
        ("data's labels", |p| {
            p["spec"]["rules"][0]["generate"]["data"]["metadata"] = json!({"labels": {"a": "b"}});
        }),
        ("synchronize", |p| p["spec"]["rules"][0]["generate"]["synchronize"] = json!(false)),
        ("generateExisting", |p| p["spec"]["rules"][0]["generate"]["generateExisting"] = json!(true)),
        ("orphans", |p| p["spec"]["rules"][0]["generate"]["orphanDownstreamOnPolicyDelete"] = json!(true)),
        ("the rule's name", |p| p["spec"]["rules"][0]["name"] = json!("other")),
        ("match", |p| {
            p["spec"]["rules"][0]["match"]["any"][0]["resources"]["selector"]["matchLabels"] =
                json!({"updates": "yes"});
        }),
        ("exclude", |p| p["spec"]["rules"][0]["exclude"]["any"][0]["resources"]["names"] = json!(["other"])),
        ("no exclude", |p| {
            p["spec"]["rules"][0].as_object_mut().unwrap().remove("exclude");
        }),
        ("preconditions", |p| p["spec"]["rules"][0]["preconditions"]["all"][0]["value"] = json!("y")),
        ("context", |p| p["spec"]["rules"][0]["context"][0]["variable"]["value"] = json!("w")),
        ("target", |p| p["spec"]["rules"][0]["generate"]["name"] = json!("elsewhere")),
    ];
    let mut tried = 0;
    let mut refused = 0;
    for synchronized in [true, false] {
        for rules in 1..=2 {
            let mut list = vec![rule("first", "first"), rule("second", "second")];
            list.truncate(rules);
            for rule in &mut list {
                rule["generate"]["synchronize"] = json!(synchronized);
            }
            let old = json!({
                "apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy",
                "metadata": {"name": "netpol-updates"}, "spec": {"rules": list},
            });
            kubectl(&["apply", "-f", "-"], &old.to_string());
            for (what, change) in changes {
                let mut new = old.clone();
                change(&mut new);
                let told = npc_driver::updates([old.to_string().as_str()], [new.to_string().as_str()]);
                let is_told =
                    told.iter().any(|update| matches!(update.kind, npc_driver::UpdateKind::Refused(_)));
                let answer = try_kubectl(&["apply", "--dry-run=server", "-f", "-"], &new.to_string());
                let text = format!("{answer:?}");
                assert!(answer.is_ok() || text.contains("immutable fields"), "{what}: {text}");
                assert_eq!(
                    is_told,
                    answer.is_err(),
                    "{what}, synchronized {synchronized}, {rules} rules: {told:?}, and Kyverno says {text}"
                );
                let orphans =
                    told.iter().any(|update| matches!(update.kind, npc_driver::UpdateKind::Orphans(_)));
                assert_eq!(orphans, what == "target", "{told:?}");
                tried += 1;
                refused += usize::from(is_told);
            }
            kubectl(&["delete", "clusterpolicies.kyverno.io", "netpol-updates"], "");
        }
    }
    println!("kyverno_live: {tried} updates of a policy, {refused} refused, 0 otherwise than told");
}

struct Run {
    watch: Watch,
    compared: usize,
    steps: usize,
    /// The number of namespaces created so far, so that each has a new name.
    made: usize,
}

impl Run {
    /// The expected state of the cluster: the expansion, without the namespaces that Kyverno's configuration
    /// filters out.
    fn expected(policies: &str) -> BTreeMap<Key, Value> {
        let filtered = Options::default().filtered_namespaces;
        npc_expand::expand(policies, &namespaces())
            .unwrap()
            .objects
            .into_iter()
            .filter(|object| !filtered.contains(&object.namespace))
            .map(|object| ((object.namespace.clone(), object.name.clone()), normal(&object.value)))
            .collect()
    }

    /// Waits until the cluster is as expected. `gaps` allows a policy that exists before and after to be
    /// missing for a moment.
    fn settle(&mut self, what: &str, policies: &str, gaps: bool) {
        let expected = Self::expected(policies);
        if let Err(difference) = self.watch.until(&expected, PATIENCE) {
            panic!("{what}: after {PATIENCE} seconds\n{difference}");
        }
        let kept: Vec<Key> = self
            .watch
            .gaps()
            .into_iter()
            .filter(|(namespace, policy)| {
                expected
                    .values()
                    .any(|o| o["namespace"] == **namespace && o["annotations"]["npc/policy"] == **policy)
            })
            .collect();
        assert!(gaps || kept.is_empty(), "{what}: for a moment without their policy: {kept:?}");
        self.compared += expected.len();
        self.steps += 1;
    }

    fn namespace(&mut self, name: &str, labels: &Value) {
        let object =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        kubectl(&["apply", "-f", "-"], &object.to_string());
    }

    /// Waits until Kyverno has no update requests left.
    fn idle() {
        for _ in 0..PATIENCE * 5 {
            if kubectl(&["-n", "kyverno", "get", "updaterequests.kyverno.io", "-o", "name"], "").is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn label(name: &str, labels: &[&str]) {
        kubectl(&[&["label", "--overwrite", "namespace", name], labels].concat(), "");
    }

    fn life(&mut self, program: &Program, target: AnyTarget) {
        let what = |step: &str| format!("{} as {target}, {step}", program.name);
        println!("kyverno_live: {} as {target}", program.name);
        // Namespaces that exist before the policies.
        for (name, labels) in [
            ("shop", json!({"env": "prod", "tenant": "red", "tier": "web"})),
            ("payments", json!({"env": "prod", "tenant": "red", "tier": "data"})),
            ("blog", json!({"env": "prod", "tenant": "blue"})),
            ("blog-test", json!({"env": "test", "tenant": "Blue_2"})),
            ("team-a", json!({"env": "test"})),
            ("team-b", json!({"legacy": ""})),
        ] {
            self.namespace(name, &labels);
        }
        Self::label("blog", &["env=prod", "tenant=blue"]);
        Self::label("team-a", &["env=test", "tenant-", "legacy-"]);
        let policies = program.compile(target);
        self.settle(&what("nothing applied"), "", true);
        kubectl(&["create", "--validate=strict", "-f", "-"], &policies);
        self.settle(&what("applied to namespaces that exist"), &policies, false);

        // Namespaces created after the policies.
        self.made += 1;
        let number = self.made;
        self.namespace(&format!("team-new-{number}"), &json!({"env": "prod", "tenant": "no"}));
        self.namespace(&format!("x{number}"), &json!({}));
        self.settle(&what("namespaces made after"), &policies, false);

        // One namespace leaves the scope and one joins it; then both are changed back.
        Self::label("blog", &["env-", "tenant-"]);
        Self::label("team-a", &["env=prod", "tenant=red"]);
        self.settle(&what("relabelled"), &policies, false);
        Self::label("blog", &["env=prod", "tenant=red"]);
        Self::label("team-a", &["tenant=1e3"]);
        self.settle(&what("another tenant"), &policies, false);

        // Objects edited and deleted by hand.
        let state = self.watch.state();
        let (edited, deleted) = (state.keys().next().cloned(), state.keys().next_back().cloned());
        if let (Some(edited), Some(deleted)) = (edited, deleted) {
            let open = r#"{"spec":{"policyTypes":["Egress"],"ingress":null,"egress":[{}]}}"#;
            kubectl(&["-n", &edited.0, "patch", "networkpolicy", &edited.1, "--type=merge", "-p", open], "");
            self.settle(&what("edited by hand"), &policies, true);
            kubectl(&["-n", &deleted.0, "delete", "networkpolicy", &deleted.1], "");
            self.settle(&what("deleted by hand"), &policies, true);
        }

        // Applied again with different content.
        let changed = program.edited().compile(target);
        assert_ne!(policies, changed, "{} has no edit", program.name);
        kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &changed);
        self.settle(&what("edited and applied again"), &changed, false);

        // Removed once Kyverno is idle: pending requests of a deleted policy create objects that nothing
        // cleans up, and affect later policies with the same name (docs/kyverno.md, "Removing a policy").
        Self::idle();
        kubectl(&["delete", "-f", "-"], &changed);
        self.settle(&what("removed"), "", true);
        Self::idle();
    }
}
