// The cluster file that the setting `npc.cluster` names. It can change at any time.

import { basename, dirname, isAbsolute } from "node:path";
import * as vscode from "vscode";

/** The path in the setting; null if it is empty. */
export function clusterSetting(): string | null {
  return vscode.workspace.getConfiguration("npc").get("cluster", "").trim() || null;
}

/** Fires when the contents of the cluster file change. */
export class ClusterFile implements vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<vscode.Uri>();
  readonly onDidChange = this.changed.event;
  private readonly configuration: vscode.Disposable;
  private watcher: vscode.FileSystemWatcher | undefined;

  constructor() {
    this.watch();
    this.configuration = vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("npc.cluster")) this.watch();
    });
  }

  dispose(): void {
    this.watcher?.dispose();
    vscode.Disposable.from(this.configuration, this.changed).dispose();
  }

  private watch(): void {
    this.watcher?.dispose();
    this.watcher = undefined;
    const pattern = this.pattern();
    if (!pattern) return;
    this.watcher = vscode.workspace.createFileSystemWatcher(pattern);
    const tell = (uri: vscode.Uri) => this.changed.fire(uri);
    this.watcher.onDidChange(tell);
    this.watcher.onDidCreate(tell);
    this.watcher.onDidDelete(tell);
  }

  private pattern(): vscode.RelativePattern | undefined {
    const path = clusterSetting();
    if (path === null) return undefined;
    const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
    const file = isAbsolute(path) || !folder ? vscode.Uri.file(path) : vscode.Uri.joinPath(folder, path);
    return new vscode.RelativePattern(vscode.Uri.file(dirname(file.fsPath)), basename(file.fsPath));
  }
}
