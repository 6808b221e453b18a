// Shows an error message if the server cannot start.

import * as vscode from "vscode";
import type { Server } from "./client";

const SETTINGS = "Open Settings";
const INSTALL = "Show How to Install";

/** Shows one message for each failed start. */
export function tellFailures(server: Server): vscode.Disposable {
  return server.onDidChangeState((state) => {
    if (state.is !== "failed") return;
    void vscode.window.showErrorMessage(state.why, SETTINGS, INSTALL).then((chosen) => {
      if (chosen === SETTINGS)
        return vscode.commands.executeCommand("workbench.action.openSettings", "npc.path");
      if (chosen === INSTALL) return showInstall();
      return undefined;
    });
  });
}

function showInstall(): Thenable<unknown> {
  const place = { category: "npc-lang.npc#start", step: "npc-lang.npc#start#install" };
  return vscode.commands.executeCommand("workbench.action.openWalkthrough", place, false);
}
