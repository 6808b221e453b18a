//! Incremental parsing and checking give the same result as starting afresh.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use fastrand::Rng;
use npc_diagnostics::{FileId, SourceMap};
use npc_driver::{Checked, Config, Depth, Input, Interrupt, Session, Uninterrupted, check};
use npc_program::{Files, Known, Policy, ReadError, load, resolve};
use npc_syntax::{Parsed, expectation, parse, parse_again};
use npc_tests::{programs, random};

/// Pieces of text that are inserted.
const PIECES: [&str; 28] = [
    " ",
    "\n",
    "\r\n",
    "\r",
    "a",
    "-",
    "/",
    "\"",
    "{",
    "}",
    "(",
    ")",
    ",",
    "=",
    "//",
    "///",
    "//!",
    "\u{feff}",
    "𝕟",
    "policy ",
    "polcy q for all pods in namespace a { isolate ingress }\n",
    "let ",
    "let x = tcp/80\n",
    "allow ",
    "except ",
    "admin ",
    "}\n\npolicy r for all pods in all namespaces {\n",
    "kyverno { synchronize = true }\n",
];

fn edit(random: &mut Rng, text: &str, other: &str) -> String {
    let at = text.floor_char_boundary(random.usize(..=text.len()));
    let to = match random.u8(..3) {
        0 => at,
        1 => text.floor_char_boundary((at + random.usize(..8)).min(text.len())).max(at),
        _ => text.floor_char_boundary((at + random.usize(..200)).min(text.len())).max(at),
    };
    let by = match random.u8(..8) {
        0 => "",
        1 => {
            let from = other.floor_char_boundary(random.usize(..=other.len()));
            let end = other.floor_char_boundary((from + random.usize(..300)).min(other.len())).max(from);
            &other[from..end]
        }
        _ => PIECES[random.usize(..PIECES.len())],
    };
    format!("{}{by}{}", &text[..at], &text[to..])
}

fn compare(again: &Parsed, anew: &Parsed, before: &str, text: &str) {
    let same = again.tree == anew.tree
        && again.tokens == anew.tokens
        && again.comments == anew.comments
        && again.diagnostics == anew.diagnostics
        && again.broken_import == anew.broken_import;
    assert!(same, "before\n{before}\n--- now\n{text}\n--- again\n{again:#?}\n--- anew\n{anew:#?}");
}

/// Errors beside an invalid character are not reported, but an item with such an error must not be reused once the
/// character is gone.
#[test]
fn error_beside_a_removed_character_is_reported() {
    let before = "policy a for all pods in namespace a { isolate ingress }\n\npolicy poli\r \u{feff}";
    let now = before.replace('\u{feff}', "");
    let again = parse_again(FileId(0), &now, &parse(FileId(0), before), before);
    compare(&again, &parse(FileId(0), &now), before, &now);
    assert_eq!(again.diagnostics.len(), 1, "{:#?}", again.diagnostics);
}

#[test]
fn reparsing_equals_parsing() {
    let seed = npc_tests::settings::fresh_seed();
    let mut random = Rng::with_seed(seed);
    let files = programs(&["examples", "tests", "deploy", "cli"]);
    let mut texts: Vec<String> = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    texts.retain(|text| text.len() < 20_000);
    texts.extend((0..40).map(|_| random::program_with_tiers(&mut random, 5)));
    let mut edits = 0;
    let rounds = npc_tests::settings::amount("NPC_TEST_ROUNDS", 20, 60);
    for index in 0..texts.len() {
        let mut text = texts[index].clone();
        let mut known = parse(FileId(0), &text);
        for round in 0..rounds {
            let other = &texts[random.usize(..texts.len())];
            // Sometimes the original text is restored.
            let next = if round % 20 == 19 { texts[index].clone() } else { edit(&mut random, &text, other) };
            let again = parse_again(FileId(0), &next, &known, &text);
            compare(&again, &parse(FileId(0), &next), &text, &next);
            // The expectation at an offset is the same if only the text from the start of the item is parsed.
            let place = next.floor_char_boundary(random.usize(..=next.len()));
            let at = u32::try_from(place).unwrap();
            let clean = again.clean_before(at);
            let (whole, near) = (expectation(&next, at), expectation(&next[clean as usize..], at - clean));
            let same = whole.tokens == near.tokens
                && whole.nonterminals == near.nonterminals
                && whole.in_string == near.in_string
                && (whole.typed.start, whole.typed.end) == (near.typed.start + clean, near.typed.end + clean);
            assert!(same, "at {place} from {clean}: {whole:?}\n{near:?}\n{next}");
            (text, known, edits) = (next, again, edits + 1);
        }
    }
    println!(
        "reading: seed {seed}: {edits} edits of {} texts, each read again as it is read anew",
        texts.len()
    );
}

/// The files of a program, as last parsed.
struct Open(BTreeMap<String, Known>);

impl Files for Open {
    fn read(&self, _: &str) -> Result<Vec<u8>, ReadError> {
        Err(ReadError::NotFound(Vec::new()))
    }

    fn known(&self, path: &str) -> Option<Known> {
        self.0.get(path).cloned()
    }
}

fn check_again(files: &Open, roots: &[String], config: &Config, session: Option<&Session>) -> Checked {
    let input = Input { files, roots, config, cluster: None };
    let Ok(checked) = session.unwrap_or(&Session::default()).check(&input, Depth::Full, &Uninterrupted);
    checked
}

/// A policy about few pods, so that lints about pairs of policies are likely.
fn policy(random: &mut Rng, name: &str) -> String {
    let tier = ["", "", "", "", "", "", "", "admin ", "baseline "][random.usize(..9)];
    let subject = pods(random);
    let rules: String = (0..random.usize(1..4)).map(|_| rule(random, tier) + "\n").collect();
    format!("/// Of {name}.\n{tier}policy {name} for {subject} {{\n{rules}}}\n\n")
}

fn pods(random: &mut Rng) -> String {
    let pods = ["all pods", "pods { app = a }", "pods { app = b }", "pods { app in (a, b), !job }"];
    let scopes = ["in namespace x", "in namespace y", "in all namespaces", "in namespaces (x, z*)"];
    format!("{} {}", pods[random.usize(..pods.len())], scopes[random.usize(..scopes.len())])
}

fn rule(random: &mut Rng, tier: &str) -> String {
    let ports = ["", " on tcp/80", " on udp/53, tcp/53", " on tcp/1-1000"][random.usize(..4)];
    let blocks = [
        "10.0.0.0/8",
        "10.1.0.0/16",
        "0.0.0.0/0",
        "0.0.0.0/0, ::/0",
        "anywhere",
        "anywhere except 10.1.0.0/16",
    ];
    let (way, word) = [("ingress", "from"), ("egress", "to")][random.usize(..2)];
    let action = if tier.is_empty() { "allow" } else { ["allow", "deny"][random.usize(..2)] };
    match random.u8(..6) {
        0 if tier.is_empty() => format!("  isolate {way}"),
        0..=2 => format!("  {action} {way} {word} {}{ports}", pods(random)),
        3 => format!("  {action} {way} {word} pods {{ app = b }}{ports}"),
        _ => format!("  {action} {way} {word} {}{ports}", blocks[random.usize(..blocks.len())]),
    }
}

/// An edit that keeps most programs valid: another letter, a line more or less, a changed comment, or a
/// duplicated line.
fn small_edit(random: &mut Rng, text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return "policy p for all pods in namespace a { isolate ingress }\n".to_owned();
    }
    let at = random.usize(..lines.len());
    let line = lines[at];
    let letters: Vec<usize> =
        line.char_indices().filter(|(_, c)| c.is_ascii_lowercase()).map(|(at, _)| at).collect();
    let is_rule = line.starts_with("  allow") || line.starts_with("  isolate");
    let changed = match random.u8(..9) {
        _ if is_rule && random.u8(..3) > 0 => rule(random, ""),
        7.. if line.is_empty() => {
            let name = format!("new-{}", random.u16(..));
            format!("\n{}", policy(random, &name))
        }
        0 => format!("{line}\n"),
        1 => format!("{line} // {}", random.u8(..)),
        2 => format!("/// {}\n{line}", random.u8(..)),
        3 if is_rule => format!("{line}\n{line}"),
        4 if line.trim().is_empty() || line.starts_with("//") => String::new(),
        _ if letters.is_empty() => line.to_owned(),
        _ => {
            let at = letters[random.usize(..letters.len())];
            format!("{}{}{}", &line[..at], random.lowercase(), &line[at + 1..])
        }
    };
    let mut out: Vec<&str> = lines;
    out[at] = &changed;
    out.join("\n") + "\n"
}

#[test]
fn rechecking_equals_checking() {
    let seed = npc_tests::settings::fresh_seed();
    let mut random = Rng::with_seed(seed);
    // Lints for a CNI are computed separately, and may be switched on at any time.
    let with_cni = "[cluster]\ncni = \"cilium@1.20\"\n";
    let with_cni = Config::parse("npc.toml", with_cni, &mut SourceMap::new()).unwrap();
    let configs = [Config::default(), with_cni];
    let (mut edits, mut taken, mut policies, mut found) = (0, 0, 0, 0);
    for _ in 0..npc_tests::settings::amount("NPC_TEST_PROGRAMS", 6, 40) {
        let sets = "let dns = udp/53, tcp/53\nlet office = 203.0.113.0/24\nlet web = pods { app = web }\n";
        let user = "import \"sets.np\"\n\n/// Of web.\npolicy of-web for web in namespace shop {\n  allow ingress from \
                    office on tcp/443\n  allow egress to 10.0.0.0/8 except 10.1.0.0/16 on dns\n}\n\npolicy other for \
                    pods { tier = front } in all namespaces {\n  allow ingress from web in namespace shop\n}\n";
        let mut texts: BTreeMap<String, String> =
            [("sets.np", sets.to_owned()), ("user.np", user.to_owned())]
                .map(|(name, text)| (name.to_owned(), text))
                .into();
        for name in ["a", "b"] {
            let policies: String =
                (0..8).map(|number| policy(&mut random, &format!("{name}-{number}"))).collect();
            texts.insert(format!("{name}.np"), policies);
        }
        let first = texts.clone();
        let known = |name: &String, text: &String| (name.clone(), Known::new(name, text.as_str().into()));
        let mut open = Open(texts.iter().map(|(name, text)| known(name, text)).collect());
        let roots: Vec<String> = texts.keys().cloned().collect();
        let mut before: Option<Checked> = None;
        for round in 0..40 {
            let name = roots[random.usize(..roots.len())].clone();
            let old = texts[&name].clone();
            let text = match round % 10 {
                9 => first[&name].clone(),
                4 => edit(&mut random, &old, &first["user.np"]),
                _ => small_edit(&mut random, &old),
            };
            let again = Known::again(&name, text.as_str().into(), &open.0[&name].parsed, &old);
            open.0.insert(name.clone(), again);
            texts.insert(name, text);
            let config = &configs[usize::from(random.u8(..6) == 0)];
            let again = check_again(&open, &roots, config, before.as_ref().map(|before| &before.session));
            let anew = check(&open, &roots, config, None);
            let seen = |checked: &Checked| format!("{:#?}\n{:#?}", checked.report, checked.program);
            assert!(seen(&again) == seen(&anew), "seed {seed}: {}\n--- not\n{}", seen(&again), seen(&anew));
            let was = before.iter().flat_map(|before| &before.program.policies);
            let was: Vec<*const Policy> = was.map(Arc::as_ptr).collect();
            taken += again.program.policies.iter().filter(|own| was.contains(&Arc::as_ptr(own))).count();
            policies += again.program.policies.len();
            edits += 1;
            found += again.report.diagnostics.iter().filter(|own| own.code.id.starts_with("NP08")).count();
            before = Some(again);
        }
    }
    // The test is only meaningful if policies are reused.
    assert!(taken * 4 > policies, "{taken} of {policies}");
    println!(
        "checking: seed {seed}: {edits} edits, each checked again as anew; {taken} of {policies} policies were taken over, {found} warnings on meaning"
    );
}

/// A policy of a program in which nearly every policy affects the lints of others: there are few pods, and few rules.
fn entangled_policy(random: &mut Rng, number: usize) -> String {
    let pods = [
        "pods { app = a } in namespace x",
        "pods { app = b } in namespace x",
        "all pods in namespace x",
        "all pods in namespace y",
        "pods { app = a } in namespace x, all pods in namespace y",
    ];
    let pods = |random: &mut Rng| pods[random.usize(..pods.len())];
    let rules: String = (0..random.usize(1..3))
        .map(|_| match random.u8(..7) {
            0 => "  isolate ingress\n".to_owned(),
            1 => "  allow egress to anywhere except 10.1.0.0/16\n".to_owned(),
            2 => "  allow egress to 10.0.0.0/8\n".to_owned(),
            3 => "  allow egress to pods { k8s-app = kube-dns } in namespace kube-system on udp/53, tcp/53\n"
                .to_owned(),
            4 => format!("  allow ingress from {} on tcp/80\n", pods(random)),
            5 => format!("  allow ingress from {}\n", pods(random)),
            _ => format!("  allow egress to {}\n", pods(random)),
        })
        .collect();
    match random.u8(..8) {
        0 => format!(
            "admin policy p-{number} priority {number} for {} {{ {} egress to 10.0.0.0/8 }}\n",
            pods(random),
            ["allow", "deny", "pass"][random.usize(..3)],
        ),
        1 => format!(
            "baseline policy p-{number} priority {number} for {} {{ deny egress to anywhere }}\n",
            pods(random)
        ),
        _ => format!("policy p-{number} for {} {{\n{rules}}}\n", pods(random)),
    }
}

/// The lints reuse what they found about a policy only if no other policy changes it. Here one policy after the other
/// is replaced, and many of the warnings that come and go are about policies that did not change.
#[test]
fn lints_notice_changes_of_other_policies() {
    let seed = npc_tests::settings::fresh_seed();
    let mut random = Rng::with_seed(seed);
    let roots = ["p.np".to_owned()];
    let (mut edits, mut changed) = (0, 0);
    for _ in 0..npc_tests::settings::amount("NPC_TEST_PROGRAMS", 10, 100) {
        let mut policies: Vec<String> = (0..7).map(|number| entangled_policy(&mut random, number)).collect();
        let mut open = Open([("p.np".to_owned(), Known::new("p.np", policies.concat().into()))].into());
        let mut before = check_again(&open, &roots, &Config::default(), None);
        for _ in 0..20 {
            let old = policies.concat();
            let number = random.usize(..policies.len());
            policies[number] = entangled_policy(&mut random, number);
            let text = policies.concat();
            let again = Known::again("p.np", text.as_str().into(), &open.0["p.np"].parsed, &old);
            open.0.insert("p.np".to_owned(), again);
            let again = check_again(&open, &roots, &Config::default(), Some(&before.session));
            let anew = check(&open, &roots, &Config::default(), None);
            assert!(
                again.report == anew.report,
                "seed {seed}: {:#?}\n--- not\n{:#?}",
                again.report,
                anew.report
            );
            // The warnings by policy, with the codes.
            let about = |checked: &Checked| -> BTreeMap<String, Vec<&str>> {
                let mut about: BTreeMap<String, Vec<&str>> = BTreeMap::new();
                for found in &checked.report.diagnostics {
                    let start = found.location().unwrap().span.start;
                    let is_here =
                        |policy: &&Arc<Policy>| checked.sources().absolute(policy.whole).span.touches(start);
                    let policy = checked.program.policies.iter().find(is_here).unwrap();
                    about.entry(policy.name.to_string()).or_default().push(found.code.id);
                }
                about
            };
            let (was, is) = (about(&before), about(&again));
            let own = format!("p-{number}");
            changed += policies
                .iter()
                .enumerate()
                .map(|(other, _)| format!("p-{other}"))
                .filter(|other| *other != own && was.get(other) != is.get(other))
                .count();
            (before, edits) = (again, edits + 1);
        }
    }
    println!("lints: seed {seed}: {edits} edits, which changed the warnings of {changed} other policies");
    assert!(changed * 4 > edits, "{changed} of {edits}");
}

/// The names of the policies that are resolved anew after an edit.
fn resolved_anew(before: &str, after: &str) -> Vec<String> {
    let open = |known: &Known| Open([("p.np".to_owned(), known.clone())].into());
    let roots = ["p.np".to_owned()];
    let first = Known::new("p.np", before.into());
    let old = resolve(&load(&open(&first), &roots), None);
    let second = Known::again("p.np", after.into(), &first.parsed, before);
    let new = resolve(&load(&open(&second), &roots), Some(&old.memo));
    assert_eq!((&old.diagnostics[..], &new.diagnostics[..]), (&[][..], &[][..]));
    let reused = |policy: &Arc<Policy>| old.program.policies.iter().any(|old| Arc::ptr_eq(old, policy));
    new.program
        .policies
        .iter()
        .filter(|policy| !reused(policy))
        .map(|policy| policy.name.to_string())
        .collect()
}

#[test]
fn an_edit_resolves_only_what_depends_on_it() {
    let before = "// Head.\n\nlet office = 203.0.113.0/24\nlet offices = office, 198.51.100.0/24\nlet web = tcp/80\n\n\
                  policy a for all pods in namespace a { allow ingress from offices }\n\
                  policy b for all pods in namespace b { allow ingress from anywhere on web }\n\
                  policy c for all pods in namespace c { isolate ingress }\n";
    let none: [&str; 0] = [];
    // All items move.
    assert_eq!(resolved_anew(before, &before.replace("Head", "A longer head")), none);
    // One policy changes, and those below it move.
    assert_eq!(
        resolved_anew(before, &before.replace("policy a for all pods", "policy a for pods { x }")),
        ["a"]
    );
    // Sets change: one that a policy uses through another set, and one that it uses itself.
    assert_eq!(resolved_anew(before, &before.replace("203.0.113.0/24", "203.0.113.0/25")), ["a"]);
    assert_eq!(resolved_anew(before, &before.replace("tcp/80", "tcp/80, tcp/8080")), ["b"]);
    // Only the documentation changes.
    assert_eq!(resolved_anew(before, &before.replace("policy c", "/// Of c.\npolicy c")), ["c"]);
}

/// Ends a check at its n-th opportunity.
struct EndAt(AtomicUsize);

impl Interrupt for EndAt {
    type Error = ();

    fn check(&self) -> Result<(), ()> {
        let left = self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        left.map(|_| ()).map_err(|_| ())
    }
}

/// A check can end early between any two stages and while the lints run; otherwise it gives the usual result.
#[test]
fn checks_end_early_anywhere() {
    let mut random = Rng::with_seed(npc_tests::settings::seed());
    let text: String = (0..7).map(|number| entangled_policy(&mut random, number)).collect();
    let open = Open([("p.np".to_owned(), Known::new("p.np", text.into()))].into());
    let (roots, config) = (["p.np".to_owned()], Config::default());
    let input = Input { files: &open, roots: &roots, config: &config, cluster: None };
    let expected = check(&open, &roots, &config, None).report;
    assert!(!expected.diagnostics.is_empty());
    let mut ended = 0;
    loop {
        match Session::default().check(&input, Depth::Full, &EndAt(ended.into())) {
            Err(()) => ended += 1,
            Ok(checked) => {
                assert_eq!(checked.report, expected);
                break;
            }
        }
    }
    // Five times between stages, and at least once for each of seven policies.
    assert!(ended >= 12, "{ended}");
}

/// A policy that moves to another file, with other sets of the same names, is resolved again.
#[test]
fn a_policy_in_another_file_refers_to_the_sets_of_that_file() {
    let file = |path: &str, text: &str| (path.to_owned(), Known::new(path, text.into()));
    let policy = |name: &str| {
        format!(
            "import \"s.np\"\npolicy {name} for all pods in namespace x {{ allow ingress from office }}\n"
        )
    };
    let mut open = Open(
        [
            file("a/p.np", &policy("one")),
            file("b/p.np", &policy("two")),
            file("a/s.np", "let office = 192.0.2.0/24\n"),
            file("b/s.np", "let office = 198.51.100.0/24\n"),
        ]
        .into(),
    );
    let roots = ["a/p.np", "b/p.np"].map(str::to_owned);
    let before = resolve(&load(&open, &roots), None);
    let [a, b] = ["a/p.np", "b/p.np"].map(|path| open.0[path].clone());
    open.0.insert("a/p.np".to_owned(), b.named("a/p.np"));
    open.0.insert("b/p.np".to_owned(), a.named("b/p.np"));
    let after = resolve(&load(&open, &roots), Some(&before.memo));
    assert_eq!(after.program, resolve(&load(&open, &roots), None).program);
    assert_ne!(after.program.policies[0].rules, before.program.policies[1].rules);
}
