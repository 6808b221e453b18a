// Starts and stops the language server, and sends it requests.

import * as vscode from "vscode";
import {
  type CancellationToken,
  DidChangeConfigurationNotification,
  DidChangeWatchedFilesNotification,
  FileChangeType,
  LanguageClient,
  LSPErrorCodes,
  ErrorCodes,
  ResponseError,
  RevealOutputChannelOn,
  State as ClientState,
} from "vscode-languageclient/node";
import { clusterSetting } from "./cluster";
import { provideCompletionItem } from "./completion";
import { findProgram, Unusable } from "./program";
import { LENS_COMMANDS, type Refusal, type Requests } from "./protocol";

export type State =
  | { is: "starting" }
  | { is: "running"; version: string }
  | { is: "stopped" }
  /** `why` is shown to the user. */
  | { is: "failed"; why: string };

export class Server implements vscode.Disposable {
  readonly output = vscode.window.createOutputChannel("npc");
  private readonly changed = new vscode.EventEmitter<State>();
  /** Fires when the state of the server changes. */
  readonly onDidChangeState = this.changed.event;
  private state: State = { is: "stopped" };
  private client: LanguageClient | undefined;
  /** Serialises starts and stops. */
  private turn: Promise<void> = Promise.resolve();
  /** The requests that this server does not support, to log each only once. */
  private readonly unknown = new Set<string>();

  get current(): State {
    return this.state;
  }

  /** Starts the server, or restarts it. */
  restart(): Promise<void> {
    this.turn = this.turn.then(() => this.startAnew());
    return this.turn;
  }

  /**
   * Sends a request to the server. On failure returns a refusal with a reason for the user; unexpected
   * errors are also written to the output.
   */
  async ask<M extends keyof Requests>(
    method: M,
    params: Requests[M][0],
    token?: CancellationToken,
  ): Promise<Requests[M][1] | Refusal> {
    await this.turn;
    if (!this.client || this.state.is !== "running") return { why: "The language server is not running." };
    try {
      // Do not pass `undefined` as the token: the client would take it for another parameter.
      const found = await (token
        ? this.client.sendRequest<Requests[M][1] | null>(method, params, token)
        : this.client.sendRequest<Requests[M][1] | null>(method, params));
      return found ?? { why: "The language server does not know this file." };
    } catch (error) {
      return { why: this.told(method, error) };
    }
  }

  /** Notifies the server of a change of the cluster file, which it does not watch itself. */
  async tellClusterChanged(uri: vscode.Uri): Promise<void> {
    if (this.state.is !== "running") return;
    const changes = [{ uri: uri.toString(), type: FileChangeType.Changed }];
    await this.client?.sendNotification(DidChangeWatchedFilesNotification.type, { changes });
  }

  /** Notifies the server that the setting `npc.cluster` changed. */
  async tellCluster(): Promise<void> {
    if (this.state.is !== "running") return;
    const settings = { npc: { cluster: clusterSetting() } };
    await this.client?.sendNotification(DidChangeConfigurationNotification.type, { settings });
  }

  dispose(): void {
    void this.stop();
    vscode.Disposable.from(this.output, this.changed).dispose();
  }

  /** Stops the server. Listeners are notified of the new state. */
  async stop(): Promise<void> {
    const client = this.client;
    this.client = undefined;
    if (!client) return;
    try {
      await client.dispose();
    } catch (error) {
      this.output.appendLine(`The language server did not stop properly: ${String(error)}`);
    }
  }

  private async startAnew(): Promise<void> {
    this.become({ is: "starting" });
    await this.stop();
    this.unknown.clear();
    try {
      const { path, version } = await findProgram();
      this.output.appendLine(`Starting ${path} lsp (version ${version})`);
      const client = this.makeClient(path);
      this.client = client;
      client.onDidChangeState(({ newState }) => this.follow(client, newState, version));
      await client.start();
    } catch (error) {
      const why =
        error instanceof Unusable ? error.message : `The language server failed to start: ${String(error)}`;
      this.output.appendLine(why);
      this.become({ is: "failed", why });
    }
  }

  /** The client restarts a server that crashed, and gives up after repeated crashes. */
  private follow(client: LanguageClient, state: ClientState, version: string): void {
    if (client !== this.client) return;
    if (state === ClientState.Running) {
      this.become({ is: "running", version: client.initializeResult?.serverInfo?.version ?? version });
    } else {
      this.become({ is: state === ClientState.Starting ? "starting" : "stopped" });
    }
  }

  private makeClient(command: string): LanguageClient {
    return new LanguageClient(
      "npc",
      "npc",
      { command, args: ["lsp"] },
      {
        documentSelector: [
          { language: "np", scheme: "file" },
          { language: "np", scheme: "untitled" },
        ],
        outputChannel: this.output,
        revealOutputChannelOn: RevealOutputChannelOn.Never,
        initializationOptions: { cluster: clusterSetting(), commands: LENS_COMMANDS },
        middleware: { provideCompletionItem },
      },
    );
  }

  private become(state: State): void {
    this.state = state;
    this.changed.fire(state);
  }

  private told(method: string, error: unknown): string {
    const code = error instanceof ResponseError ? error.code : undefined;
    if (code === ErrorCodes.MethodNotFound) {
      if (!this.unknown.has(method))
        this.output.appendLine(`This version of npc does not support the request ${method}.`);
      this.unknown.add(method);
      return "This version of npc does not support this. Install a newer version.";
    }
    const isPassing = [LSPErrorCodes.RequestCancelled, LSPErrorCodes.ContentModified].some(
      (own) => own === code,
    );
    if (!isPassing) this.output.appendLine(`${method}: ${String(error)}`);
    return "The language server reported an error. See its output.";
  }
}
