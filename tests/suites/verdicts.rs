//! Known verdicts, made by independent engines: 0 wrong, by whatever way they are asked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use npc_cluster::Cluster;
use npc_diagnostics::{FileId, Level};
use npc_model::{Verdict, verdict};
use npc_program::Program;
use npc_tests::vectors::{Case, Probe, cases, folder};

/// The policies of a case as a program.
fn imported(case: &Case) -> Program {
    let import = npc_import::import(FileId(0), &case.manifests());
    let errors: Vec<_> = import.diagnostics.iter().filter(|found| found.level == Level::Error).collect();
    assert!(errors.is_empty(), "{}: {errors:#?}", case.id);
    assert_eq!(import.policies.len(), case.policies.len(), "{}", case.id);
    import.into_program()
}

/// Whether the verdict is the known one; where it is known, which side denies is too.
fn agrees(probe: &Probe, verdict: &Verdict) -> bool {
    let (egress, ingress) = verdict.denied();
    let side = match probe.denied_by.as_deref() {
        None => true,
        Some("egress") => egress && !ingress,
        Some("ingress") => ingress && !egress,
        Some("both") => egress && ingress,
        Some(other) => panic!("{other}"),
    };
    verdict.allowed() == probe.allowed && (probe.allowed || side)
}

/// Asks every probe of every case of some sets.
fn ask(test: &str, sets: &str, program: impl Fn(&Case, &Cluster) -> Program) {
    let Some(folder) = folder(test) else { return };
    for set in sets.chars() {
        let cases = cases(&folder.join(format!("set{set}.jsonl")));
        let (mut probes, mut wrong) = (0, Vec::new());
        for case in &cases {
            let cluster = case.cluster();
            let program = program(case, &cluster);
            for (index, probe) in case.probes.iter().enumerate() {
                probes += 1;
                let verdict = verdict(&program, &probe.connection(&cluster));
                if !agrees(probe, &verdict) {
                    wrong.push(format!("{} probe {index}: {verdict:?}", case.id));
                }
            }
        }
        println!("{test}, set {set}: {} cases, {probes} probes, {} wrong", cases.len(), wrong.len());
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[test]
fn of_the_program() {
    ask("of_the_program", "ACRTX", |case, _| imported(case));
}
