// The workbench as somebody sees and uses it: what is asked of it is what is on the screen.
import assert from "node:assert/strict";

export const PATIENCE = 20_000;

export class Workbench {
  constructor(page) {
    this.page = page;
  }

  /** Waits until what is looked for is so; tells what there was instead. */
  async see(what, look, isSo, patience = PATIENCE) {
    let last;
    for (const end = Date.now() + patience; ;) {
      last = await look().catch(error => `(${error.message.split("\n")[0]})`);
      if (isSo(last)) return last;
      if (Date.now() > end) assert.fail(`not seen: ${what}; there is:\n${JSON.stringify(last, null, 1)?.slice(0, 2000)}`);
      await this.page.waitForTimeout(100);
    }
  }

  async open(address, folder) {
    await this.page.goto(`${address}/?folder=${encodeURIComponent(folder)}`);
    await this.page.locator(".explorer-folders-view .monaco-list-row").first().waitFor({ timeout: 90_000 });
  }

  async press(...keys) {
    for (const key of keys) await this.page.keyboard.press(key);
  }

  async type(text) {
    await this.page.keyboard.type(text, { delay: 25 });
  }

  /** Opens what is asked at the top by a key; pages within the workbench pass keys on when they are ready. */
  async ask(key) {
    const input = this.page.locator(".quick-input-widget:visible input").first();
    await this.see(`what ${key} opens`, async () => {
      await this.press(key);
      await input.waitFor({ timeout: 2000 });
      return input.isVisible();
    }, isThere => isThere === true);
    return input;
  }

  /** Runs a command by its name, of the palette. */
  async command(name) {
    await (await this.ask("F1")).fill(`>${name}`);
    await this.choose(name);
  }

  /** Chooses of the list that is open at the top. */
  async choose(name) {
    const focused = this.page.locator(".quick-input-list .monaco-list-row.focused .label-name").first();
    const rows = this.page.locator(".quick-input-list .monaco-list-row .label-name");
    await this.see(`${name} in the list`, () => rows.allTextContents(), all => all.includes(name));
    // The list settles as it is looked through.
    await this.see(`${name} chosen`, async () => {
      if (await focused.textContent({ timeout: 500 }) === name) {
        await this.press("Enter");
        return true;
      }
      await this.press("ArrowDown");
      return false;
    }, isChosen => isChosen === true);
  }

  /** Opens a file of the folder. */
  async file(name) {
    await (await this.ask("Control+p")).fill(name);
    await this.choose(name);
    await this.see(`the tab of ${name}`, () => this.activeTab(), tab => tab === name);
  }

  activeTab() {
    return this.page.locator(".editor-group-container.active .tab.active .monaco-icon-label-container").first().textContent();
  }

  /** The editor of a group, counted from the left. */
  group(number = 0) {
    return this.page.locator(".editor-group-container").nth(number).locator(".editor-instance .monaco-editor").first();
  }

  /** The lines that can be seen, without the hints that the editor puts between the words. */
  async lines(number = 0) {
    const lines = await this.group(number).locator(".view-lines > .view-line").evaluateAll(all => all
      .map(line => {
        const spans = [...line.querySelectorAll("span > span")].filter(span => !/\bdyn-rule-/.test(span.className));
        return { top: parseFloat(line.style.top), text: spans.map(span => span.textContent).join("") };
      })
      .sort((a, b) => a.top - b.top).map(line => line.text));
    return lines.map(line => line.replaceAll("\u00a0", " ").replaceAll("\u200b", ""));
  }

  /** The hints on a line. */
  async hints(start) {
    const hints = await this.line(start).locator("span[class*=dyn-rule-]").allTextContents();
    return hints.map(hint => hint.replaceAll("\u00a0", " ").trim()).filter(hint => hint !== "");
  }

  async seeLines(what, isSo, number = 0) {
    return this.see(what, () => this.lines(number), lines => Array.isArray(lines) && isSo(lines));
  }

  /** The line that begins so, in the editor at the left. */
  line(start) {
    // The editor writes spaces that do not break.
    const words = start.split(" ").map(word => word.replaceAll(/[.*+?^${}()|[\]\\/]/g, "\\$&"));
    return this.group().locator(".view-line").filter({ hasText: new RegExp(`^\\s*${words.join("\\s+")}`) }).first();
  }

  /** The word on that line: where it is on the screen, once the lines stay where they are. */
  async place(start, word) {
    let last = "";
    const isStill = place => {
      const before = last;
      last = JSON.stringify(place);
      return last === before;
    };
    return this.see(`${word} on the line of ${start}`, async () => {
      await this.page.waitForTimeout(150);
      return this.line(start).evaluate(placeOf, word, { timeout: 2000 });
    }, place => isStill(place) && typeof place === "object");
  }

  /** Puts the cursor into a word of a line. */
  async click(start, word) {
    const { x, y } = await this.place(start, word);
    await this.page.mouse.click(x, y);
  }

  /** Rests with the pointer on a word of a line, and gives what is told. */
  async hover(start, word, isSo) {
    const hover = this.page.locator(".monaco-hover:not(.hidden) .hover-contents, .monaco-hover:not(.hidden) .hover-row");
    return this.see(`what is told of ${word}`, async () => {
      const { x, y } = await this.place(start, word);
      await this.page.mouse.move(x - 40, y + 60);
      await this.page.mouse.move(x, y, { steps: 4 });
      await hover.first().waitFor({ timeout: 3000 });
      await this.page.waitForTimeout(500);
      return (await hover.allTextContents()).join("\n");
    }, isSo);
  }

  /** Begins a new line, whatever would complete the old one. */
  async enter() {
    if (await this.page.locator(".suggest-widget.visible").isVisible()) await this.press("Escape");
    await this.press("Enter");
  }

  /** Accepts what the completion offers under a name. */
  async accept(label, detail = "") {
    const rows = this.page.locator(".suggest-widget.visible .monaco-list-row");
    const wanted = row => row?.startsWith(label) && row.includes(detail);
    const offered = () => rows.evaluateAll(all => all.map(row => row.getAttribute("aria-label")));
    await this.see(`${label} among what completes`, offered, all => Array.isArray(all) && all.some(wanted));
    for (let turn = 0; turn < 60; turn += 1) {
      const focused = await this.page.locator(".suggest-widget.visible .monaco-list-row.focused").getAttribute("aria-label");
      if (wanted(focused)) {
        await this.press("Enter");
        await this.page.locator(".suggest-widget.visible").waitFor({ state: "hidden" }).catch(() => {});
        return;
      }
      await this.press("ArrowDown");
    }
    assert.fail(`${label} cannot be reached among what completes`);
  }

  /** The messages that pop up. */
  messages() {
    return this.page.locator(".notifications-toasts .notification-list-item").allTextContents();
  }

  async closeMessages() {
    await this.see("no message", async () => {
      if ((await this.messages()).length > 0) await this.command("Notifications: Clear All Notifications");
      await this.page.waitForTimeout(300);
      return this.messages();
    }, all => all.length === 0);
  }

  /** The page within a view that shows one. */
  webview() {
    return this.page.frameLocator("iframe.webview.ready:visible").frameLocator("iframe#active-frame");
  }
}

/** Runs in the page: where the middle of a word of a line is. */
function placeOf(line, word) {
  const walker = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
  const nodes = [];
  let text = "";
  while (walker.nextNode()) {
    nodes.push([text.length, walker.currentNode]);
    text += walker.currentNode.textContent.replaceAll("\u00a0", " ");
  }
  const start = text.indexOf(word);
  if (start < 0) throw new Error(`no "${word}" in "${text}"`);
  const at = start + Math.floor(word.length / 2);
  const [from, node] = nodes.findLast(([from]) => from <= at);
  const range = document.createRange();
  range.setStart(node, at - from);
  range.setEnd(node, Math.min(at - from + 1, node.textContent.length));
  const box = range.getBoundingClientRect();
  return { x: box.left + 1, y: box.top + box.height / 2 };
}
