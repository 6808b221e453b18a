// The reachability page of npc, beside the program; it follows the edits.

import * as vscode from "vscode";
import type { Changes } from "./changes";
import { clusterSetting } from "./cluster";
import type { Server } from "./client";
import { pageOf, refusalPage } from "./page";
import { sourceOf } from "./source";

interface View {
  panel: vscode.WebviewPanel;
  source: vscode.Uri;
  /** The current page, as npc generated it. */
  html: string | undefined;
  /** Cancels the pending request: a newer request replaces an older one. */
  asked: vscode.CancellationTokenSource;
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
      for (const view of this.views.values()) if (view.panel.visible) void this.renew(view);
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
      view = this.makeView(source);
      this.views.set(key, view);
    }
    await this.renew(view);
  }

  private makeView(source: vscode.Uri): View {
    const panel = this.makePanel(source);
    const view: View = { panel, source, html: undefined, asked: new vscode.CancellationTokenSource() };
    panel.onDidDispose(() => {
      view.asked.cancel();
      this.views.delete(source.toString());
    });
    // A hidden view requests nothing; it is updated when it becomes visible.
    panel.onDidChangeViewState(() => {
      if (panel.visible) void this.renew(view);
    });
    return view;
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
    view.asked.cancel();
    view.asked = new vscode.CancellationTokenSource();
    const { token } = view.asked;
    const found = await this.server.ask("npc/reach", { textDocument: { uri: source.toString() } }, token);
    if (token.isCancellationRequested) return;
    if ("html" in found) {
      if (found.html !== view.html) panel.webview.html = pageOf(found.html, panel.webview, this.media);
      view.html = found.html;
      await panel.webview.postMessage({ why: "" });
    } else if (view.html === undefined) {
      const hasCluster = clusterSetting() !== null;
      panel.webview.html = refusalPage(found.why, hasCluster);
    } else {
      // Keep the page while the program has errors, for example a half-typed word.
      await panel.webview.postMessage({ why: found.why });
    }
  }
}
