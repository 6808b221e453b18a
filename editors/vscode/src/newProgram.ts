// Creates an example program.

import * as vscode from "vscode";

/** Asks for a path, copies the bundled example there and opens it. */
export async function newProgram(example: vscode.Uri): Promise<void> {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
  const place = await vscode.window.showSaveDialog({
    ...(folder && { defaultUri: vscode.Uri.joinPath(folder, "policies.np") }),
    filters: { "npc programs": ["np"] },
    saveLabel: "Create",
    title: "New Program",
  });
  if (!place) return;
  await vscode.workspace.fs.copy(example, place, { overwrite: true });
  await vscode.window.showTextDocument(place);
}
