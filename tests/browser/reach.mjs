// Opens the page of `npc reach --format html` in Chromium and uses it as a person would:
// node reach.mjs NPC PROGRAM CLUSTER SCREENSHOTS
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [npc, program, cluster, folder] = process.argv.slice(2).map(argument => resolve(argument));
mkdirSync(folder, { recursive: true });
const file = join(folder, "reach.html");
const options = ["reach", program, "--cluster", cluster, "--format"];
writeFileSync(file, execFileSync(npc, [...options, "html"]));
const table = JSON.parse(execFileSync(npc, [...options, "json"]));

const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: flags });
try {
  for (const colorScheme of ["light", "dark"]) {
    const page = await browser.newPage({ viewport: { width: 1280, height: 720 }, colorScheme });
    const faults = [];
    page.on("pageerror", error => faults.push(error.message));
    page.on("console", message => { if (message.type() === "error") faults.push(message.text()); });
    page.on("request", request => { if (!request.url().startsWith("file:")) faults.push(request.url()); });
    await page.goto(pathToFileURL(file).href);

    // Each pair that the table has is a coloured cell, and no other is.
    const single = new Set(table.groups.filter(group => group.pods?.length === 1).map(group => group.id));
    const pairs = table.connections.flatMap(c => c.to.filter(to => !(to === c.from && single.has(to))));
    assert.equal(await page.locator("td button.all, td button.part").count(), pairs.length);
    const status = page.getByRole("status");
    assert.match(await status.textContent(), new RegExp(` ${pairs.length} allowed$`));

    // A cell tells which rules decided, with their lines.
    await page.getByRole("button", { name: "shop/{app=cart} to data/*: tcp/5432" }).click();
    const reason = page.locator("#reason");
    assert.match(await reason.textContent(), /allowed by rule \d of policy db \([^)]*reach\.np:\d+\)/);
    assert.match(await reason.textContent(), /Denied: shop\/cart-1 → data\/db-0, tcp\/1/);
    await page.screenshot({ path: join(folder, `cell-${colorScheme}.png`) });

    // The keyboard alone does, too.
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    assert.match(await reason.locator("h2").textContent(), /^shop\/\{app=cart\} → /);

    // Searching and filtering.
    await page.getByLabel("To", { exact: true }).fill("data");
    await page.getByLabel("On", { exact: true }).fill("tcp/5432");
    assert.match(await status.textContent(), /1 of \d+ destinations, 1 allowed$/);
    await page.getByLabel("On", { exact: true }).fill("tcp/5433");
    assert.match(await status.textContent(), /, 0 allowed$/);
    await page.getByLabel("On", { exact: true }).fill("");
    await page.locator("#show").selectOption("none");
    const denied = await page.locator("td:not([hidden]) button:not(.faded):visible").count();
    assert.match(await status.textContent(), new RegExp(`, ${denied} denied$`));
    await page.screenshot({ path: join(folder, `denied-${colorScheme}.png`) });
    assert.deepEqual(faults, []);
    await page.close();
  }
  console.log(`reach page: ${table.groups.length} groups, light and dark, searched, filtered, explained: as expected`);
} finally {
  await browser.close();
}
