// Expands each snippet of the extension as somebody would who presses Tab through it, and has npc read it:
// node snippets.mjs NPC EXTENSION
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const [npc, extension] = process.argv.slice(2).map(argument => resolve(argument));
const snippets = JSON.parse(readFileSync(join(extension, "snippets/np.json"), "utf8"));

/** Each text that a snippet becomes: one for each of its choices. */
function expansions(body) {
  const defaults = new Map();
  const choices = [...body.matchAll(/\$\{(\d+)\|((?:\\.|[^|])*)\|\}/g)];
  const most = Math.max(1, ...choices.map(([, , options]) => split(options).length));
  return Array.from({ length: most }, (_, turn) => body
    .replace(/\$\{(\d+)\|((?:\\.|[^|])*)\|\}/g, (_, __, options) => split(options)[turn % split(options).length])
    .replace(/\$\{(\d+):((?:\\.|[^}\\])*)\}/g, (_, number, text) => {
      defaults.set(number, text.replaceAll(/\\(.)/g, "$1"));
      return defaults.get(number);
    })
    .replace(/\$(\d+)/g, (_, number) => defaults.get(number) ?? ""));
}

function split(options) {
  return options.split(/(?<!\\),/).map(option => option.replaceAll(/\\(.)/g, "$1"));
}

const folder = mkdtempSync(join(tmpdir(), "npc-snippets-"));
let read = 0;
try {
  writeFileSync(join(folder, "sets.np"), "let dns = udp/53\n");
  const file = join(folder, "program.np");
  for (const [name, { body }] of Object.entries(snippets)) {
    for (const text of expansions([body].flat().join("\n"))) {
      // A rule stands in a policy.
      const isRule = /^(allow|isolate)/.test(text);
      const program = isRule ? `policy web for all pods in namespace shop {\n  ${text}\n}\n` : `${text}\n`;
      writeFileSync(file, program);
      try {
        execFileSync(npc, ["check", file, "--format", "short"], { stdio: "pipe" });
      } catch (error) {
        assert.fail(`${name}:\n${program}\n${error.stdout}${error.stderr}`);
      }
      execFileSync(npc, ["fmt", file], { stdio: "pipe" });
      assert.equal(readFileSync(file, "utf8"), program, `${name} is not in the one style`);
      read += 1;
    }
  }
  // What the walkthrough begins with is right in every way.
  const example = join(extension, "walkthrough/example.np");
  execFileSync(npc, ["check", "--deny", "warnings", example], { stdio: "pipe" });
  execFileSync(npc, ["fmt", "--check", example], { stdio: "pipe" });
  execFileSync(npc, ["test", example], { stdio: "pipe" });
} finally {
  rmSync(folder, { recursive: true });
}
console.log(`snippets: ${Object.keys(snippets).length} in ${read} expansions, and the example, read by npc, as expected`);
