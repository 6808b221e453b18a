// The requests of `npc lsp` beyond the Language Server Protocol.

import type { Range, TextDocumentIdentifier } from "vscode-languageclient/node";

/** A request that the server could not answer, with the reason. */
export interface Refusal {
  why: string;
}

interface OfDocument {
  textDocument: TextDocumentIdentifier;
}

interface Place {
  uri: string;
  range: Range;
}

export interface YamlParams extends OfDocument {
  target: string;
  policy?: string;
}

export interface Yaml {
  text: string;
  /** The first line of the requested policy's output, from zero. */
  line?: number | null;
}

export interface PodsParams extends OfDocument {
  policy: string;
}

/** A test or an assertion, with its location. */
export interface Test extends Place {
  id: string;
  name: string;
  kind: "test" | "assert";
}

export interface RunTestsParams extends OfDocument {
  ids: string[];
}

export interface Result {
  id: string;
  passed: boolean;
  /** The number of connections that were evaluated. */
  connections: number;
  failures: (Place & { message: string })[];
}

/** The parameters and the result of each request. */
export interface Requests {
  "npc/yaml": [YamlParams, Yaml | Refusal];
  "npc/reach": [OfDocument, { html: string } | Refusal];
  "npc/pods": [PodsParams, { pods: string[] } | Refusal];
  "npc/tests": [Partial<OfDocument>, Test[]];
  "npc/runTests": [RunTestsParams, { results: Result[] } | Refusal];
}

/** The code lens commands that the extension implements instead of the server. */
export const LENS_COMMANDS = ["npc.runTest", "npc.showYaml", "npc.showPods"];
