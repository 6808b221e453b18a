// What somebody does with the extension, in this order, and what they then see.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { CLUSTER, PROGRAM, SETS } from "./story.mjs";

/** Opens a file with this text, whatever was typed into it before. */
async function given(workbench, story, name, text) {
  await workbench.file(name);
  await workbench.command("File: Revert File");
  story.write(name, text);
  await workbench.press("Control+Home");
  // Hints may stand between the words; what is further down may be out of sight.
  const wanted = text.split("\n").map(line => line.slice(0, 12).trimEnd());
  await workbench.seeLines(`the text of ${name}`, lines =>
    lines.length > 3 && lines.every((line, number) => wanted[number] !== undefined && line.startsWith(wanted[number])));
}

/** Only the editor at the left, and nothing below. */
async function alone(workbench) {
  await workbench.press("Control+1");
  await workbench.command("View: Close Editors in Other Groups");
  if (await workbench.page.locator(".part.panel").isVisible()) await workbench.press("Control+j");
}

async function status(workbench, isSo, patience) {
  const item = workbench.page.locator("#npc-lang\\.npc\\.npc\\.server");
  return workbench.see("npc in the status bar", () => item.textContent({ timeout: 1000 }), isSo, patience);
}

const problems = workbench => workbench.page.locator(".markers-panel .monaco-list-row").allTextContents();

/** The rows of the Testing view: what each is called, and how it went. */
const tests = workbench => workbench.page.locator(".test-explorer-tree .monaco-list-row, .test-explorer .monaco-list-row")
  .evaluateAll(rows => rows.map(row => [
    row.querySelector(".label")?.textContent,
    /testing-(\w+)-icon|codicon-testing-(\w+)/.exec(row.querySelector(".computed-state")?.className)?.slice(1).find(Boolean),
  ]));

export const steps = {
  "a folder is opened, and the server runs": async (workbench, story) => {
    await workbench.open(story.editor.address, story.folder);
    const rows = await workbench.page.locator(".explorer-folders-view .monaco-list-row").allTextContents();
    for (const name of ["policies.np", "sets.np"]) assert.ok(rows.some(row => row.includes(name)), `${name} is listed`);
    await workbench.file("sets.np");
    await workbench.file("policies.np");
    await status(workbench, text => /^\s*npc \d+\.\d+\.\d+/.test(text), 60_000);
  },

  "a program is typed from nothing, with completion": async (workbench, _story, picture) => {
    await workbench.group().click();
    await workbench.type("imp");
    await workbench.page.locator(".suggest-widget.visible").waitFor();
    await picture("items");
    await workbench.accept("import", "Snippet");
    await workbench.press("End");
    await workbench.enter();
    await workbench.enter();
    // A comment that documents goes on in the next line.
    await workbench.type("/// The database answers checkout,");
    await workbench.enter();
    await workbench.type("and asks nobody.");
    await workbench.seeLines("the comment going on", lines => lines.includes("/// and asks nobody."));
    await workbench.enter();
    await workbench.press("Shift+Home", "Delete");
    await workbench.type("pol");
    await workbench.accept("policy", "Keyword");
    await workbench.type(" database for ");
    await workbench.press("Control+Space");
    await picture("pods");
    await workbench.accept("pods {");
    await workbench.type("app = pos");
    await workbench.press("Control+Space");
    await picture("labels");
    await workbench.accept("postgres");
    await workbench.press("Tab");
    await workbench.type("namespace pay");
    await workbench.press("Control+Space");
    await workbench.accept("payments");
    await workbench.type(" {");
    await workbench.enter();
    await workbench.type("allow ingress from ");
    await workbench.press("Control+Space");
    await picture("sets");
    await workbench.accept("checkout");
    await workbench.type(" on ");
    await workbench.press("Control+Space");
    await picture("ports");
    await workbench.type("tcp/5432");
    await workbench.enter();
    await workbench.type("isolate egress");
    await workbench.press("Escape");
    // The brackets have closed by themselves, and the lines are where they belong.
    await workbench.seeLines("the program", lines => lines.join("\n") === `import "sets.np"

/// The database answers checkout,
/// and asks nobody.
policy database for pods { app = postgres } in namespace payments {
  allow ingress from checkout on tcp/5432
  isolate egress
}`);
  },

  "a mistake is underlined, and listed": async (workbench, story) => {
    await given(workbench, story, "policies.np", PROGRAM);
    await workbench.command("Problems: Focus on Problems View");
    await workbench.see("no problem", () => problems(workbench), rows => rows.length === 0);
    await workbench.file("policies.np");
    await workbench.click("allow ingress", "checkout");
    await workbench.press("Backspace");
    const squiggle = workbench.group().locator(".squiggly-error");
    await workbench.see("an underlined word", () => squiggle.count(), count => count > 0);
    await workbench.see("the mistake in the list", () => problems(workbench), rows => rows.some(row => /NP\d{4}/.test(row)));
  },

  "the mistake is repaired": async (workbench, story, picture) => {
    const broken = (await workbench.lines()).find(line => line.includes("allow ingress"));
    const word = /from (\S+)/.exec(broken)[1];
    await workbench.click("allow ingress", word);
    await workbench.press("Control+.");
    const action = workbench.page.locator(".action-widget .monaco-list-row").filter({ hasText: "checkout" }).first();
    await action.waitFor();
    await picture("offered");
    await action.click();
    await workbench.seeLines("the rule repaired", lines => lines.some(line => line.startsWith("  allow ingress from checkout on")));
    await workbench.see("no problem", () => problems(workbench), rows => rows.length === 0);
  },

  "a policy tells what it means": async (workbench, story) => {
    await given(workbench, story, "policies.np", PROGRAM);
    await alone(workbench);
    await workbench.hover("policy database", "database", told => /database/.test(told) && /asks nobody/.test(told));
    await workbench.page.locator(".monaco-hover .monaco-tokenized-source").first().waitFor();
  },

  "a set leads to its definition": async (workbench, story) => {
    await given(workbench, story, "policies.np", PROGRAM);
    await workbench.click("allow ingress", "checkout");
    await workbench.press("F12");
    await workbench.see("the tab of sets.np", () => workbench.activeTab(), tab => tab === "sets.np");
    const place = workbench.page.locator("#status\\.editor\\.selection");
    await workbench.see("the cursor at the set", () => place.textContent(), text => /Ln 3, Col 5\b/.test(text));
  },

  "a set is renamed in both files": async (workbench, story, picture) => {
    await given(workbench, story, "sets.np", SETS);
    await given(workbench, story, "policies.np", PROGRAM);
    await workbench.click("allow ingress", "checkout");
    await workbench.press("F2");
    const box = workbench.page.locator(".rename-box input");
    await box.waitFor();
    assert.equal(await box.inputValue(), "checkout");
    await box.fill("cart");
    await picture("asked");
    await box.press("Enter");
    await workbench.seeLines("the set's use renamed", lines => lines.some(line => line.startsWith("  allow ingress from cart on")));
    await workbench.file("sets.np");
    await workbench.seeLines("the set renamed", lines => lines.some(line => line.startsWith("let cart")));
  },

  "a program gets the one style": async (workbench, story) => {
    await given(workbench, story, "sets.np", SETS);
    const messy = PROGRAM.replace("  allow ingress from checkout", " allow  ingress from   checkout").replace("  isolate", "isolate");
    await given(workbench, story, "policies.np", messy);
    await workbench.command("Format Document");
    await workbench.seeLines("the style", lines =>
      lines.some(line => line.startsWith("  allow ingress from checkout on tcp/5432")) && lines.includes("  isolate egress"));
  },

  "words are coloured by what they mean": async (workbench, story) => {
    await given(workbench, story, "policies.np", PROGRAM);
    const colour = async (line, word) => {
      const { x, y } = await workbench.place(line, word);
      return workbench.page.evaluate(([x, y]) => getComputedStyle(document.elementFromPoint(x, y)).color, [x, y]);
    };
    const colours = await Promise.all([["policy database", "policy"], ["policy database", "database"], ["allow ingress", "checkout"]]
      .map(([line, word]) => colour(line, word)));
    assert.equal(new Set(colours).size, 3, `three colours: ${colours}`);
    await workbench.click("allow ingress", "checkout");
    await workbench.command("Developer: Inspect Editor Tokens and Scopes");
    const widget = workbench.page.locator(".token-inspect-widget");
    await workbench.see("what the server says of the word", () => widget.textContent(), text => /semantic token type/.test(text));
  },

  "a policy has its lenses": async (workbench, story) => {
    await workbench.press("Escape", "Escape");
    await given(workbench, story, "policies.np", PROGRAM);
    const lenses = workbench.group().locator(".codelens-decoration a");
    await workbench.see("the lenses", () => lenses.allTextContents(), all => all.some(text => /yaml/i.test(text))
      && all.some(text => /run/i.test(text)) && all.some(text => /2 pods/i.test(text)));
  },

  "a lens tells the pods of a policy": async (workbench) => {
    const lens = workbench.group().locator(".codelens-decoration a").filter({ hasText: "Selects 2 pods" }).first();
    await lens.click();
    const rows = workbench.page.locator(".quick-input-list .monaco-list-row .label-name");
    await workbench.see("the pods", () => rows.allTextContents(), all => all.join(" ") === "postgres-0 postgres-1");
  },

  "a selector has its count": async (workbench, story) => {
    await workbench.press("Escape", "Escape");
    await given(workbench, story, "policies.np", PROGRAM);
    await workbench.see("how many pods there are", () => workbench.hints("policy database"), all => all.join() === "2 pods");
    await workbench.see("what a set holds", () => workbench.hints("allow egress to kube-dns"), all => all.includes("udp/53, tcp/53"));
  },

  "tests run in the Testing view": async (workbench, story, picture) => {
    await given(workbench, story, "policies.np", PROGRAM);
    await alone(workbench);
    await workbench.command("Testing: Focus on Test Explorer View");
    await workbench.see("the file in the tree", () => tests(workbench), rows => rows.some(([label]) => label?.startsWith("policies.np")));
    const file = workbench.page.locator(".test-explorer .monaco-list-row", { hasText: "policies.np" });
    if (await file.getAttribute("aria-expanded") === "false") await file.locator(".monaco-tl-twistie").click();
    await workbench.command("Test: Run All Tests");
    await workbench.see("what passes and what fails", () => tests(workbench), rows => {
      const result = start => rows.find(([label]) => label?.startsWith(start))?.[1];
      return result("checkout reaches") === "passed" && result("the database asks") === "failed" && result("assert") === "passed";
    });
    await picture("tree");
    await alone(workbench);
    await workbench.file("policies.np");
    // The message stands at the line that fails.
    const message = workbench.group().locator(".test-error-content-widget, .testing-inline-message-content, .test-message-inline-content");
    await workbench.see("the message at its line", async () => (await message.allTextContents()).join(), text => /den|allow/i.test(text));
  },

  "a test that is repaired passes, before it is saved": async (workbench) => {
    await workbench.click("allow payments/postgres", "allow");
    await workbench.press("Home", "Control+Shift+ArrowRight");
    await workbench.type("deny");
    await workbench.press("Escape");
    await workbench.seeLines("the line", lines => lines.some(line => line.startsWith("  deny payments/postgres")));
    const lens = workbench.group().locator(".codelens-decoration a", { hasText: "Run test" }).nth(1);
    await lens.click();
    await workbench.see("the test passing", () => tests(workbench), rows => rows.some(([label, result]) =>
      label?.startsWith("the database asks") && result === "passed"));
  },

  "tests run by themselves while one types": async (workbench, story) => {
    await given(workbench, story, "policies.np", PROGRAM);
    const turn = async way => workbench.page.locator(`.codicon-testing-turn-continuous-run-${way}`).first().click();
    await workbench.command("Testing: Focus on Test Explorer View");
    await turn("on");
    await workbench.click("isolate egress", "egress");
    await workbench.press("End", "Enter");
    await workbench.type("allow egress to checkout");
    await workbench.press("Escape");
    const result = start => async () => (await tests(workbench)).find(([label]) => label?.startsWith(start))?.[1];
    await workbench.see("the test that now passes", result("the database asks"), found => found === "passed");
    await workbench.see("the assertion that now fails", result("assert"), found => found === "failed");
    await turn("off");
  },

  "the YAML stands beside, and follows what is typed": async (workbench, story, picture) => {
    await workbench.command("View: Show Explorer");
    await given(workbench, story, "policies.np", PROGRAM);
    await workbench.command("npc: Show Kyverno YAML");
    await workbench.seeLines("the YAML", lines => lines.some(line => line.includes("kind: ClusterPolicy")), 1);
    await picture("before");
    await workbench.click("policy database", "database");
    await workbench.press("ArrowLeft", "ArrowRight");
    await workbench.type("x");
    await workbench.press("Escape");
    const name = (await workbench.lines()).find(line => line.startsWith("policy ")).split(" ")[1];
    assert.notEqual(name, "database");
    await workbench.seeLines("the new name", lines => lines.some(line => line.endsWith(`name: netpol-${name}`)), 1);
    // While there is a mistake, what was there stays, and says so.
    await workbench.type("{");
    await workbench.seeLines("what was there before", lines => lines[0].startsWith("# Not up to date: ") && lines.some(line =>
      line.endsWith(`name: netpol-${name}`)), 1);
  },

  "a lens goes to its policy's YAML": async (workbench, story) => {
    await alone(workbench);
    await given(workbench, story, "policies.np", PROGRAM);
    const lens = workbench.group().locator(".codelens-decoration a").filter({ hasText: /yaml/i });
    await workbench.see("both lenses", () => lens.count(), count => count === 2);
    await lens.nth(1).click();
    await workbench.seeLines("the second policy near the top", lines => lines.slice(0, 10).some(line => line.endsWith("name: netpol-shop")), 1);
  },

  "who reaches whom stands beside, and follows what is typed": async (workbench, story, picture) => {
    await alone(workbench);
    await given(workbench, story, "policies.np", PROGRAM);
    await workbench.command("npc: Show Reachability");
    const page = workbench.webview();
    const count = page.locator("#count");
    const before = await workbench.see("the page", () => count.textContent({ timeout: 1000 }), text => /\d+ allowed$/.test(text), 30_000);
    await page.locator("td button.part").first().click();
    await workbench.see("the reason", () => page.locator("#reason").textContent(), text => /rule \d of policy (database|shop)/.test(text));
    await picture("reason");
    await page.locator("#to").fill("payments");
    const searched = await count.textContent();
    assert.notEqual(searched, before);
    await workbench.click("allow ingress", "tcp/5432");
    await workbench.press("End", "Enter");
    await workbench.type("allow ingress from all pods in same namespace");
    await workbench.press("Escape");
    await workbench.see("what that changes", () => count.textContent({ timeout: 1000 }),
      text => /\d+ allowed$/.test(text) && text !== searched);
    // What was searched for stays.
    assert.equal(await page.locator("#to").inputValue(), "payments");
    // A pod that is new in the cluster.
    const rows = page.locator("tbody th");
    story.write("cluster.yaml", CLUSTER.replace("name: web-6b2", "name: web-new"));
    await workbench.see("the new pod", () => rows.allTextContents(), all => all.join(" ").includes("shop/web-new"));
    story.write("cluster.yaml", CLUSTER);
  },

  "without a cluster it says what it needs": async (workbench, story) => {
    await alone(workbench);
    story.set({ "npc.cluster": "" });
    await given(workbench, story, "policies.np", PROGRAM);
    await workbench.command("npc: Show Reachability");
    const link = workbench.webview().locator("a", { hasText: "npc.cluster" });
    await workbench.see("what to do", () => link.count(), found => found === 1);
    story.set({});
  },

  "the server is started anew": async (workbench, story) => {
    await alone(workbench);
    await given(workbench, story, "policies.np", PROGRAM.replace("from checkout on", "from chekout on"));
    await workbench.command("npc: Restart Language Server");
    await status(workbench, text => /^\s*npc \d+\.\d+\.\d+/.test(text));
    const squiggle = workbench.group().locator(".squiggly-error");
    await workbench.see("what the new server finds", () => squiggle.count(), found => found > 0);
    await workbench.command("npc: Show Output");
    const output = workbench.page.locator(".part.panel .view-lines");
    await workbench.see("two starts in the output", () => output.textContent(), text => text.split("Starting").length > 2);
  },

  "the tour for those who are new": async (workbench, _story, picture) => {
    await alone(workbench);
    await workbench.command("Welcome: Open Walkthrough...");
    await workbench.page.locator(".quick-input-widget:visible input").first().fill("npc");
    await workbench.choose("Network policy with npc");
    const tour = workbench.page.locator(".gettingStartedContainer");
    await workbench.see("its steps", () => tour.textContent(), text =>
      ["Install npc", "Write a policy", "See its YAML", "See who reaches whom", "Test it"].every(step => text.includes(step)));
    const page = workbench.webview().locator("body");
    await workbench.see("the page of the first step", () => page.textContent({ timeout: 1000 }), text => text.includes("cargo install"));
    await tour.locator(".getting-started-step", { hasText: "Write a policy" }).click();
    await workbench.see("that of the second", () => page.textContent({ timeout: 1000 }), text => text.includes("policy database for"));
    await picture("page");
    // What is done from there is ticked off.
    await tour.locator(".getting-started-step", { hasText: "See its YAML" }).click();
    await tour.locator(".getting-started-step .monaco-button", { hasText: "Show Kyverno YAML" }).click();
    const ticked = tour.locator(".getting-started-step", { hasText: "See its YAML" }).locator(".codicon-getting-started-step-checked");
    await workbench.see("the step ticked off", () => ticked.count(), count => count === 1);
  },

  "the colours are right in light, too": async (workbench, story, picture) => {
    story.set({ "workbench.colorTheme": "Light Modern" });
    await given(workbench, story, "policies.np", PROGRAM);
    await workbench.see("a light page", () => workbench.page.evaluate(() => document.querySelector(".monaco-workbench").className),
      name => /\bvs\b/.test(name) && !/vs-dark/.test(name));
    await workbench.command("npc: Show Kyverno YAML");
    await workbench.seeLines("the YAML", lines => lines.some(line => line.includes("kind: ClusterPolicy")), 1);
    await picture("YAML");
    await alone(workbench);
    await workbench.command("npc: Show Reachability");
    const page = workbench.webview();
    await page.locator("td button.part").first().click({ timeout: 20_000 });
    await picture("reach");
    await alone(workbench);
    await workbench.hover("policy database", "database", told => /database/.test(told));
  },

  "a server that is missing is told, with what to do": async (workbench, story, picture) => {
    story.set({ "npc.path": "/nowhere/npc" });
    await workbench.see("the message", () => workbench.messages(), all => all.length === 1 && /npc was not found: there is no/.test(all[0])
      && all[0].includes("Open Settings") && all[0].includes("Show How to Install"));
    await status(workbench, text => /npc/.test(text));
    await picture("message");
    await workbench.page.locator(".notifications-toasts .monaco-button", { hasText: "Show How to Install" }).click();
    const page = workbench.webview().locator("body");
    await workbench.see("how to install", () => page.textContent({ timeout: 1000 }), text => text.includes("cargo install"));
  },

  "one that does not serve is told, too": async (workbench, story) => {
    for (const [name, script, told] of [
      ["old", 'echo "npc 0.0.9"', "npc 0.0.9 is too old for this extension, which requires 0.1.0 or newer."],
      ["other", 'echo "1.2.3"', "is not npc"],
      ["small", '[ "$1" = --version ] && echo "npc 0.1.0"', "has no language server"],
    ]) {
      await workbench.closeMessages();
      const path = join(story.folder, "..", name);
      writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
      story.set({ "npc.path": path });
      await workbench.see(`the message about ${name}`, () => workbench.messages(), all => all.length === 1 && all[0].includes(told));
    }
  },

  "once it is there, all goes on": async (workbench, story) => {
    story.set({});
    await given(workbench, story, "policies.np", PROGRAM);
    await status(workbench, text => /^\s*npc \d+\.\d+\.\d+/.test(text));
    const tree = workbench.group().locator(".squiggly-error");
    await workbench.see("no mistake", () => tree.count(), count => count === 0);
  },

  "a first program is made": async (workbench, story, picture) => {
    await workbench.closeMessages();
    story.write("policies.np", "");
    await workbench.command("npc: New Program");
    const input = workbench.page.locator(".quick-input-widget:visible input").first();
    await workbench.see("where it would be", () => input.inputValue(), value => value.endsWith("/policies.np"));
    await input.fill((await input.inputValue()).replace("policies.np", "first.np"));
    await picture("asked");
    await input.press("Enter");
    await workbench.see("the tab of first.np", () => workbench.activeTab(), tab => tab === "first.np");
    await workbench.seeLines("the example", lines => lines.some(line => line.startsWith("policy database for")));
  },
};
