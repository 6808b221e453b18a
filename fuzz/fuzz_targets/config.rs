//! `npc.toml`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use npc_diagnostics::SourceMap;
use npc_render::{Format, Style, render};

fuzz_target!(|text: &str| {
    let mut sources = SourceMap::new();
    if let Err(found) = npc_driver::Config::parse("npc.toml", text, &mut sources) {
        let _ = render(Format::Human, &found, &sources, &npc_driver::codes(), &Style::default());
    }
});
