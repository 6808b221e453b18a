//! Measures the compiler step by step, and how it scales: `cargo bench -p npc-tests`.
//!
//! Each figure is the best of several runs; ratios compare figures of the same run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::fmt::Write as _;

use npc_diagnostics::{FileId, Level};
use npc_driver::{Config, check, compile, draft, prove, validate};
use npc_targets::{AnyTarget, Options};
use npc_tests::memory::Memory;
use npc_tests::timing::{best, milliseconds};

/// The allocator that the command uses.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A program of typical policies, 220 bytes each.
fn program(policies: usize) -> String {
    let mut out = String::from(
        "let dns = udp/53, tcp/53\nlet kube-dns = pods { k8s-app = kube-dns } in namespace kube-system\n",
    );
    for i in 0..policies {
        let _ = write!(
            out,
            "policy app-{i} for pods {{ app = app-{i}, tier in (web, api) }} in namespaces {{ team = team-{} }} {{
  allow ingress from pods {{ app = front-{i} }} in namespaces {{ env = prod }} on tcp/{}
  allow egress to kube-dns on dns
}}
",
            i % 500,
            1000 + i % 60_000
        );
    }
    out
}

fn main() {
    let mut before: Option<(usize, f64)> = None;
    // `cargo bench` passes its own arguments. If one is a number, only that number of policies is measured.
    let only: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if only.is_empty() { vec![1_000, 10_000, 100_000] } else { only };
    for policies in sizes {
        let text = program(policies);
        let megabytes = text.len() as f64 / 1e6;
        let runs = if policies > 10_000 { 3 } else { 10 };
        let parse = best(runs, || npc_syntax::parse(FileId(0), &text));
        // The steps of `npc fmt`: parse, format, parse again and compare.
        let format = best(runs, || {
            let parsed = npc_syntax::parse(FileId(0), &text);
            let formatted = npc_format::format_parsed(&text, &parsed).unwrap();
            assert!(npc_format::is_same(&parsed, &text, &formatted));
        });
        let files = Memory::one(&text);
        let roots = ["policies.np".to_owned()];
        let config = Config::default();
        let loading = best(runs, || npc_program::load(&files, &roots));
        let loaded = npc_program::load(&files, &roots);
        let resolving = best(runs, || npc_program::resolve(&loaded, None));
        drop(loaded);
        let checking = best(runs, || check(&files, &roots, &config, None));
        let checked = check(&files, &roots, &config, None);
        assert!(!checked.report.has_errors());
        let options = Options::default();
        let target = |target| best(runs, || draft(&checked, &[target], &options, None));
        let (kyverno, cel) = (target(AnyTarget::KYVERNO), target(AnyTarget::KYVERNO_CEL));
        let both = [AnyTarget::KYVERNO, AnyTarget::KYVERNO_CEL];
        let side_by_side = best(runs, || draft(&checked, &both, &options, None));
        let total = milliseconds(checking + side_by_side);
        let parsing = milliseconds(parse);
        println!("{policies} policies, {megabytes:.1} MB");
        println!("  lex and parse      {parsing:9.1} ms  {:6.1} MB/s", megabytes / parsing * 1e3);
        let formatting = milliseconds(format);
        println!("  format, with that  {formatting:9.1} ms  {:6.1} MB/s", megabytes / formatting * 1e3);
        println!("  load, with that    {:9.1} ms", milliseconds(loading));
        println!("  resolve            {:9.1} ms", milliseconds(resolving));
        println!("  check: both        {:9.1} ms", milliseconds(checking));
        println!("  kyverno            {:9.1} ms", milliseconds(kyverno));
        println!("  kyverno-cel        {:9.1} ms", milliseconds(cel));
        println!("  both targets       {:9.1} ms", milliseconds(side_by_side));
        println!("  check and both     {total:9.1} ms");
        // Proofs take longer than everything else, so one run is enough.
        if policies <= 10_000 {
            for output in compile(&checked, &both, &options, None) {
                assert!(output.diagnostics.iter().all(|found| found.level != Level::Error));
                let proof = best(1, || validate(&output, &checked.program, &options, None));
                println!("  prove {:<13}{:9.1} ms", output.target.to_string(), milliseconds(proof));
            }
            let asserted = format!("{text}\nassert deny all pods in all namespaces -> 192.0.2.1 on tcp/1\n");
            let asserted = check(&Memory::one(&asserted), &roots, &config, None);
            let proof = best(1, || prove(&asserted.program, &asserted.program.asserts, &[]));
            println!("  one assertion      {:9.1} ms", milliseconds(proof));
        }
        if let Some((fewer, time)) = before {
            let (times, growth) = (policies as f64 / fewer as f64, total / time);
            println!("  {times:.0} times the policies take {growth:.1} times as long as the line above");
        }
        before = Some((policies, total));
    }
}
