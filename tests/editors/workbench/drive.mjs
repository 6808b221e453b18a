// Uses the extension as somebody would who writes a first program:
// node drive.mjs NPC EDITOR_SERVER EXTENSION OUTPUT_FOLDER [WORDS]
// With words, only the first step and those that have one of them in their names.
import { mkdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { chromium } from "playwright-core";
import { Editor } from "./editor.mjs";
import { Story } from "./story.mjs";
import { steps } from "./steps.mjs";
import { PATIENCE, Workbench } from "./workbench.mjs";

const [npc, entry, extension, output] = process.argv.slice(2).map(argument => resolve(argument));
const words = process.argv.slice(6);
const chosen = Object.entries(steps).filter(([name], place) =>
  place === 0 || words.length === 0 || words.some(word => name.includes(word)));
const pictures = join(output, "screenshots");
rmSync(pictures, { recursive: true, force: true });
mkdirSync(pictures, { recursive: true });

const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const editor = new Editor(entry, join(output, "editor"));
// However this ends, the editor's server ends with it.
process.on("exit", () => editor.stop());
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(1));

editor.install(extension);
const story = new Story(npc, editor, join(output, "workspace"));
await editor.start();
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: flags });
let passed = 0;
let taken = 0;
const failures = [];
try {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, serviceWorkers: "allow" });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const workbench = new Workbench(page);
  for (const [number, [name, step]] of chosen.entries()) {
    const begun = Date.now();
    const picture = async part => {
      const title = [String(number + 1).padStart(2, "0"), name, part].filter(Boolean).join(" ");
      // What fades in or out has done so.
      await page.waitForTimeout(400);
      await page.screenshot({ path: join(pictures, `${title.replaceAll(/[^a-zA-Z0-9]+/g, "-")}.png`) });
      taken += 1;
    };
    try {
      await step(workbench, story, picture);
      await picture();
      passed += 1;
      console.log(`ok      ${name} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
    } catch (error) {
      failures.push(name);
      console.log(`FAILED  ${name}: ${error.message}`);
      await picture("failed").catch(() => {});
      // What a step leaves open is none of the next one's.
      await workbench.press("Escape", "Escape", "Escape").catch(() => {});
    }
  }
} finally {
  await browser.close();
  editor.stop();
}
const told = failures.length === 0 ? `${passed} steps as expected` : `${passed} steps as expected, ${failures.length} not`;
console.log(`workbench: ${told}, ${taken} screenshots in ${pictures}`);
process.exitCode = failures.length === 0 ? 0 : 1;
