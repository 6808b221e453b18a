// The program that a command applies to.

import * as vscode from "vscode";

/** The last active program, which commands from the walkthrough or from a view apply to. */
let last: vscode.Uri | undefined;

export function rememberSource(): vscode.Disposable {
  const remember = (editor: vscode.TextEditor | undefined) => {
    if (editor?.document.languageId === "np") last = editor.document.uri;
  };
  remember(vscode.window.activeTextEditor);
  return vscode.window.onDidChangeActiveTextEditor(remember);
}

/** The given file, or else the active or last active one. Shows a message if there is none. */
export function sourceOf(named?: unknown): vscode.Uri | undefined {
  // A code lens passes a string, the title bar of an editor passes a `Uri`.
  if (typeof named === "string") return vscode.Uri.parse(named);
  if (named instanceof vscode.Uri) return named;
  if (!last) void vscode.window.showInformationMessage("Open an npc program (*.np) first.");
  return last;
}
