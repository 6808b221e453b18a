// Bundles the extension into `dist`, and takes from the rest of the repository what the package carries:
// the grammar, of which there is one, and the licence.
import { copyFileSync, mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

process.chdir(fileURLToPath(new URL(".", import.meta.url)));
mkdirSync("dist", { recursive: true });
copyFileSync("../../grammar/np.tmLanguage.json", "dist/np.tmLanguage.json");
copyFileSync("../../LICENSE", "LICENSE");
await build({
  entryPoints: ["src/extension.ts"],
  outfile: "dist/extension.js",
  bundle: true,
  minify: true,
  platform: "node",
  format: "cjs",
  target: "node20",
  external: ["vscode"],
  legalComments: "none",
});
