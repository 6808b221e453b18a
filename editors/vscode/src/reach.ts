// Who reaches whom, as the page that npc makes of it, beside the program and following what is typed.

import * as vscode from "vscode";
import type { Changes } from "./changes";
import type { Server } from "./client";
import { pageOf, refusalPage } from "./page";
import { sourceOf } from "./source";

interface View {
  panel: vscode.WebviewPanel;
  source: vscode.Uri;
  /** The page that is shown, as npc made it. */
  html: string | undefined;
}

export class ReachView implements vscode.Disposable {
  private readonly views = new Map<string, View>();
  private readonly following: vscode.Disposable;

  constructor(
    private readonly server: Server,
    changes: Changes,
    private readonly media: vscode.Uri,
  ) {
    this.following = changes.onDidChange(() => {
      for (const view of this.views.values()) void this.renew(view);
    });
  }

  dispose(): void {
    this.following.dispose();
    for (const { panel } of this.views.values()) panel.dispose();
  }

  async show(of?: unknown): Promise<void> {
    const source = sourceOf(of);
    if (!source) return;
    const key = source.toString();
    let view = this.views.get(key);
    if (view) {
      view.panel.reveal(undefined, true);
    } else {
      view = { panel: this.makePanel(source), source, html: undefined };
      this.views.set(key, view);
      view.panel.onDidDispose(() => this.views.delete(key));
    }
    await this.renew(view);
  }

  private makePanel(source: vscode.Uri): vscode.WebviewPanel {
    const name = source.path.slice(source.path.lastIndexOf("/") + 1);
    const place = { viewColumn: vscode.ViewColumn.Beside, preserveFocus: true };
    return vscode.window.createWebviewPanel("npc.reach", `Reachability: ${name}`, place, {
      enableScripts: true,
      enableFindWidget: true,
      enableCommandUris: ["workbench.action.openSettings"],
      localResourceRoots: [this.media],
      retainContextWhenHidden: true,
    });
  }

  private async renew(view: View): Promise<void> {
    const { panel, source } = view;
    const found = await this.server.ask("npc/reach", { textDocument: { uri: source.toString() } });
    if (!this.views.has(source.toString())) return;
    if ("html" in found) {
      if (found.html !== view.html) panel.webview.html = pageOf(found.html, panel.webview, this.media);
      view.html = found.html;
      await panel.webview.postMessage({ why: "" });
    } else if (view.html === undefined) {
      const hasCluster = vscode.workspace.getConfiguration("npc").get("cluster", "").trim() !== "";
      panel.webview.html = refusalPage(found.why, hasCluster);
    } else {
      // A word that is half typed does not take the page away.
      await panel.webview.postMessage({ why: found.why });
    }
  }
}
