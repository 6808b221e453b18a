// Activates the extension when the editor first opens a program.

import * as vscode from "vscode";
import { Changes } from "./changes";
import { Server } from "./client";
import { tellFailures } from "./failure";
import { ClusterFile } from "./cluster";
import { newProgram } from "./newProgram";
import { showPods } from "./pods";
import { ReachView } from "./reach";
import { rememberSource } from "./source";
import { Status } from "./status";
import { Tests } from "./tests";
import { YamlView } from "./yaml";

let server: Server | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const own = (...path: string[]) => vscode.Uri.joinPath(context.extensionUri, ...path);
  const running = new Server();
  server = running;
  const cluster = new ClusterFile();
  const changes = new Changes(running, cluster);
  const yaml = new YamlView(running, changes);
  const reach = new ReachView(running, changes, own("media"));
  const tests = new Tests(running, changes);
  const command = vscode.commands.registerCommand;
  context.subscriptions.push(
    running,
    cluster,
    cluster.onDidChange((uri) => void running.tellClusterChanged(uri)),
    changes,
    yaml,
    reach,
    tests,
    new Status(running),
    rememberSource(),
    tellFailures(running),
    running.onDidChangeState(({ is }) => {
      // Completes the first step of the walkthrough.
      void vscode.commands.executeCommand("setContext", "npc.running", is === "running");
    }),
    command("npc.showYaml", (of?: unknown, policy?: unknown) => yaml.show(of, policy)),
    command("npc.showReach", (of?: unknown) => reach.show(of)),
    command("npc.showPods", (uri: string, policy: string) => showPods(running, uri, policy)),
    command("npc.runTest", (uri: string, id: string) => tests.runOne(uri, id)),
    command("npc.newProgram", () => newProgram(own("walkthrough", "example.np"))),
    command("npc.restart", () => running.restart()),
    command("npc.showOutput", () => running.output.show(true)),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("npc.path")) void running.restart();
      else if (event.affectsConfiguration("npc.cluster")) void running.tellCluster();
    }),
    vscode.workspace.onDidGrantWorkspaceTrust(() => void running.restart()),
  );
  await running.restart();
}

export async function deactivate(): Promise<void> {
  await server?.stop();
}
