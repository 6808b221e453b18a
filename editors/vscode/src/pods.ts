// Shows the pods that a policy selects, in a quick pick.

import * as vscode from "vscode";
import type { Server } from "./client";

export async function showPods(server: Server, uri: string, policy: string): Promise<void> {
  const found = await server.ask("npc/pods", { textDocument: { uri }, policy });
  if ("why" in found) {
    void vscode.window.showInformationMessage(found.why);
    return;
  }
  const { pods } = found;
  if (pods.length === 0) {
    void vscode.window.showInformationMessage(`The policy ${policy} selects no pod of the cluster.`);
    return;
  }
  const items = pods.map((pod) => {
    const [namespace = "", name = pod] = pod.split("/");
    return { label: name, description: namespace };
  });
  const title = `${policy} selects ${pods.length === 1 ? "1 pod" : `${pods.length} pods`}`;
  await vscode.window.showQuickPick(items, { title, matchOnDescription: true });
}
