//! Tests the `npc` command line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{err, folder, npc, npc_with, out};
use serde_json::Value;

const POLICY: &str = "policy p for all pods in namespace shop { isolate ingress }\n";
const NAMESPACES: &str = "kind: Namespace\nmetadata: {name: shop}\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn compiles_files_folders_and_standard_input() {
    let place =
        folder(&[("policies.np", POLICY), ("net/a.np", POLICY), ("net/deep/b.np", "let x = udp/1\n")]);
    let here = place.path();
    let output = npc(here, &["compile", "policies.np"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(err(&output), "wrote policies.kyverno.yaml: 1 ClusterPolicy\n");
    let written = std::fs::read_to_string(here.join("policies.kyverno.yaml")).unwrap();
    let output = npc(here, &["compile", "policies.np", "-o", "-"]);
    assert_eq!(out(&output), written);

    let output = npc(here, &["compile", "net", "-t", "networkpolicy,kyverno-cel", "-o", "made/here"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(here.join("made/here/net.networkpolicy.yaml").is_file());
    assert!(here.join("made/here/net.kyverno-cel.yaml").is_file());

    let output = npc_with(here, &["compile", "-", "-o", "-"], POLICY.as_bytes());
    assert_eq!(out(&output), written.replace("policies.np:1", "'<stdin>:1'"));
    let output = npc(here, &["compile", "policies.np", "-t", "kyverno,kyverno-cel", "-o", "-"]);
    assert_eq!(output.status.code(), Some(2), "one target only");
}

#[test]
fn output_does_not_depend_on_the_working_directory() {
    let place = folder(&[("a/policies.np", POLICY), ("b/deeper/policies.np", POLICY)]);
    let one = npc(place.path(), &["compile", "a/policies.np", "-o", "-"]);
    let other = npc(&place.path().join("b"), &["compile", "deeper/policies.np", "-o", "-"]);
    assert_eq!(one.stdout, other.stdout);
    let image = |from: &Path, file: &str| npc(from, &["compile", file, "-t", "ebpf", "-o", "-"]).stdout;
    assert_eq!(image(place.path(), "a/policies.np"), image(&place.path().join("b"), "deeper/policies.np"));
}

/// A map image is the same in a file and on standard output, and can be inspected.
#[test]
fn map_image_commands() {
    let program = r"let metadata = 169.254.169.254/32
admin policy no-metadata priority 10 for all pods in all namespaces {
  deny egress to metadata log
}
audit policy web for pods { app = web } in namespaces (shop, team-*) except { legacy } {
  allow ingress from all pods in namespaces sharing tenant on tcp/80, tcp/http
  isolate egress
}
";
    let place = folder(&[("policies.np", program)]);
    let output = npc(place.path(), &["compile", "policies.np", "-t", "ebpf"]);
    assert_eq!((output.status.code(), err(&output).trim()), (Some(0), "wrote policies.npmap: 2 policies"));
    let written = std::fs::read(place.path().join("policies.npmap")).unwrap();
    let piped = npc(place.path(), &["compile", "policies.np", "-t", "ebpf", "-o", "-"]).stdout;
    assert_eq!(written, piped);
    let inspected = out(&npc(place.path(), &["image", "inspect", "policies.npmap"]));
    let lines: Vec<&str> =
        inspected.lines().filter(|line| !line.starts_with("digest") && !line.contains("bytes")).collect();
    assert_eq!(
        lines,
        [
            "policies      2, with 2 rules",
            "pods          3 terms of 3 selectors and 3 scopes",
            "addresses     1 set in 2 classes, 3 ranges of IPv4, 1 range of IPv6",
            "ports         1 set in 2 classes",
            "  admin no-metadata priority 10, 1 rule, policies.np:2",
            "  audit policy web priority 1000, 1 rule, policies.np:5",
        ]
    );
    let dump = out(&npc(place.path(), &["image", "dump", "policies.npmap"]));
    let value: Value = serde_json::from_str(&dump).unwrap();
    assert_eq!(value["policies"][0]["rules"][0]["place"], "policies.np:3");
    let output = npc_with(place.path(), &["image", "verify", "-"], &written[..written.len() - 1]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("the image has the wrong length"), "{}", err(&output));
}

#[test]
fn exit_codes() {
    let place = folder(&[
        ("good.np", POLICY),
        ("bad.np", "policy"),
        ("warns.np", "policy p for all pods in namespace shop { }\n"),
        ("bad/npc.toml", "[kyverno]\nversion = \"2\"\n"),
        ("bad/a.np", POLICY),
    ]);
    for (arguments, code) in [
        (&["check", "good.np"][..], 0),
        (&["check", "bad.np"], 1),
        (&["check", "warns.np"], 0),
        (&["check", "warns.np", "--deny", "warnings"], 1),
        (&["check", "nowhere.np"], 2),
        (&["compile", "bad.np"], 1),
        (&["compile", "bad/a.np"], 2),
        (&["compile", "good.np", "-t", "wasm"], 2),
        (&["compile", "good.np", "-t", "ebpf", "--expand", "--cluster", "good.np"], 2),
        (&["compile", "good.np", "-t", "ebpf"], 0),
        (&["image", "verify", "good.npmap"], 0),
        (&["image", "verify", "good.np"], 1),
        (&["image", "inspect", "nowhere.npmap"], 2),
        (&["compile", "good.np", "--expand"], 2),
        (&["explain", "NP0302"], 0),
        (&["explain", "NP0000"], 2),
        (&["explain"], 0),
        (&["completions", "bash"], 0),
        (&["man"], 0),
    ] {
        let output = npc(place.path(), arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{}", err(&output));
        assert!(
            code == 0 || !err(&output).is_empty() || !out(&output).is_empty(),
            "{arguments:?} says nothing"
        );
    }
}

#[test]
fn diagnostic_formats() {
    let place = folder(&[("a.np", "let x = 10.1.2.3/8\n"), ("b, c.np", "policy p\n")]);
    let check = |format: &str| npc(place.path(), &["check", ".", "--format", format]);
    let short = err(&check("short"));
    assert!(short.starts_with("a.np:1:9: error[NP0302]: `10.1.2.3/8` has host bits set"), "{short}");

    let json: Value = serde_json::from_str(&out(&check("json"))).unwrap();
    assert_eq!(json["diagnostics"][0]["code"], "NP0302");
    assert_eq!(json["diagnostics"][0]["labels"][0]["place"]["start"]["column"], 9);
    assert_eq!(json["diagnostics"][0]["fixes"][0]["edits"][0]["text"], "10.0.0.0/8");

    let github = out(&check("github"));
    assert!(
        github.starts_with("::error file=a.np,line=1,endLine=1,col=9,endColumn=19,title=NP0302 host-bits::"),
        "{github}"
    );
    assert!(github.contains("file=b%2C c.np"), "{github}");

    let sarif: Value = serde_json::from_str(&out(&check("sarif"))).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "NP0302");
    let uri = &sarif["runs"][0]["results"][1]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(uri, "b%2C%20c.np");
}

#[test]
fn check_applies_fixes() {
    let broken = "polcy p for all pods in namespace shop {\n  allw ingress to anywhere;\n}\n";
    let place = folder(&[("a.np", broken)]);
    let output = npc(place.path(), &["check", "a.np", "--diff"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).contains("+policy p for all pods"), "{}", out(&output));
    assert_eq!(std::fs::read_to_string(place.path().join("a.np")).unwrap(), broken);
    let output = npc(place.path(), &["check", "a.np", "--fix"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let repaired = std::fs::read_to_string(place.path().join("a.np")).unwrap();
    assert_eq!(repaired, "policy p for all pods in namespace shop {\n  allow ingress from anywhere\n}\n");
}

#[test]
fn compile_expand_prints_networkpolicies() {
    let place = folder(&[("a.np", POLICY), ("namespaces.yaml", NAMESPACES)]);
    for target in ["kyverno", "kyverno-cel", "networkpolicy"] {
        let output =
            npc(place.path(), &["compile", "a.np", "-t", target, "--expand", "--cluster", "namespaces.yaml"]);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        assert!(out(&output).contains("namespace: shop"), "{target}: {}", out(&output));
        assert!(!place.path().join("a.kyverno.yaml").exists(), "nothing is written");
    }
}

/// If new output cannot be written, the old output stays unchanged.
#[test]
fn output_is_written_completely_or_not_at_all() {
    let place = folder(&[("a.np", POLICY), ("out/a.kyverno.yaml", "old\n")]);
    // The second file cannot be written, because a folder has its name. Then the first is not written either.
    std::fs::create_dir(place.path().join("out/a.kyverno-cel.yaml")).unwrap();
    let output = npc(place.path(), &["compile", "a.np", "-t", "kyverno-cel,kyverno", "-o", "out"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(place.path().join("out/a.kyverno.yaml")).unwrap(), "old\n");
    let left: Vec<_> = std::fs::read_dir(place.path().join("out")).unwrap().collect();
    assert_eq!(left.len(), 2, "nothing half-written is left: {left:?}");
    // Writing to a full disk is an error.
    if Path::new("/dev/full").exists() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let status = Command::new(env!("CARGO_BIN_EXE_npc"))
            .args(["compile", "a.np", "-o", "-"])
            .current_dir(place.path())
            .stdout(full)
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(2));
    }
}

/// Invalid or excessive input gives an error in reasonable time.
#[test]
fn hostile_input_gives_an_error() {
    let mut noise = Vec::new();
    let mut state = 1u32;
    while noise.len() < 100 << 20 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.extend_from_slice(&state.to_le_bytes());
    }
    let printable: Vec<u8> = noise.iter().take(16 << 20).map(|byte| b' ' + byte % 95).collect();
    let chain: String = (0..50_000).map(|i| format!("let s{i} = s{}\n", i + 1)).collect();
    let doubled: String = (1..60).map(|i| format!("let s{i} = s{0}, s{0}\n", i - 1)).collect();
    let cases: [(&str, Vec<u8>); 12] = [
        ("100 MB of noise", noise),
        ("16 MB of printable noise", printable),
        ("a million braces", "{".repeat(1_000_000).into_bytes()),
        ("nested braces in a policy", format!("policy p for {}", "pods { ".repeat(300_000)).into_bytes()),
        ("nested exceptions", format!("let a = {}", "10.0.0.0/8 except (".repeat(300_000)).into_bytes()),
        ("invalid UTF-8", b"let a = \xff\xfe\n".to_vec()),
        ("NUL", b"let a = \0\n".to_vec()),
        ("a chain of sets", format!("{chain}let s50000 = s0\n").into_bytes()),
        ("sets that double", format!("let s0 = 10.0.0.0/8, tcp\n{doubled}").into_bytes()),
        ("one long line", vec![b'a'; 8 << 20]),
        ("a long string", [b"test \"".to_vec(), vec![b'a'; 8 << 20]].concat()),
        (
            "many globs",
            format!(
                "policy p for all pods in namespaces ({}) except ({}) {{ }}",
                "*a*b*c*d?*, ".repeat(40),
                "*d*c*b*a?*, ".repeat(40)
            )
            .into_bytes(),
        ),
    ];
    let place = folder(&[]);
    for (name, bytes) in cases {
        let path = place.path().join("a.np");
        std::fs::write(&path, bytes).unwrap();
        let start = Instant::now();
        let output = npc(place.path(), &["check", "a.np"]);
        let taken = start.elapsed();
        assert!(
            matches!(output.status.code(), Some(0..=2)),
            "{name}: {:?}\n{:.300}",
            output.status,
            err(&output)
        );
        assert!(name == "many globs" || output.status.code() != Some(0), "{name} is taken for a program");
        // This is a debug build; the bound only catches inputs that never finish.
        assert!(taken < Duration::from_secs(120), "{name}: {taken:?}");
    }
    // A byte order mark and CRLF line ends are valid.
    std::fs::write(
        place.path().join("a.np"),
        "\u{feff}policy p for all pods\r\n in namespace shop {\r\n isolate ingress }\r\n",
    )
    .unwrap();
    assert_eq!(npc(place.path(), &["check", "a.np"]).status.code(), Some(0));
}

#[test]
fn hostile_cluster_files_give_an_error() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        bomb.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            vec![format!("*a{}", level - 1); 10].join(", ")
        ));
    }
    bomb.push_str("kind: Pod\n");
    let place = folder(&[("a.np", POLICY)]);
    for (name, text) in [
        ("not YAML", "a: [".to_owned()),
        ("not a cluster", "hello".to_owned()),
        ("empty", String::new()),
        ("aliases that explode", bomb),
        ("nested", "[".repeat(100_000)),
        ("JSON, nested", format!("{{\"items\":{}", "[".repeat(100_000))),
    ] {
        std::fs::write(place.path().join("cluster.yaml"), text).unwrap();
        let start = Instant::now();
        let output = npc(place.path(), &["compile", "a.np", "--expand", "--cluster", "cluster.yaml"]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", err(&output));
        assert!(err(&output).contains("is not a cluster file"), "{name}: {}", err(&output));
        assert!(start.elapsed() < Duration::from_secs(20), "{name}");
    }
}

/// The link leads out of the project, so its target is not read.
#[cfg(unix)]
#[test]
fn symlinks_out_of_the_project_are_not_followed() {
    let outside = folder(&[("secret.np", "let secret = 10.0.0.0/8\n")]);
    let place = folder(&[("a.np", "import \"link.np\"\n")]);
    std::os::unix::fs::symlink(outside.path().join("secret.np"), place.path().join("link.np")).unwrap();
    let output = npc(place.path(), &["check", "a.np"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("NP0207"), "{}", err(&output));
}

/// `--expand` also evaluates compiled policies, together with other Kyverno policies.
#[test]
fn compiled_policies_can_be_expanded() {
    let place =
        folder(&[("policies.np", POLICY), ("namespaces.yaml", NAMESPACES), ("no.yaml", "kind: Pod\n")]);
    let here = place.path();
    let direct = npc(here, &["compile", "policies.np", "--expand", "--cluster", "namespaces.yaml"]);
    assert_eq!(npc(here, &["compile", "policies.np"]).status.code(), Some(0));
    let written =
        npc(here, &["compile", "policies.kyverno.yaml", "--expand", "--cluster", "namespaces.yaml"]);
    assert_eq!(written.status.code(), Some(0), "{}", err(&written));
    assert!(out(&direct).contains("name: p\n"), "{}", out(&direct));
    assert_eq!(out(&direct), out(&written));
    for (arguments, says) in [
        (["compile", "policies.kyverno.yaml", "-o", "x"].as_slice(), "is not a program"),
        (
            &["compile", "policies.np", "no.yaml", "--expand", "--cluster", "namespaces.yaml"],
            "is not a program",
        ),
        (&["compile", "no.yaml", "--expand", "--cluster", "namespaces.yaml"], "no.yaml cannot be evaluated"),
        (&["compile", "policies.kyverno.yaml", "--expand", "--cluster", "no.yaml"], "not a cluster file"),
    ] {
        let output = npc(here, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(err(&output).contains(says), "{}", err(&output));
    }
}

/// `--fix` writes through a link, and does not change a read-only file.
#[cfg(unix)]
#[test]
fn fix_keeps_symlinks_and_read_only_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let broken = "policy p for all pods in namespace shop { isolate ingress; }\n";
    let place =
        folder(&[("real/x.np", broken), ("prog/npc.toml", ""), ("npc.toml", ""), ("only.np", broken)]);
    let here = place.path();
    std::fs::remove_file(here.join("prog/npc.toml")).unwrap();
    std::os::unix::fs::symlink("../real/x.np", here.join("prog/x.np")).unwrap();
    let output = npc(here, &["check", "--fix", "prog"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(here.join("prog/x.np").is_symlink());
    assert!(!std::fs::read_to_string(here.join("real/x.np")).unwrap().contains(';'));

    let only = here.join("only.np");
    std::fs::set_permissions(&only, std::fs::Permissions::from_mode(0o444)).unwrap();
    let output = npc(here, &["check", "--fix", "only.np"]);
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    assert_eq!(std::fs::read_to_string(&only).unwrap(), broken);
}

/// `--diff` does not hide diagnostics without a fix.
#[test]
fn diff_also_reports_diagnostics_without_a_fix() {
    let place =
        folder(&[("deny.np", "policy p for all pods in namespace shop { deny ingress from anywhere }\n")]);
    let output = npc(place.path(), &["check", "--diff", "deny.np"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).is_empty() && err(&output).contains("NP0404"), "{}", err(&output));
}

/// Imports of standard input are relative to the current folder.
#[test]
fn standard_input_imports_from_the_working_directory() {
    let place = folder(&[("npc.toml", ""), ("deep/sets.np", "let dns = udp/53\n")]);
    let text =
        "import \"sets.np\"\npolicy p for all pods in namespace shop { allow egress to anywhere on dns }\n";
    let output = npc_with(&place.path().join("deep"), &["check", "-"], text.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let output = npc_with(&place.path().join("deep"), &["check", "-", "--format", "short"], b"policy p\n");
    assert!(err(&output).starts_with("<stdin>:1:9: error"), "{}", err(&output));
}

#[test]
fn watch_recompiles_on_change() {
    let place = folder(&[("a.np", POLICY)]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_npc"))
        .args(["compile", "a.np", "--watch"])
        .current_dir(place.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let written = place.path().join("a.kyverno.yaml");
    let until = |text: &str| {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if std::fs::read_to_string(&written).is_ok_and(|found| found.contains(text)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    };
    let first = until("- shop");
    // The watch starts after the first output.
    std::thread::sleep(Duration::from_millis(500));
    std::fs::write(place.path().join("a.np"), POLICY.replace("shop", "blog")).unwrap();
    let second = until("- blog");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(first && second, "{first} {second}");
}

/// Runs the GitHub action's own step, with the variables that GitHub sets.
#[cfg(unix)]
#[test]
fn github_action_checks_files() {
    let text = std::fs::read_to_string(root().join("action.yml")).unwrap();
    let action: Value = serde_yaml::from_str(&text).unwrap();
    let step =
        action["runs"]["steps"].as_array().unwrap().iter().find(|step| step["name"] == "Check").unwrap();
    let place = folder(&[("bad.np", "policy p\n"), ("good.np", POLICY)]);
    // The previous step builds the command; this step expects it there.
    std::fs::create_dir_all(place.path().join("action/target/release")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_npc"), place.path().join("action/target/release/npc"))
        .unwrap();
    for (file, code, says) in [("bad.np", 1, "::error file=bad.np,line=1"), ("good.np", 0, "")] {
        let output = Command::new("bash")
            .args(["-e", "-o", "pipefail", "-c", step["run"].as_str().unwrap()])
            .current_dir(place.path())
            .env("GITHUB_ACTION_PATH", place.path().join("action"))
            .env("FILES", file)
            .env("ARGUMENTS", "")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", err(&output));
        assert!(out(&output).starts_with(says), "{}", out(&output));
    }
}

/// Runs the hook's command as pre-commit does, with the names of the changed files.
#[test]
fn pre_commit_hook_checks_files() {
    let text = std::fs::read_to_string(root().join(".pre-commit-hooks.yaml")).unwrap();
    let hooks: Value = serde_yaml::from_str(&text).unwrap();
    let hook = hooks.as_array().unwrap().iter().find(|hook| hook["id"] == "npc-check").unwrap();
    let entry = hook["entry"].as_str().unwrap();
    let mut words = entry.split(' ').skip(1).collect::<Vec<_>>();
    words.push("bad.np");
    let place = folder(&[("bad.np", "policy p\n")]);
    let output = npc(place.path(), &words);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).starts_with("bad.np:1:9: error[NP0101]"), "{}", err(&output));
}

/// `npc fmt` formats in place, checks, shows a diff and works as a filter. Files with syntax errors stay
/// unchanged.
#[test]
fn fmt_formats_programs() {
    let ugly = "policy p for all pods   in namespace shop {\n\n\n isolate ingress } // end\n";
    let fine = "policy p for all pods in namespace shop {\n  isolate ingress\n} // end\n";
    let place = folder(&[("a.np", ugly), ("net/b.np", fine), ("broken.np", "policy p for {\n isolate\n")]);
    let here = place.path();
    let output = npc(here, &["fmt", "--check", "a.np", "net"]);
    assert_eq!((output.status.code(), out(&output), err(&output)), (Some(1), "a.np\n".into(), "".into()));
    let output = npc(here, &["fmt", "--diff", "a.np"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).starts_with("--- a/a.np\n+++ b/a.np\n"), "{}", out(&output));
    assert_eq!(std::fs::read_to_string(here.join("a.np")).unwrap(), ugly, "nothing is written");
    let output = npc(here, &["fmt", "a.np", "./a.np", "net"]);
    assert_eq!((output.status.code(), err(&output)), (Some(0), "formatted 1 file\n".into()));
    assert_eq!(std::fs::read_to_string(here.join("a.np")).unwrap(), fine);
    assert_eq!(npc(here, &["fmt", "--check", "a.np", "net"]).status.code(), Some(0));
    // As a filter.
    let output = npc_with(here, &["fmt", "-"], ugly.as_bytes());
    assert_eq!((output.status.code(), out(&output)), (Some(0), fine.into()));
    // Formats all files of the folder that can be parsed, and reports the others.
    std::fs::write(here.join("a.np"), ugly).unwrap();
    let output = npc(here, &["fmt"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("formatted 1 file") && err(&output).contains("broken.np:1"),
        "{}",
        err(&output)
    );
    assert_eq!(std::fs::read_to_string(here.join("a.np")).unwrap(), fine);
    assert_eq!(
        std::fs::read_to_string(here.join("broken.np")).unwrap(),
        "policy p for {\n isolate\n",
        "broken files are unchanged"
    );
    let output = npc_with(here, &["fmt", "-"], b"policy p for {\n");
    assert_eq!((output.status.code(), out(&output)), (Some(1), "policy p for {\n".into()));
    // Files that are no programs are not touched.
    std::fs::write(here.join("pods.yaml"), "kind: Pod\n").unwrap();
    assert_eq!(npc(here, &["fmt", "pods.yaml"]).status.code(), Some(2));
    std::fs::write(here.join("bytes.np"), [0xff]).unwrap();
    let output = npc(here, &["fmt", "bytes.np"]);
    assert_eq!(
        (output.status.code(), err(&output)),
        (Some(2), "npc: bytes.np is not UTF-8 text (byte 0)\n".into())
    );
}

/// The command writes what the library compiles, which the examples contain.
#[test]
fn command_writes_the_output_of_the_examples() {
    for (name, folder) in npc_tests::tools::examples() {
        if name == "tiers" {
            continue;
        }
        let output = tempfile::tempdir().unwrap();
        npc_tests::tools::succeed(
            Command::new(env!("CARGO_BIN_EXE_npc"))
                .args(["compile", "--target", "kyverno,kyverno-cel", "-o"])
                .arg(output.path())
                .arg(&folder)
                .current_dir(npc_tests::root()),
        );
        for target in ["kyverno", "kyverno-cel"] {
            let file = format!("{name}.{target}.yaml");
            let written = std::fs::read_to_string(output.path().join(&file)).unwrap();
            assert_eq!(written, std::fs::read_to_string(folder.join(&file)).unwrap(), "{file}");
        }
    }
}
