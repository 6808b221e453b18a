//! `textDocument/signatureHelp`: the settings and their values, inside a settings block.

use npc_program::SETTINGS;
use npc_syntax::{Expected, TokenKind, expectation};
use tower_lsp::ls_types::{
    Documentation, ParameterInformation, ParameterLabel, SignatureHelp, SignatureInformation,
};

pub(crate) fn help(source: &str, offset: u32) -> Option<SignatureHelp> {
    let expected = expectation(source, offset);
    let before = &expected.before;
    let last = before.last()?;
    let name = match last.kind {
        TokenKind::Eq if expected.has(Expected::Value) => {
            let at = before.len().checked_sub(2)?;
            before.get(at)?.span.0.of(source)
        }
        // The name of a setting is expected: it is being typed, or the block has just started.
        _ if expected.has(Expected::Setting) => "",
        _ => return None,
    };
    let signatures: Vec<SignatureInformation> = SETTINGS
        .iter()
        .filter(|setting| name.is_empty() || setting.name == name)
        .map(|setting| SignatureInformation {
            label: format!("{} = {}", setting.name, setting.values.join(" | ")),
            documentation: Some(Documentation::String(format!(
                "{} Default: {}.",
                setting.about, setting.default
            ))),
            parameters: Some(vec![ParameterInformation {
                label: ParameterLabel::Simple(setting.values.join(" | ")),
                documentation: None,
            }]),
            active_parameter: Some(0),
        })
        .collect();
    (!signatures.is_empty()).then_some(SignatureHelp {
        signatures,
        active_signature: Some(0),
        active_parameter: Some(0),
    })
}
