// The YAML output of a program: a read-only document beside it that follows the edits.

import * as vscode from "vscode";
import type { Changes } from "./changes";
import type { Server } from "./client";
import { sourceOf } from "./source";

const SCHEME = "npc-yaml";
/** The number of lines above the YAML: one that names the program and the target. */
const HEADING = 1;
const PATIENCE = 3000;

export class YamlView implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly emitter = new vscode.EventEmitter<vscode.Uri>();
  readonly onDidChange = this.emitter.event;
  private readonly parts: vscode.Disposable[];
  /** The last valid YAML of each view. */
  private readonly last = new Map<string, string>();

  constructor(
    private readonly server: Server,
    changes: Changes,
  ) {
    this.parts = [
      this.emitter,
      vscode.workspace.registerTextDocumentContentProvider(SCHEME, this),
      vscode.workspace.onDidCloseTextDocument(({ uri }) => this.last.delete(uri.toString())),
      changes.onDidChange(() => {
        for (const { uri } of vscode.workspace.textDocuments) {
          if (uri.scheme === SCHEME) this.emitter.fire(uri);
        }
      }),
    ];
  }

  dispose(): void {
    vscode.Disposable.from(...this.parts).dispose();
  }

  /** Shows the YAML of a program, scrolled to a policy if one is given (by a code lens). */
  async show(of?: unknown, policy?: unknown): Promise<void> {
    const source = sourceOf(of);
    if (!source) return;
    const name = source.path.slice(source.path.lastIndexOf("/") + 1);
    const uri = vscode.Uri.from({ scheme: SCHEME, path: `/${name}.yaml`, query: source.toString() });
    const document = await vscode.workspace.openTextDocument(uri);
    const editor = await vscode.window.showTextDocument(document, {
      viewColumn: vscode.ViewColumn.Beside,
      preserveFocus: true,
      preview: false,
    });
    // The title bar of an editor passes another argument here.
    if (typeof policy !== "string") return;
    const found = await this.server.ask("npc/yaml", { ...this.params(source), policy });
    if (!("line" in found) || typeof found.line !== "number") return;
    await this.becomes(document, found.text);
    const start = new vscode.Position(found.line + HEADING, 0);
    editor.selection = new vscode.Selection(start, start);
    editor.revealRange(new vscode.Range(start, start), vscode.TextEditorRevealType.AtTop);
  }

  /** Waits until the document shows `text`: a view that was already open may show an older text. */
  private async becomes(document: vscode.TextDocument, text: string): Promise<void> {
    const isSo = () => document.getText().endsWith(text);
    if (isSo()) return;
    const parts: vscode.Disposable[] = [];
    const shown = new Promise<void>((done) => {
      parts.push(
        vscode.workspace.onDidChangeTextDocument((event) => {
          if (event.document === document && isSo()) done();
        }),
      );
      // Stop waiting eventually: if the user keeps typing, the text may never appear.
      const timer = setTimeout(done, PATIENCE);
      parts.push(new vscode.Disposable(() => clearTimeout(timer)));
    });
    this.emitter.fire(document.uri);
    await shown;
    vscode.Disposable.from(...parts).dispose();
  }

  async provideTextDocumentContent(uri: vscode.Uri, token: vscode.CancellationToken): Promise<string> {
    const source = vscode.Uri.parse(uri.query);
    const params = this.params(source);
    const found = await this.server.ask("npc/yaml", params, token);
    const key = uri.toString();
    const heading = `# ${vscode.workspace.asRelativePath(source)}, for the target ${params.target}`;
    if ("text" in found) {
      this.last.set(key, found.text);
      return `${heading}\n${found.text}`;
    }
    const why = found.why.trim();
    const last = this.last.get(key);
    if (last === undefined) return `${heading}\n${why.replaceAll(/^/gm, "# ")}\n`;
    // Keep the last valid YAML, at the same lines, while the program has errors.
    return `# Not up to date: ${why.replaceAll(/\s+/g, " ")}\n${last}`;
  }

  private params(source: vscode.Uri): { textDocument: { uri: string }; target: string } {
    const target = vscode.workspace.getConfiguration("npc", source).get("target", "kyverno");
    return { textDocument: { uri: source.toString() }, target };
  }
}
