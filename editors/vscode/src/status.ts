// The state of the language server, in the status bar while a program is active.

import * as vscode from "vscode";
import type { Server, State } from "./client";

export class Status implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem(
    "npc.server",
    vscode.StatusBarAlignment.Right,
    100,
  );
  private readonly parts: vscode.Disposable[];

  constructor(private readonly server: Server) {
    this.item.name = "npc Language Server";
    this.parts = [
      this.item,
      server.onDidChangeState(() => this.show()),
      vscode.window.onDidChangeActiveTextEditor(() => this.show()),
    ];
    this.show();
  }

  dispose(): void {
    vscode.Disposable.from(...this.parts).dispose();
  }

  private show(): void {
    const state = this.server.current;
    // A failure is always shown; any other state only while a program is active.
    const isLookedAt = vscode.window.activeTextEditor?.document.languageId === "np";
    if (!isLookedAt && state.is !== "failed") {
      this.item.hide();
      return;
    }
    const { text, tooltip, colour } = words(state);
    this.item.text = text;
    const more = new vscode.MarkdownString(
      `${tooltip}\n\n[Show output](command:npc.showOutput) · [Restart](command:npc.restart)`,
    );
    more.isTrusted = { enabledCommands: ["npc.showOutput", "npc.restart"] };
    this.item.tooltip = more;
    this.item.backgroundColor = colour === undefined ? undefined : new vscode.ThemeColor(colour);
    this.item.command = state.is === "running" || state.is === "starting" ? "npc.showOutput" : "npc.restart";
    this.item.show();
  }
}

function words(state: State): { text: string; tooltip: string; colour?: string } {
  switch (state.is) {
    case "starting":
      return { text: "$(loading~spin) npc", tooltip: "The npc language server is starting." };
    case "running":
      return {
        text: `$(check) npc ${state.version}`,
        tooltip: `The npc ${state.version} language server is running.`,
      };
    case "stopped":
      return {
        text: "$(debug-stop) npc",
        tooltip: "The npc language server has stopped. Click to start it.",
        colour: "statusBarItem.warningBackground",
      };
    case "failed":
      return {
        text: "$(error) npc",
        tooltip: `${state.why}\n\nClick to try again.`,
        colour: "statusBarItem.errorBackground",
      };
  }
}
