// Finds the program `npc`, and explains why it cannot be used.

import { execFile } from "node:child_process";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { promisify } from "node:util";
import * as vscode from "vscode";

/** The oldest version that supports everything the extension uses. */
const OLDEST = [0, 1, 0] as const;
const PATIENCE = 20_000;

const run = promisify(execFile);

export interface Program {
  path: string;
  version: string;
}

/** The program cannot be used. The message tells the user what to do. */
export class Unusable extends Error {}

/** The program in the setting `npc.path`, after checking that it is a usable npc. */
export async function findProgram(): Promise<Program> {
  const path = pathOf(vscode.workspace.getConfiguration("npc").get("path", "npc").trim() || "npc");
  const told = await answer(path, ["--version"]);
  const version = /^npc (\d+)\.(\d+)\.(\d+)/.exec(told);
  if (!version) throw new Unusable(`\`${path}\` is not npc: it does not report an npc version.`);
  const numbers = version.slice(1).map(Number);
  const text = numbers.join(".");
  if (isOlder(numbers, OLDEST)) {
    throw new Unusable(
      `npc ${text} is too old for this extension, which requires ${OLDEST.join(".")} or newer.`,
    );
  }
  try {
    await run(path, ["lsp", "--help"], { timeout: PATIENCE });
  } catch {
    throw new Unusable(`npc ${text} (\`${path}\`) has no language server: it is too old for this extension.`);
  }
  return { path, version: text };
}

async function answer(path: string, options: string[]): Promise<string> {
  try {
    return (await run(path, options, { timeout: PATIENCE })).stdout;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT") {
      const where = isAbsolute(path) ? `there is no \`${path}\`` : `\`${path}\` is not on your PATH`;
      throw new Unusable(`npc was not found: ${where}. Install it, or set npc.path to its location.`);
    }
    if (code === "EACCES") throw new Unusable(`npc cannot be run: \`${path}\` is not executable.`);
    throw new Unusable(`npc failed to start (\`${path}\`): ${(error as Error).message.split("\n")[0]}`);
  }
}

function pathOf(setting: string): string {
  if (setting.startsWith("~/")) return join(homedir(), setting.slice(2));
  const folder = vscode.workspace.workspaceFolders?.[0];
  const isRelative = /[/\\]/.test(setting) && !isAbsolute(setting);
  return isRelative && folder ? join(folder.uri.fsPath, setting) : setting;
}

function isOlder(version: readonly number[], than: readonly number[]): boolean {
  for (const [place, wanted] of than.entries()) {
    const own = version[place] ?? 0;
    if (own !== wanted) return own < wanted;
  }
  return false;
}
