//! Manifests of every kind, read as policies. What can be read becomes a program without errors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use npc_diagnostics::{FileId, Level};
use npc_program::{Files, ReadError};

struct One(String);

impl Files for One {
    fn read(&self, _: &str) -> Result<Vec<u8>, ReadError> {
        Ok(self.0.clone().into_bytes())
    }
}

fuzz_target!(|text: &str| {
    let import = npc_driver::import(FileId(0), text);
    let wrong = |found: &npc_diagnostics::Diagnostic| found.level == Level::Error;
    if import.diagnostics.iter().chain(&import.conflicts()).any(wrong) {
        return;
    }
    let (text, _) = import.to_text();
    let loaded = npc_program::load(&One(text.clone()), &["a.np".to_owned()]);
    let found = npc_program::resolve(&loaded, None).diagnostics;
    let errors: Vec<&str> =
        loaded.diagnostics.iter().chain(&found).filter(|found| wrong(found)).map(|found| found.message.as_str()).collect();
    assert!(errors.is_empty(), "{errors:?}\n{text}");
});
