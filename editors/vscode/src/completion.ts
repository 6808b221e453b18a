// Removes duplicate snippets: both the server and the extension offer some.

import type { Middleware } from "vscode-languageclient/node";
import * as vscode from "vscode";
import snippets from "../snippets/np.json";

const own = new Set(Object.values(snippets).map(({ prefix }) => prefix));

/** Drops a snippet of the server if the extension has one with the same prefix, which has more placeholders. */
export const provideCompletionItem: NonNullable<Middleware["provideCompletionItem"]> = async (
  document,
  position,
  context,
  token,
  next,
) => {
  const found = await next(document, position, context, token);
  const isWanted = ({ kind, label }: vscode.CompletionItem) => {
    const words = typeof label === "string" ? label : label.label;
    return kind !== vscode.CompletionItemKind.Snippet || !own.has(words.split(" ")[0] ?? "");
  };
  if (!found) return found;
  if (Array.isArray(found)) return found.filter(isWanted);
  found.items = found.items.filter(isWanted);
  return found;
};
