//! `textDocument/definition`, `declaration`, `references`, `documentHighlight`, `prepareRename`, `rename` and
//! `workspace/symbol`.

use npc_syntax::ast::ItemKind;
use tower_lsp::ls_types::{
    DocumentHighlight, DocumentHighlightKind, Location, OneOf, PrepareRenameResponse, SymbolKind,
    WorkspaceSymbol,
};

use crate::convert::{Edits, Places};
use crate::core::program::Program;
use crate::core::symbol::Refusal;

/// The definitions of the symbol at an offset.
pub(crate) fn definitions(places: Places<'_>, file: usize, offset: u32) -> Vec<Location> {
    let Some((symbol, _)) = places.program.symbol(file, offset) else { return Vec::new() };
    places.program.definitions(&symbol).into_iter().filter_map(|own| places.location(own)).collect()
}

/// All uses of the symbol at an offset.
pub(crate) fn references(places: Places<'_>, file: usize, offset: u32, definitions: bool) -> Vec<Location> {
    let Some((symbol, _)) = places.program.symbol(file, offset) else { return Vec::new() };
    let uses = places.program.uses(&symbol).into_iter().filter(|one| definitions || !one.is_definition);
    uses.filter_map(|one| places.location(one.location)).collect()
}

/// The uses in the same file.
pub(crate) fn highlights(places: Places<'_>, file: usize, offset: u32) -> Vec<DocumentHighlight> {
    let program = places.program;
    let (Some((symbol, _)), Some(id)) = (program.symbol(file, offset), program.files().get(file)) else {
        return Vec::new();
    };
    let uses = program.uses(&symbol).into_iter().filter(|one| one.location.file == id.id);
    let highlights = uses.map(|one| DocumentHighlight {
        range: places.range(one.location),
        kind: Some(match one.is_definition {
            true => DocumentHighlightKind::WRITE,
            false => DocumentHighlightKind::READ,
        }),
    });
    highlights.collect()
}

/// The name at an offset, if it can be renamed.
pub(crate) fn prepare_rename(
    places: Places<'_>,
    file: usize,
    offset: u32,
) -> Result<Option<PrepareRenameResponse>, Refusal> {
    let program = places.program;
    let Some((symbol, span)) = program.symbol(file, offset) else { return Ok(None) };
    program.may_rename(&symbol)?;
    let Some(id) = program.files().get(file).map(|own| own.id) else { return Ok(None) };
    let location = npc_diagnostics::Location::new(id, span);
    let placeholder = program.checked.sources().text(location).to_owned();
    let range = places.range(location);
    Ok(Some(PrepareRenameResponse::RangeWithPlaceholder { range, placeholder }))
}

/// Adds the edits that rename a symbol.
pub(crate) fn rename(
    places: Places<'_>,
    file: usize,
    offset: u32,
    name: &str,
    files: &impl npc_program::Files,
    edits: &mut Edits,
) -> Result<(), Refusal> {
    let program = places.program;
    let Some((symbol, _)) = program.symbol(file, offset) else { return Ok(()) };
    let found = program.rename(&symbol, name, files)?;
    edits.add(places, found.into_iter().map(|place| (place, name.to_owned())));
    Ok(())
}

/// How many symbols are listed.
const MOST: usize = 1_000;

/// The sets, policies and tests whose names contain the letters of the query in order.
pub(crate) fn symbols(places: Places<'_>, query: &str) -> Vec<WorkspaceSymbol> {
    let program: &Program = places.program;
    let mut found = Vec::new();
    for (index, file) in program.files().iter().enumerate() {
        for item in &file.parsed.tree.items {
            let (word, kind) = match &item.kind {
                ItemKind::Let(own) => (own.name, SymbolKind::CONSTANT),
                ItemKind::Policy(own) => (own.name, SymbolKind::CLASS),
                ItemKind::Test(own) => (own.name, SymbolKind::METHOD),
                _ => continue,
            };
            let name = program.says(index, word);
            let place = npc_diagnostics::Location::new(file.id, word.span);
            if found.len() < MOST
                && matches(&name, query)
                && let Some(location) = places.location(place)
            {
                found.push(WorkspaceSymbol {
                    name,
                    kind,
                    tags: None,
                    container_name: Some(file.path.to_string()),
                    location: OneOf::Left(location),
                    data: None,
                });
            }
        }
    }
    found
}

fn matches(name: &str, query: &str) -> bool {
    let mut letters = name.chars().flat_map(char::to_lowercase);
    query.chars().flat_map(char::to_lowercase).all(|wanted| letters.any(|own| own == wanted))
}
