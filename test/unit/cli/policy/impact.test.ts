import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { casesFolder, folderOf, shop, tandem } from "./support.ts";

const pods = join(shop, "10-shop.yaml");
const policies = join(shop, "20-policies.yaml");
const changed = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: database, namespace: shop}
spec:
  podSelector: {matchLabels: {app: database}}
  policyTypes: [Ingress]
  ingress:
    - from: [{podSelector: {matchLabels: {app: web}}}]
      ports: [{protocol: TCP, port: 5432}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: api}}
  ingress:
    - fromEndpoints: [{matchLabels: {app: web}}]
      toPorts:
        - ports: [{port: "8080", protocol: TCP}]
          rules: {http: [{method: GET}]}
    - fromCIDR: [198.18.0.0/16, "2001:db8::/32"]
      toPorts: [{ports: [{port: "8080", protocol: TCP}]}]
`;

interface Printed {
  readonly changes: readonly {
    readonly kind: string;
    readonly from: string;
    readonly to: string;
    readonly ports: string;
  }[];
}

test("what a change opens, closes and puts under L7 rules is told per workload and port, with who decides now", async (t) => {
  const folder = folderOf(t, { "new.yaml": changed });
  const { output, exitCode } = await tandem(
    "policy",
    "impact",
    "-f",
    pods,
    "--old",
    policies,
    "--new",
    join(folder, "new.yaml"),
  );
  t.is(exitCode, 0);
  t.regex(
    output,
    /- closes +shop\/api +shop\/database +TCP 5432 +ingress: no rule allows it, and ingress is closed by NetworkPolicy shop\/database/,
  );
  t.regex(output, /\+ opens +shop\/web +shop\/database +TCP 5432 +ingress: NetworkPolicy shop\/database ingress\[0\]/);
  t.regex(
    output,
    /! now under L7 rules +shop\/web +shop\/api +TCP 8080 +ingress: CiliumNetworkPolicy shop\/api ingress\[0\]/,
  );
  t.regex(output, /\n1 opened, 1 closed, 1 changed by L7 rules \(\d+ parties compared\)\n$/);
});

test("policies of nodes change what pods, other nodes and the outside may do with nodes", async (t) => {
  const folder = join(casesFolder, "92-ccnp-node-ingress");
  const words = ["-f", join(folder, "cluster.yaml"), "--new", join(folder, "policies.yaml"), "--json"];
  const changes = async (...more: readonly string[]) => {
    const { output } = await tandem("policy", "impact", ...words, ...more);
    return (JSON.parse(output) as Printed).changes.map(({ kind, from, to, ports }) =>
      [kind, from, to, ports].join(" | "),
    );
  };
  const guarded = await changes();
  const nodes = "nodes worker-1, worker-2";
  t.true(
    guarded.includes(`closes | outside (IPv4) | ${nodes} | everything but TCP 22, 179; UDP 68, 546`),
    guarded.join("\n"),
  );
  t.true(guarded.includes("closes | shop/front | own node (worker-1, worker-2) | everything but TCP 9100"));
  t.true(guarded.includes("closes | shop/cart | other nodes (worker-1, worker-2) | everything"));
  t.false(
    guarded.some((row) => row.includes("cp-1")),
    "no policy selects it",
  );
  const locked = await changes("--allow-lockout");
  t.true(locked.includes(`closes | outside (IPv4) | ${nodes} | everything but TCP 22`), locked.join("\n"));
});

test("nodes that no policy selects are no party of their own", async (t) => {
  const { output } = await tandem("policy", "impact", "-f", pods, "--new", policies, "--json");
  const { parties } = JSON.parse(output) as { readonly parties: readonly { readonly kind: string }[] };
  t.true(parties.length > 0);
  t.false(parties.some(({ kind }) => kind === "hosts"));
});

test("-f OLD -f NEW compares two whole sets of manifests; three of them are not two sides", async (t) => {
  const folder = folderOf(t, {
    "old.yaml": readFileSync(pods, "utf8"),
    "new.yaml": `${readFileSync(pods, "utf8")}\n---\n${readFileSync(policies, "utf8")}`,
  });
  const [old, fresh] = [join(folder, "old.yaml"), join(folder, "new.yaml")];
  const printed = await tandem("policy", "impact", "-f", old, "-f", fresh, "--json");
  const shared = await tandem("policy", "impact", "-f", pods, "--new", policies, "--json");
  t.deepEqual((JSON.parse(printed.output) as Printed).changes, (JSON.parse(shared.output) as Printed).changes);
  t.true((JSON.parse(printed.output) as Printed).changes.length > 0);
  const three = await tandem("policy", "impact", "-f", old, "-f", fresh, "-f", pods);
  t.is(three.exitCode, 2);
  t.regex(three.notes, /IMPACT_SIDES.*\n.*-f OLD -f NEW/);
});

test("a policy that is added or removed is compared with nothing", async (t) => {
  const added = JSON.parse(
    (await tandem("policy", "impact", "-f", pods, "--new", policies, "--json")).output,
  ) as Printed;
  const removed = JSON.parse(
    (await tandem("policy", "impact", "-f", pods, "--old", policies, "--json")).output,
  ) as Printed;
  t.true(added.changes.length > 0);
  t.true(added.changes.every(({ kind }) => kind === "closes"));
  const text = ({ changes }: Printed) => changes.map(({ from, to, ports }) => `${from} ${to} ${ports}`).sort();
  t.deepEqual(text(added), text(removed));
  t.true(removed.changes.every(({ kind }) => kind === "opens"));
  t.true(text(added).includes("outside shop/database everything"));
  t.true(text(added).includes("shop/api shop/database everything but TCP 5432"));
  t.true(text(added).includes("198.18.0.0/16, 2001:db8::/32 shop/api everything but TCP 8080"));
  t.false(text(added).some((line) => line.startsWith("own node ")));
});

test("nothing changes where only the order and the spelling of rules do", async (t) => {
  const folder = folderOf(t, {
    "new.yaml": readFileSync(policies, "utf8").replace("198.18.0.0/16", "198.18.77.1/16"),
  });
  const { output } = await tandem("policy", "impact", "-f", pods, "--old", policies, "--new", join(folder, "new.yaml"));
  t.regex(output, /^nothing changes \(\d+ parties compared\)\n$/);
});

test("a workload that comes is told with all that it may do", async (t) => {
  const folder = folderOf(t, {
    "job.yaml":
      "apiVersion: batch/v1\nkind: Job\nmetadata: {name: report, namespace: shop}\nspec: {template: {metadata: {labels: {app: report}}, spec: {containers: [{name: a, image: b}]}}}\n",
  });
  const { output } = await tandem("policy", "impact", "-f", shop, "--new", join(folder, "job.yaml"), "--json");
  const { changes } = JSON.parse(output) as Printed;
  t.true(
    changes.some(
      ({ kind, from, to, ports }) =>
        kind === "opens" && from === "shop/report" && to === "outside" && ports === "everything",
    ),
  );
  t.false(changes.some(({ to, from }) => from === "shop/report" && to === "shop/database"));
});

test("--svg draws a matrix with signs, tips, a legend, and both colour schemes", async (t) => {
  const folder = folderOf(t, { "new.yaml": changed });
  const svg = join(folder, "impact.svg");
  const { notes } = await tandem(
    "policy",
    "impact",
    "-f",
    pods,
    "--old",
    policies,
    "--new",
    join(folder, "new.yaml"),
    "--svg",
    svg,
  );
  t.regex(notes, /picture: .*impact\.svg/);
  const text = readFileSync(svg, "utf8");
  t.regex(text, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" width="\d+" height="\d+"/);
  t.true(text.includes("prefers-color-scheme: dark"));
  for (const state of ["opens", "closes", "l7"]) t.true(text.includes(`<g class="cell ${state}"><title>`), state);
  t.true(text.includes("shop/web to shop/database: IPv4 opens TCP 5432; IPv6 opens TCP 5432"));
  for (const words of ["opens and closes", "open, unchanged", "closed, unchanged", "rows connect to columns"])
    t.true(text.includes(words), words);
  t.notRegex(text, /NaN|undefined|<text[^>]*><\/text>/);
  // Every tag is closed.
  t.is(
    [...text.matchAll(/<(g|text|svg|title|style)[\s>]/g)].length,
    [...text.matchAll(/<\/(g|text|svg|title|style)>/g)].length,
  );
});

test("names cannot break out of the picture", async (t) => {
  const folder = folderOf(t, { "a&<b>.yaml": changed });
  const svg = join(folder, "impact.svg");
  await tandem("policy", "impact", "-f", pods, "--new", join(folder, "a&<b>.yaml"), "--svg", svg);
  t.false(readFileSync(svg, "utf8").includes("a&<b>"));
  t.true(readFileSync(svg, "utf8").includes("a&amp;&lt;b&gt;.yaml"));
});

test("what is missing, invalid or cannot be written is told", async (t) => {
  const nothing = await tandem("policy", "impact", "-f", pods);
  t.is(nothing.exitCode, 2);
  t.regex(nothing.notes, /IMPACT_SIDES/);
  const unwritable = await tandem("policy", "impact", "-f", pods, "--new", policies, "--svg", "/nonexistent/a.svg");
  t.is(unwritable.exitCode, 2);
  t.regex(unwritable.notes, /IMPACT_SVG/);
  const folder = folderOf(t, { "bad.yaml": changed.replace("5432", "65536") });
  const invalid = await tandem("policy", "impact", "-f", pods, "--new", join(folder, "bad.yaml"));
  t.is(invalid.exitCode, 1);
  t.regex(
    invalid.notes,
    /not in force after the change, so it does not count there:\n.*bad\.yaml:9: error POLICY_PORT_RANGE/,
  );
});
