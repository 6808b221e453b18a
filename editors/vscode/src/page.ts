// Adapts the reachability page of npc to the editor: its colours, and a content security policy that allows
// only the page's own script.

import { randomBytes } from "node:crypto";
import * as vscode from "vscode";

/** Adapts the page, which contains its script and style and loads nothing else. */
export function pageOf(html: string, webview: vscode.Webview, media: vscode.Uri): string {
  const nonce = randomBytes(16).toString("base64");
  const own = (file: string) => webview.asWebviewUri(vscode.Uri.joinPath(media, file)).toString();
  const head = `<meta http-equiv="Content-Security-Policy" content="${policy(nonce, webview.cspSource)}">`;
  // Replace the page's own policy with this stricter one, in which inline code needs the nonce.
  return html
    .replace(/<meta http-equiv="Content-Security-Policy"[^>]*>/i, head)
    .replaceAll("<style>", `<style nonce="${nonce}">`)
    .replaceAll("<script>", `<script nonce="${nonce}">`)
    .replace("</head>", `<link rel="stylesheet" href="${own("reach.css")}">\n</head>`)
    .replace(/<\/body>(?![\s\S]*<\/body>)/, `<script src="${own("reach.js")}"></script>\n</body>`);
}

function policy(nonce: string, source: string): string {
  return [
    "default-src 'none'",
    `style-src ${source} 'nonce-${nonce}'`,
    `script-src ${source} 'nonce-${nonce}'`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
}

/** The page that is shown instead if there is no reachability page, with the reason and a remedy. */
export function refusalPage(why: string, hasCluster: boolean): string {
  const nonce = randomBytes(16).toString("base64");
  const link = `command:workbench.action.openSettings?${encodeURIComponent(JSON.stringify(["npc.cluster"]))}`;
  const needed = `<p>Reachability depends on the pods of your cluster. Write them to a file:</p>
<pre>kubectl get namespaces,pods -A -o yaml &gt; cluster.yaml</pre>
<p>Then <a href="${link}">set <code>npc.cluster</code> to its path</a>.</p>`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'nonce-${nonce}'">
<title>Reachability</title>
<style nonce="${nonce}">
body { max-width: 44rem; margin: 2rem auto; padding: 0 1.5rem; line-height: 1.5 }
h1 { font-size: 1.3em; font-weight: 600 }
.why { white-space: pre-wrap }
pre { padding: .6rem .8rem; background: var(--vscode-textCodeBlock-background); overflow-x: auto }
</style>
</head>
<body>
<h1>Who can reach whom</h1>
${hasCluster ? `<p class="why">${escaped(why)}</p>` : needed}
</body>
</html>`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
