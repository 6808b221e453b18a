//! A program: parsed, checked, compiled to every target, repaired, told in every format, and formatted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use npc_cluster::Cluster;
use npc_diagnostics::FileId;
use npc_driver::{Config, check, codes, compile, target_diagnostics};
use npc_program::{Files, ReadError};
use npc_render::{Format, Style, render};
use npc_targets::{Options, AnyTarget};

struct One<'a>(&'a [u8]);

impl Files for One<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        if path == "a.np" { Ok(self.0.to_vec()) } else { Err(ReadError::NotFound(vec!["a.np".to_owned()])) }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let cluster = Cluster::parse("kind: Namespace\nmetadata: {name: shop, labels: {env: prod, tenant: red}}")
        .expect("the cluster is one");
    let checked = check(&One(bytes), &["a.np".to_owned()], &Config::default(), Some(&cluster));
    let mut found = checked.report.diagnostics.clone();
    if !checked.report.has_errors() {
        let targets = [AnyTarget::KYVERNO, AnyTarget::KYVERNO_CEL, AnyTarget::NETWORK_POLICY];
        let outputs = compile(&checked, &targets, &Options::default(), Some(&cluster));
        for output in &outputs {
            let refused = output.diagnostics.iter().any(|d| d.level == npc_diagnostics::Level::Error);
            if !refused && output.target != AnyTarget::NETWORK_POLICY {
                npc_expand::expand(&output.text, &cluster).expect("what is written can be evaluated");
            }
        }
        found.extend(target_diagnostics(&outputs));
    }
    for format in [Format::Human, Format::Short, Format::Json, Format::Sarif, Format::Github] {
        let _ = render(format, &found, checked.sources(), &codes(), &Style::default());
    }
    let _ = checked.repaired();
    // What can be read is written in the one style, says the same, and is written so again.
    if let Ok(text) = std::str::from_utf8(bytes) {
        let parsed = npc_syntax::parse(FileId(0), text);
        if let Ok(formatted) = npc_format::format_parsed(text, &parsed) {
            assert!(npc_format::is_same(&parsed, text, &formatted), "{formatted}");
            assert_eq!(npc_format::format(FileId(0), &formatted).ok().as_ref(), Some(&formatted));
        }
    }
});
