// The tests and assertions of the workspace, in the Testing view, including those in unsaved text.

import * as vscode from "vscode";
import type { Range } from "vscode-languageclient/node";
import type { Changes } from "./changes";
import type { Server } from "./client";
import type { Result, Test } from "./protocol";

export class Tests implements vscode.Disposable {
  private readonly controller = vscode.tests.createTestController("npc", "npc");
  private readonly parts: vscode.Disposable[];
  /** The server's data for each item. */
  private readonly known = new WeakMap<vscode.TestItem, Test>();
  /** The requests of continuous runs, which run again after each change until they are cancelled. */
  private readonly continuous = new Set<vscode.TestRunRequest>();

  constructor(
    private readonly server: Server,
    changes: Changes,
  ) {
    const profile = this.controller.createRunProfile(
      "Run",
      vscode.TestRunProfileKind.Run,
      (request, token) => this.start(request, token),
      true,
      undefined,
      true,
    );
    this.controller.refreshHandler = () => this.refresh();
    this.parts = [this.controller, profile, changes.onDidChange(() => void this.renew())];
  }

  dispose(): void {
    vscode.Disposable.from(...this.parts).dispose();
  }

  /** Runs one test, for its code lens. */
  async runOne(uri: string, id: string): Promise<void> {
    await this.refresh();
    const file = this.controller.items.get(vscode.Uri.parse(uri).toString());
    const item = file && [...leaves(file)].find((own) => own.id === id);
    if (!item) {
      void vscode.window.showInformationMessage("This test no longer exists.");
      return;
    }
    await this.start(new vscode.TestRunRequest([item]), new vscode.CancellationTokenSource().token);
  }

  private async renew(): Promise<void> {
    // The results are of an older text.
    this.controller.invalidateTestResults();
    await this.refresh();
    for (const request of this.continuous) await this.run(again(request));
  }

  /** Updates the items from the server. Items that still exist are kept, with their results. */
  private async refresh(): Promise<void> {
    const found = await this.server.ask("npc/tests", {});
    if (!Array.isArray(found)) return;
    const files = grouped(found, (test) => vscode.Uri.parse(test.uri).toString());
    for (const [key] of this.controller.items) if (!files.has(key)) this.controller.items.delete(key);
    for (const [key, tests] of files) this.take(key, tests);
  }

  private take(key: string, tests: Test[]): void {
    const uri = vscode.Uri.parse(key);
    let file = this.controller.items.get(key);
    if (!file) {
      file = this.controller.createTestItem(key, vscode.workspace.asRelativePath(uri), uri);
      this.controller.items.add(file);
    }
    const { children } = file;
    const there = new Set(tests.map(({ id }) => id));
    for (const [id] of children) if (!there.has(id)) children.delete(id);
    for (const [place, test] of tests.entries()) {
      let item = children.get(test.id);
      if (!item) {
        item = this.controller.createTestItem(test.id, test.name, uri);
        children.add(item);
      }
      this.known.set(item, test);
      item.label = test.name;
      item.description = test.kind === "assert" ? "proved for every cluster" : "";
      item.range = range(test.range);
      item.sortText = String(place).padStart(6, "0");
    }
  }

  private async start(request: vscode.TestRunRequest, token: vscode.CancellationToken): Promise<void> {
    if (request.continuous) {
      this.continuous.add(request);
      token.onCancellationRequested(() => this.continuous.delete(request));
    }
    await this.run(request.continuous ? again(request) : request, token);
  }

  private async run(request: vscode.TestRunRequest, token?: vscode.CancellationToken): Promise<void> {
    const run = this.controller.createTestRun(request);
    const chosen = new Set<vscode.TestItem>();
    const roots = request.include ?? [...this.controller.items].map(([, item]) => item);
    for (const item of roots.flatMap((root) => [...leaves(root)])) {
      const isLeftOut = request.exclude?.some((left) => left === item || left === item.parent) ?? false;
      if (!isLeftOut) chosen.add(item);
    }
    const files = grouped(chosen, (item) => item.uri?.toString() ?? "");
    for (const [uri, items] of files) {
      if (token?.isCancellationRequested) break;
      for (const item of items) run.started(item);
      const ids = items.map(({ id }) => id);
      const answer = await this.server.ask("npc/runTests", { textDocument: { uri }, ids }, token);
      if ("why" in answer) {
        for (const item of items) run.errored(item, new vscode.TestMessage(answer.why));
        continue;
      }
      const results = new Map(answer.results.map((result) => [result.id, result]));
      for (const item of items) tell(run, item, results.get(item.id), this.known.get(item)?.kind);
    }
    run.end();
  }
}

/** A new request for each continuous run: otherwise a failure in one run would persist in all later ones. */
function again({ include, exclude, profile }: vscode.TestRunRequest): vscode.TestRunRequest {
  return new vscode.TestRunRequest(include, exclude, profile, true);
}

function tell(run: vscode.TestRun, item: vscode.TestItem, result?: Result, kind?: Test["kind"]): void {
  if (!result) {
    run.skipped(item);
    return;
  }
  const judged = result.connections === 1 ? "1 connection" : `${result.connections} connections`;
  const by = kind === "assert" ? "every possible cluster" : judged;
  run.appendOutput(`${result.passed ? "ok    " : "FAILED"} ${item.label} (${by})\r\n`, undefined, item);
  if (result.passed) {
    run.passed(item);
    return;
  }
  const messages = result.failures.map((failure) => {
    const message = new vscode.TestMessage(failure.message);
    message.location = new vscode.Location(vscode.Uri.parse(failure.uri), range(failure.range));
    return message;
  });
  run.failed(item, messages);
}

function* leaves(item: vscode.TestItem): Generator<vscode.TestItem> {
  if (item.children.size === 0) yield item;
  for (const [, child] of item.children) yield* leaves(child);
}

function range({ start, end }: Range): vscode.Range {
  return new vscode.Range(start.line, start.character, end.line, end.character);
}

function grouped<T>(all: Iterable<T>, key: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const group = groups.get(key(one));
    if (group) group.push(one);
    else groups.set(key(one), [one]);
  }
  return groups;
}
