import { readdirSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { casesFolder, folderOf, shop, tandem } from "./support.ts";

const cases = readdirSync(casesFolder).sort();

interface Printed {
  readonly ok: boolean;
  readonly passed: number;
  readonly failed: number;
  readonly pending: number;
  readonly problems: readonly { readonly code: string; readonly field: string }[];
  readonly files: readonly { readonly probes: readonly Readonly<Record<string, unknown>>[] }[];
}

const filesOf = (name: string) => {
  const folder = join(casesFolder, name);
  return ["-f", join(folder, "cluster.yaml"), "-f", join(folder, "policies.yaml"), "-p", join(folder, "probes.yaml")];
};

test("every conformance case agrees with its truth table, by the command itself", async (t) => {
  t.true(cases.length >= 91);
  let passed = 0;
  for (const name of cases) {
    const { output, exitCode } = await tandem("policy", "test", ...filesOf(name), "--json");
    const printed = JSON.parse(output) as Printed;
    t.is(exitCode, 0, `${name}: ${output.slice(0, 2000)}`);
    t.is(printed.failed, 0, name);
    t.is(printed.pending, 0, name);
    for (const probe of printed.files.flatMap(({ probes }) => probes)) {
      t.true((probe.decidedBy as readonly string[]).length > 0, `${name}: ${JSON.stringify(probe)}`);
    }
    passed += printed.passed;
  }
  t.log(`${passed} probes passed`);
  t.true(passed > 5000);
});

test("a mismatch is exit code 1 and says which rule decided", async (t) => {
  const folder = folderOf(t, {
    "probes.yaml": `
probes:
  - {from: shop/web, to: shop/database, port: 5432, expect: allow}
  - {from: shop/api, to: shop/database, port: 5432, expect: allow}
  - {from: shop/web, to: shop/database, port: 5432, expect: deny}
`,
  });
  const { output, exitCode } = await tandem("policy", "test", "-f", shop, "-p", join(folder, "probes.yaml"));
  t.is(exitCode, 1);
  t.regex(
    output,
    /1 +shop\/web -> shop\/database TCP 5432 +allow +deny +MISMATCH +ingress of shop\/database: no rule allows it, and ingress is closed by NetworkPolicy shop\/database/,
  );
  t.regex(output, /2 +.* ok +ingress of shop\/database: allowed by NetworkPolicy shop\/database ingress\[0\]/);
  t.regex(output, /2 passed, 1 failed, 0 pending\n$/);
});

test("services are translated to the pods that they select, and external clients are known by CIDR", async (t) => {
  const folder = folderOf(t, {
    "probes.yaml": `
description: who reaches api
probes:
  - {from: shop/web, to: svc/shop/api, port: 80, expect: allow}
  - {from: shop/web, to: svc/shop/api, port: 81, expect: deny}
  - {from: 198.18.0.9, to: shop/api, port: 8080, expect: allow}
  - {from: 203.0.113.9, to: shop/api, port: 8080, expect: deny}
  - {from: "2001:db8::9", to: shop/api, port: 8080, expect: allow}
  - {from: node/node-1, to: shop/api, port: 22, expect: allow}
`,
  });
  const { output, notes, exitCode } = await tandem("policy", "test", "-f", shop, "-p", join(folder, "probes.yaml"));
  t.is(exitCode, 0, output);
  t.regex(output, /who reaches api/);
  t.regex(output, /svc\/shop\/api has no port 81\/TCP/);
  t.regex(output, /allowed by the pod's own node/);
  t.regex(notes, /made up.*pods of 3 workloads/);
});

test("probes of nodes are judged as agents with --allow-lockout do", async (t) => {
  const folder = folderOf(t, {
    "probes.yaml": "probes:\n  - {from: 203.0.113.8, to: node/worker-1, port: 179, expect: allow}\n",
  });
  const cluster = join(casesFolder, "92-ccnp-node-ingress");
  const words = ["policy", "test", "-f", join(cluster, "cluster.yaml"), "-f", join(cluster, "policies.yaml")];
  const probes = ["-p", join(folder, "probes.yaml")];
  t.is((await tandem(...words, ...probes)).exitCode, 0);
  const locked = await tandem(...words, ...probes, "--allow-lockout");
  t.is(locked.exitCode, 1);
  t.regex(locked.output, /allow +deny +MISMATCH/);
});

test("probes that name nobody fail with what was probably meant", async (t) => {
  const folder = folderOf(t, {
    "probes.yaml":
      "probes: [{from: shop/wep, to: shop/api, port: 80, expect: deny}, {from: svc/shop/web, to: shop/api, port: 80, expect: deny}]",
  });
  const { output, exitCode } = await tandem("policy", "test", "-f", shop, "-p", join(folder, "probes.yaml"));
  t.is(exitCode, 1);
  t.regex(output, /from: there is no pod shop\/wep in the manifests; did you mean shop\/web\?/);
  t.regex(output, /svc\/shop\/web is a service; nothing connects from there/);
});

test("every mistake in a file of probes is told with its path", async (t) => {
  const folder = folderOf(t, {
    "probes.yaml": `
probes:
  - {from: shop/web, to: shop/api, port: 70000, expect: allow}
  - {from: shop/web, port: 80, expect: maybe}
  - {from: shop/web, to: shop/api, protocl: UDP, port: 80, expect: deny}
  - {from: shop/web, to: shop/api, protocol: ICMP, port: 80, expect: deny}
`,
  });
  const { output, exitCode } = await tandem("policy", "test", "-f", shop, "-p", join(folder, "probes.yaml"));
  t.is(exitCode, 1);
  for (const line of [
    /PROBE_RANGE: .*probes\.yaml, probes\[0\]\.port: 70000 is not one\n +write a number from 1 to 65535/,
    /PROBE_MISSING: .*probes\[1\]\.to/,
    /PROBE_VALUE: .*probes\[1\]\.expect: "maybe" is none\n +write one of allow, deny, forbidden, refused/,
    /PROBE_UNKNOWN_FIELD: .*probes\[2\]\.protocl: .*\n +did you mean protocol\?/,
    /PROBE_RANGE: .*probes\[3\]\.icmp\.type: this is missing/,
  ]) {
    t.regex(output, line);
  }
});

test("a policy that is not in force is exit code 1, even if all probes agree", async (t) => {
  const folder = folderOf(t, {
    "probes.yaml": "probes: [{from: shop/web, to: shop/web-2, port: 80, expect: allow}]",
    "bad.yaml": `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
    - toPorts:
        - ports:
            - {port: "70000", protocol: TCP}
`,
  });
  const { output, exitCode } = await tandem(
    "policy",
    "test",
    "-f",
    shop,
    "-f",
    join(folder, "bad.yaml"),
    "-p",
    join(folder, "probes.yaml"),
  );
  t.is(exitCode, 1);
  t.regex(
    output,
    /Not in force.*\n.*bad\.yaml:9: error POLICY_PORT_RANGE\n +CiliumNetworkPolicy shop\/web, spec\.ingress\[0\]/,
  );
});

test("requests of HTTP and Kafka are judged by their rules", async (t) => {
  const http = await tandem("policy", "test", ...filesOf("84-cnp-http"));
  t.is(http.exitCode, 0);
  t.regex(
    http.output,
    /\(http\) +forbidden +forbidden +ok +ingress of shop\/cart: sent to the L7 proxy by CiliumNetworkPolicy shop\/cart ingress\[0\]/,
  );
  t.regex(http.output, /shop\/db -> shop\/cart TCP 8080 \(http\) +deny +deny +ok/);
  t.regex(http.output, /15 passed, 0 failed, 0 pending/);
  const kafka = await tandem("policy", "test", ...filesOf("89-cnp-kafka"));
  t.is(kafka.exitCode, 0);
  t.regex(kafka.output, /13 passed, 0 failed, 0 pending/);
});

test("a wrong command line, a missing file and broken YAML are told apart", async (t) => {
  const noProbes = await tandem("policy", "test", "-f", shop);
  t.is(noProbes.exitCode, 2);
  t.regex(noProbes.notes, /required option '-p, --probes <file\.\.\.>' not specified/);
  const missing = await tandem("policy", "test", "-f", shop, "-p", "/nonexistent/probes.yaml");
  t.is(missing.exitCode, 2);
  t.regex(missing.notes, /MANIFESTS_UNREADABLE: \/nonexistent\/probes.yaml cannot be read/);
  const folder = folderOf(t, { "probes.yaml": "probes: [" });
  const broken = await tandem("policy", "test", "-f", shop, "-p", join(folder, "probes.yaml"));
  t.is(broken.exitCode, 1);
  t.regex(broken.notes, /PROBES_SYNTAX/);
  t.is((await tandem("policy", "test", "--help")).exitCode, 0);
});
