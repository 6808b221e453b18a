// Fires when the server's answers may change: an edit of a program, a change of another file or of the
// cluster file, a change of the settings, or a restart of the server.

import * as vscode from "vscode";
import type { Server } from "./client";
import type { ClusterFile } from "./cluster";

/** Wait for a pause in typing, in milliseconds, before requesting anything. */
const PAUSE = 250;

export class Changes implements vscode.Disposable {
  private readonly emitter = new vscode.EventEmitter<void>();
  readonly onDidChange = this.emitter.event;
  private readonly parts: vscode.Disposable[];
  private timer: NodeJS.Timeout | undefined;

  constructor(server: Server, cluster: ClusterFile) {
    const files = vscode.workspace.createFileSystemWatcher("**/{*.np,npc.toml}");
    const soon = () => this.soon();
    this.parts = [
      files,
      files.onDidChange(soon),
      files.onDidCreate(soon),
      files.onDidDelete(soon),
      cluster.onDidChange(soon),
      vscode.workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
        if (document.languageId === "np" && contentChanges.length > 0) soon();
      }),
      vscode.workspace.onDidChangeConfiguration((event) => {
        if (event.affectsConfiguration("npc")) soon();
      }),
      server.onDidChangeState(({ is }) => {
        if (is === "running") soon();
      }),
    ];
  }

  dispose(): void {
    clearTimeout(this.timer);
    vscode.Disposable.from(...this.parts, this.emitter).dispose();
  }

  private soon(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.emitter.fire(), PAUSE);
  }
}
