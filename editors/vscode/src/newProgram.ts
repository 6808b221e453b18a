// Makes a first program to try things with.

import * as vscode from "vscode";

/** Asks where, and opens what the package brings as an example. */
export async function newProgram(example: vscode.Uri): Promise<void> {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
  const place = await vscode.window.showSaveDialog({
    ...(folder && { defaultUri: vscode.Uri.joinPath(folder, "policies.np") }),
    filters: { "Programs of npc": ["np"] },
    saveLabel: "Create",
    title: "New Program",
  });
  if (!place) return;
  await vscode.workspace.fs.copy(example, place, { overwrite: true });
  await vscode.window.showTextDocument(place);
}
