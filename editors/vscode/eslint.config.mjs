import js from "@eslint/js";
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["dist", "node_modules"] },
  js.configs.recommended,
  {
    files: ["src/**/*.ts"],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
  },
  {
    files: ["build.mjs"],
    languageOptions: { globals: { process: "readonly", URL: "readonly" } },
  },
  // What runs in the page of reachability, and knows no more than a browser does.
  {
    files: ["media/*.js"],
    languageOptions: {
      sourceType: "script",
      globals: { acquireVsCodeApi: "readonly", document: "readonly", window: "readonly", Event: "readonly" },
    },
  },
);
