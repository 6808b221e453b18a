// What `npc lsp` offers beyond the protocol of language servers.

import type { Range, TextDocumentIdentifier } from "vscode-languageclient/node";

/** What could not be done, in words. */
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
  /** Where the output of the policy that was asked for begins, from zero. */
  line?: number | null;
}

export interface PodsParams extends OfDocument {
  policy: string;
}

/** A test or an assertion, at its place. */
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
  /** How many connections were judged. */
  connections: number;
  failures: (Place & { message: string })[];
}

/** Each request: what is asked, and what is answered. */
export interface Requests {
  "npc/yaml": [YamlParams, Yaml | Refusal];
  "npc/reach": [OfDocument, { html: string } | Refusal];
  "npc/pods": [PodsParams, { pods: string[] } | Refusal];
  "npc/tests": [Partial<OfDocument>, Test[]];
  "npc/runTests": [RunTestsParams, { results: Result[] } | Refusal];
}

/** The commands of code lenses that the extension carries out; the server need not. */
export const LENS_COMMANDS = ["npc.runTest", "npc.showYaml", "npc.showPods"];
