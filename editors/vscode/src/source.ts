// The program that a command is about.

import * as vscode from "vscode";

/** The file that a code lens names, or else the one that is looked at; says so where there is none. */
export function sourceOf(named?: unknown): vscode.Uri | undefined {
  // The title bar of an editor names its file as it is, a code lens in text.
  if (typeof named === "string") return vscode.Uri.parse(named);
  if (named instanceof vscode.Uri) return named;
  const document = vscode.window.activeTextEditor?.document;
  if (document?.languageId === "np") return document.uri;
  void vscode.window.showInformationMessage("Open a program of npc (a file named *.np) first.");
  return undefined;
}
