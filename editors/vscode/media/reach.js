// Keeps what somebody searched for in the page of reachability over its renewals, and says where the
// page is older than the program.
"use strict";
{
  const editor = acquireVsCodeApi();
  const fields = [...document.querySelectorAll("input[id], select[id]")];
  const kept = editor.getState() ?? {};
  for (const field of fields) {
    if (kept[field.id]) {
      field.value = kept[field.id];
      field.dispatchEvent(new Event("input"));
    }
    field.addEventListener("input", () => {
      editor.setState(Object.fromEntries(fields.map((own) => [own.id, own.value])));
    });
  }

  const stale = document.createElement("div");
  stale.id = "stale";
  stale.setAttribute("role", "status");
  stale.hidden = true;
  document.body.append(stale);
  window.addEventListener("message", ({ data }) => {
    stale.hidden = !data.why;
    stale.textContent = `As it was before. ${data.why}`;
  });
}
