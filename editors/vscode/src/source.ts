// The program that a command is about.

import * as vscode from "vscode";

/** The program that was looked at last: from the walkthrough, or a view beside it, that one is meant. */
let last: vscode.Uri | undefined;

export function rememberSource(): vscode.Disposable {
  const remember = (editor: vscode.TextEditor | undefined) => {
    if (editor?.document.languageId === "np") last = editor.document.uri;
  };
  remember(vscode.window.activeTextEditor);
  return vscode.window.onDidChangeActiveTextEditor(remember);
}

/** The file that is named, or else the one that is or was looked at; says so where there is none. */
export function sourceOf(named?: unknown): vscode.Uri | undefined {
  // A code lens names its file in text, the title bar of an editor as it is.
  if (typeof named === "string") return vscode.Uri.parse(named);
  if (named instanceof vscode.Uri) return named;
  if (!last) void vscode.window.showInformationMessage("Open a program of npc (a file named *.np) first.");
  return last;
}
