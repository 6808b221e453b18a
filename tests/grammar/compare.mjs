// Compares the grammars of editors with the compiler: which files are whole, and of each token whether it is
// a keyword, a name, a string or a comment. Takes what `cargo run -p npc-syntax --example tokens` prints, the
// tree-sitter command, and the folder of the grammars.
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import oniguruma from "vscode-oniguruma";
import textmate from "vscode-textmate";

const [tokens, treeSitter, folder] = process.argv.slice(2);
const grammars = path.resolve(folder);
const files = readFileSync(tokens, "utf8").trim().split("\n").map((line) => JSON.parse(line));

const wasm = readFileSync(createRequire(import.meta.url).resolve("vscode-oniguruma/release/onig.wasm"));
await oniguruma.loadWASM(wasm.buffer.slice(wasm.byteOffset, wasm.byteOffset + wasm.byteLength));
const registry = new textmate.Registry({
  onigLib: Promise.resolve({
    createOnigScanner: (patterns) => new oniguruma.OnigScanner(patterns),
    createOnigString: (text) => new oniguruma.OnigString(text),
  }),
  loadGrammar: async () => {
    const file = path.join(grammars, "np.tmLanguage.json");
    return textmate.parseRawGrammar(readFileSync(file, "utf8"), file);
  },
});
const grammar = await registry.loadGrammar("source.np");

/** Where each line begins, in bytes. */
function lines(bytes) {
  const starts = [0];
  bytes.forEach((byte, at) => {
    if (byte === 10) starts.push(at + 1);
  });
  return starts;
}

/** The scopes of TextMate at a line and a column, by the place in bytes. */
function scopes(bytes) {
  const starts = lines(bytes);
  let stack = textmate.INITIAL;
  const found = new Map();
  starts.forEach((start, number) => {
    const line = bytes.subarray(start, starts[number + 1] ?? bytes.length).toString("utf8").replace(/\r?\n$/, "");
    const result = grammar.tokenizeLine(line, stack);
    stack = result.ruleStack;
    for (const token of result.tokens) {
      // Every place of it, so that a token may begin within.
      let at = start + Buffer.byteLength(line.slice(0, token.startIndex));
      for (const character of line.slice(token.startIndex, token.endIndex)) {
        found.set(at, token.scopes);
        at += Buffer.byteLength(character);
      }
    }
  });
  return found;
}

/** What tree-sitter's query for highlights calls what begins at a place; of two, the last. */
function captures(file, bytes) {
  const query = path.join(grammars, "tree-sitter-np/queries/highlights.scm");
  const printed = execFileSync(treeSitter, ["query", "--captures", query, path.resolve(file)], {
    cwd: path.join(grammars, "tree-sitter-np"),
    encoding: "utf8",
    maxBuffer: 1 << 28,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const starts = lines(bytes);
  const found = new Map();
  for (const [, name, row, column] of printed.matchAll(/capture: (?:\d+ - )?([\w.]+), start: \((\d+), (\d+)\)/g)) {
    found.set(starts[Number(row)] + Number(column), name);
  }
  return found;
}

const is = {
  textmate: {
    keyword: (scopes) => scopes.some((scope) => scope.startsWith("keyword.")),
    name: (scopes) => !scopes.some((scope) => scope.startsWith("keyword.")),
    string: (scopes) => scopes.some((scope) => scope.startsWith("string.quoted.")),
    arrow: (scopes) => scopes.some((scope) => scope.startsWith("keyword.operator.arrow")),
    comment: (scopes) => scopes.some((scope) => scope.startsWith("comment.line.double-slash")),
    documentation: (scopes) => scopes.some((scope) => scope.startsWith("comment.line.documentation")),
  },
  treeSitter: {
    keyword: (name) => name?.startsWith("keyword"),
    name: (name) => name !== undefined && !name.startsWith("keyword"),
    string: (name) => name?.startsWith("string"),
    arrow: (name) => name === "operator",
    comment: (name) => name === "comment",
    documentation: (name) => name === "comment.documentation",
  },
};

// What the compiler refuses though the grammar has it, and why.
const limits = [
  "tests/broken/syntax/nested-deeply.np",
  "tests/broken/habits/except-names.np", // a list without its parentheses, which another check refuses
];

const wrong = [];
let whole = 0, broken = 0, compared = 0;
for (const file of files) {
  if (limits.some((path) => file.path.endsWith(path))) continue;
  const bytes = readFileSync(file.path);
  const parsed = spawnSync(treeSitter, ["parse", "--quiet", path.resolve(file.path)], {
    cwd: path.join(grammars, "tree-sitter-np"),
    encoding: "utf8",
  });
  if ((parsed.status !== 0) !== file.broken) {
    wrong.push(`${file.path}: ${file.broken ? "broken" : "whole"}, and tree-sitter takes it otherwise: ${parsed.stdout.trim()}`);
    continue;
  }
  const places = scopes(bytes);
  if (file.broken) {
    broken += 1;
    continue;
  }
  whole += 1;
  const names = captures(file.path, bytes);
  for (const [start, end, kind] of file.tokens) {
    if (kind === "other") continue;
    compared += 1;
    const text = bytes.subarray(start, end).toString();
    const line = bytes.subarray(0, start).filter((byte) => byte === 10).length + 1;
    if (!is.textmate[kind](places.get(start) ?? [])) {
      wrong.push(`${file.path}:${line}: \`${text}\` is a ${kind}, and TextMate says ${(places.get(start) ?? []).join(" ")}`);
    }
    if (!is.treeSitter[kind](names.get(start))) {
      wrong.push(`${file.path}:${line}: \`${text}\` is a ${kind}, and tree-sitter says ${names.get(start)}`);
    }
  }
}
wrong.slice(0, 40).forEach((line) => console.log(line));
console.log(`grammar: ${whole} whole files and ${broken} broken ones, ${compared} tokens, ${wrong.length} otherwise than the compiler`);
process.exit(wrong.length > 0 ? 1 : 0);
