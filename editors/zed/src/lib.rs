//! Zed's side of npc: how its language server is started.

use zed_extension_api::settings::LspSettings;
use zed_extension_api::{self as zed, serde_json, LanguageServerId, Result, Worktree};

struct Npc;

impl zed::Extension for Npc {
    fn new() -> Self {
        Self
    }

    fn language_server_command(
        &mut self,
        id: &LanguageServerId,
        worktree: &Worktree,
    ) -> Result<zed::Command> {
        let set = LspSettings::for_worktree(id.as_ref(), worktree)?.binary;
        let command = set
            .as_ref()
            .and_then(|set| set.path.clone())
            .or_else(|| worktree.which("npc"))
            .ok_or("`npc` is not on the PATH: install it, or set `lsp.npc.binary.path`")?;
        let arguments = set.and_then(|set| set.arguments).unwrap_or_else(|| vec!["lsp".to_owned()]);
        Ok(zed::Command { command, args: arguments, env: worktree.shell_env() })
    }

    fn language_server_initialization_options(
        &mut self,
        id: &LanguageServerId,
        worktree: &Worktree,
    ) -> Result<Option<serde_json::Value>> {
        Ok(LspSettings::for_worktree(id.as_ref(), worktree)?.initialization_options)
    }
}

zed::register_extension!(Npc);
