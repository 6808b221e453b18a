//! The real Kyverno, running: after each step of a policy's life the NetworkPolicies in the cluster
//! are what the expansion says, and no namespace that keeps its policy is without it for a moment.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeMap;
use std::time::Duration;

use npc_targets::{Options, Target};
use npc_tests::live::{Key, Watch, kubectl, namespaces, normal};
use npc_tests::memory::Memory;
use npc_tests::tools::{examples, sources, tools};
use serde_json::{Value, json};

/// How long Kyverno may take, in seconds.
const PATIENCE: u64 = 60;

/// For each example, an edit of it that Kyverno takes in place.
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
    fn compile(&self, target: Target) -> String {
        let roots: Vec<String> = self.files.iter().map(|(name, _)| name.clone()).collect();
        let files = Memory::new(self.files.clone());
        let checked = npc_driver::check(&files, &roots, &npc_driver::Config::default(), None);
        assert!(!checked.report.has_errors(), "{}: {:?}", self.name, checked.report);
        npc_driver::compile(&checked, &[target], &Options::default(), None).remove(0).text
    }

    /// The program with an edit that changes what is generated.
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
    let only = std::env::var("NPC_TEST_EXAMPLE").ok();
    let mut run = Run { watch: Watch::start(), compared: 0, steps: 0, made: 0 };
    for program in &programs {
        if only.as_ref().is_some_and(|only| *only != program.name) {
            continue;
        }
        for target in [Target::Kyverno, Target::KyvernoCel] {
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

struct Run {
    watch: Watch,
    compared: usize,
    steps: usize,
    /// How many namespaces were made in all, so that each has a new name.
    made: usize,
}

impl Run {
    /// What the cluster should hold: what is expanded, but for the namespaces that Kyverno's
    /// configuration leaves out.
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

    /// Waits until the cluster is as expected. `gaps` says whether a policy may be missing for a
    /// moment where it was before and is after.
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

    fn life(&mut self, program: &Program, target: Target) {
        let what = |step: &str| format!("{} as {target}, {step}", program.name);
        println!("kyverno_live: {} as {target}", program.name);
        // Namespaces that are there before.
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

        // Namespaces made after.
        self.made += 1;
        let number = self.made;
        self.namespace(&format!("team-new-{number}"), &json!({"env": "prod", "tenant": "no"}));
        self.namespace(&format!("x{number}"), &json!({}));
        self.settle(&what("namespaces made after"), &policies, false);

        // One leaves and one joins; then both are as they were.
        Self::label("blog", &["env-", "tenant-"]);
        Self::label("team-a", &["env=prod", "tenant=red"]);
        self.settle(&what("relabelled"), &policies, false);
        Self::label("blog", &["env=prod", "tenant=red"]);
        Self::label("team-a", &["tenant=1e3"]);
        self.settle(&what("another tenant"), &policies, false);

        // Edited and deleted by hand.
        let state = self.watch.state();
        let (edited, deleted) = (state.keys().next().cloned(), state.keys().next_back().cloned());
        if let (Some(edited), Some(deleted)) = (edited, deleted) {
            let open = r#"{"spec":{"policyTypes":["Egress"],"ingress":null,"egress":[{}]}}"#;
            kubectl(&["-n", &edited.0, "patch", "networkpolicy", &edited.1, "--type=merge", "-p", open], "");
            self.settle(&what("edited by hand"), &policies, true);
            kubectl(&["-n", &deleted.0, "delete", "networkpolicy", &deleted.1], "");
            self.settle(&what("deleted by hand"), &policies, true);
        }

        // Applied again with another content.
        let changed = program.edited().compile(target);
        assert_ne!(policies, changed, "{} has no edit", program.name);
        kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &changed);
        self.settle(&what("edited and applied again"), &changed, false);

        // Removed, once Kyverno has nothing left to do: what it still does for a policy that is gone
        // makes objects that nothing cleans up, and hits policies of the same name that come next
        // (docs/kyverno.md, "Removing a policy").
        Self::idle();
        kubectl(&["delete", "-f", "-"], &changed);
        self.settle(&what("removed"), "", true);
        Self::idle();
    }
}
