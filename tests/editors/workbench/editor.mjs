// Starts an editor's server of its own, with the extension in it, and ends it.
import { execFileSync, spawn } from "node:child_process";
import { createServer } from "node:net";
import { mkdirSync, openSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export class Editor {
  /** `entry` is the server's program; everything that it writes is below `folder`. */
  constructor(entry, folder) {
    this.entry = entry;
    this.folder = folder;
    rmSync(folder, { recursive: true, force: true });
    for (const part of ["User", "Machine"]) mkdirSync(join(folder, "data", part), { recursive: true });
    writeFileSync(join(folder, "config.yaml"), "");
    this.options = ["--config", join(folder, "config.yaml"), "--user-data-dir", join(folder, "data"),
      "--extensions-dir", join(folder, "extensions")];
  }

  install(extension) {
    execFileSync(process.execPath, [this.entry, ...this.options, "--install-extension", extension], { stdio: "pipe" });
  }

  /** Settings of the person, with which the editor starts. */
  setPerson(settings) {
    writeFileSync(join(this.folder, "data/User/settings.json"), JSON.stringify(settings, null, 2));
  }

  /** Settings of the machine, which go before the person's; an editor that is open takes them up at once. */
  setMachine(settings) {
    writeFileSync(join(this.folder, "data/Machine/settings.json"), JSON.stringify(settings, null, 2));
  }

  async start() {
    const port = await freePort();
    const log = openSync(join(this.folder, "server.log"), "w");
    // A group of its own: the server's processes end with it.
    this.process = spawn(process.execPath, [this.entry, ...this.options, "--auth", "none", "--bind-addr", `127.0.0.1:${port}`,
      "--disable-telemetry", "--disable-update-check", "--disable-workspace-trust"],
    { stdio: ["ignore", log, log], detached: true });
    this.address = `http://127.0.0.1:${port}`;
    for (const end = Date.now() + 60_000; ;) {
      try {
        if ((await fetch(`${this.address}/healthz`)).ok) return;
      } catch {
        // Not there yet.
      }
      if (Date.now() > end || this.process.exitCode !== null) throw new Error("the editor's server does not start: see server.log");
      await new Promise(done => setTimeout(done, 250));
    }
  }

  stop() {
    if (!this.process) return;
    try {
      process.kill(-this.process.pid, "SIGKILL");
    } catch {
      // It has ended.
    }
  }
}

function freePort() {
  return new Promise((done, failed) => {
    const server = createServer();
    server.once("error", failed);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}
