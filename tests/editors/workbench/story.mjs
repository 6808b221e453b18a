// The folder that the story is about, and the person's settings.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export const SETS = `let dns      = udp/53, tcp/53
let kube-dns = pods { k8s-app = kube-dns } in namespace kube-system
let checkout = pods { app = checkout } in namespace shop
`;

export const PROGRAM = `import "sets.np"

/// The database answers checkout, and asks nobody.
policy database for pods { app = postgres } in namespace payments {
  allow ingress from checkout on tcp/5432
  isolate egress
}

/// Checkout is open to everybody, and asks the database.
policy shop for checkout {
  allow ingress from anywhere on tcp/443
  allow egress  to   pods { app = postgres } in namespace payments on tcp/5432
  allow egress  to   kube-dns on dns
}

test "checkout reaches the database" {
  namespace shop
  namespace payments
  pod checkout in shop     { app = checkout }
  pod postgres in payments { app = postgres }

  allow shop/checkout -> payments/postgres on tcp/5432
}

test "the database asks shops" {
  namespace shop
  namespace payments
  pod checkout in shop     { app = checkout }
  pod postgres in payments { app = postgres }

  allow payments/postgres -> shop/checkout on tcp/443
}

assert deny pods { app = postgres } in namespace payments -> anywhere
`;

export const CLUSTER = `apiVersion: v1
kind: List
items:
- {kind: Namespace, metadata: {name: kube-system}}
- {kind: Namespace, metadata: {name: payments}}
- {kind: Namespace, metadata: {name: shop}}
${[["coredns-5d7", "kube-system", "k8s-app: kube-dns"], ["postgres-0", "payments", "app: postgres"],
    ["postgres-1", "payments", "app: postgres"], ["reports-7c4", "payments", "app: reports"],
    ["checkout-7f9", "shop", "app: checkout"], ["checkout-9ca", "shop", "app: checkout"], ["web-6b2", "shop", "app: web"]]
    .map(([name, namespace, label], place) => `- kind: Pod
  metadata: {name: ${name}, namespace: ${namespace}, labels: {${label}}}
  status: {podIP: 10.1.0.${place + 1}}`).join("\n")}
`;

export class Story {
  constructor(npc, editor, folder) {
    this.npc = npc;
    this.editor = editor;
    this.folder = folder;
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    this.write("policies.np", "");
    this.write("sets.np", SETS);
    this.write("cluster.yaml", CLUSTER);
    editor.setPerson({
      "npc.cluster": "cluster.yaml",
      "workbench.colorTheme": "Dark Modern",
      // Nothing but the program on the screen, and nothing saved that nobody saved.
      "files.autoSave": "off",
      "files.hotExit": "off",
      "workbench.startupEditor": "none",
      "workbench.tips.enabled": false,
      "workbench.secondarySideBar.defaultVisibility": "hidden",
      "workbench.layoutControl.enabled": false,
      "chat.disableAIFeatures": true,
      "editor.minimap.enabled": false,
      "extensions.ignoreRecommendations": true,
      "git.enabled": false,
      "telemetry.telemetryLevel": "off",
    });
    this.set({});
  }

  write(name, text) {
    writeFileSync(join(this.folder, name), text);
  }

  /** Changes settings; what is not named is as it was in the beginning. */
  set(own) {
    this.editor.setMachine({ "npc.path": this.npc, ...own });
  }
}
