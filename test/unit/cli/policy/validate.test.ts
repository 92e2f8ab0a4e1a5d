import { join } from "node:path";
import test from "ava";
import { folderOf, shop, tandem } from "./support.ts";

const bad = `# two mistakes in one object, one in another
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  endpointSelector:
    matchLabels: {app: api}
  egress:
    - toPorts:
        - ports:
            - port: "80"
              protocol: TPC
    - toCIDR:
        - 10.0.0.0/40
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {}
  ingres: []
`;

test("good manifests are exit code 0 and a summary", async (t) => {
  const { output, exitCode } = await tandem("policy", "validate", "-f", shop);
  t.is(exitCode, 0, output);
  t.regex(output, /^2 files, \d+ objects, 2 policies valid: 0 errors, 0 warnings\n$/);
});

test("all problems of all objects come at once, each with file, line, object, field and remedy", async (t) => {
  const folder = folderOf(t, { "bad.yaml": bad });
  const file = join(folder, "bad.yaml");
  const { output, exitCode } = await tandem("policy", "validate", "-f", file);
  t.is(exitCode, 1);
  t.true(
    output.includes(
      `${file}:12: error POLICY_PROTOCOL\n  CiliumNetworkPolicy shop/api, spec.egress[0].toPorts[0].ports[0].protocol: "TPC"`,
    ),
    output,
  );
  t.true(
    output.includes(`${file}:14: error POLICY_CIDR\n  CiliumNetworkPolicy shop/api, spec.egress[1].toCIDR[0]:`),
    output,
  );
  t.true(output.includes(`${file}:21: error POLICY_UNKNOWN_FIELD\n  NetworkPolicy shop/db, spec.ingres:`), output);
  t.regex(output, /remedy: did you mean ingress\?/);
  t.regex(output, /1 file, 2 objects, 0 policies valid, 2 refused: 3 errors, 0 warnings\n$/);
});

test("--json has the same, for programs", async (t) => {
  const folder = folderOf(t, { "bad.yaml": bad });
  const { output, exitCode } = await tandem("policy", "validate", "-f", folder, "--json");
  t.is(exitCode, 1);
  const printed = JSON.parse(output) as {
    ok: boolean;
    findings: { code: string; line: number }[];
    policies: { valid: boolean }[];
  };
  t.false(printed.ok);
  t.deepEqual(
    printed.findings.map(({ code, line }) => [code, line]),
    [
      ["POLICY_PROTOCOL", 12],
      ["POLICY_CIDR", 14],
      ["POLICY_UNKNOWN_FIELD", 21],
    ],
  );
  t.deepEqual(
    printed.policies.map(({ valid }) => valid),
    [false, false],
  );
});

test("warnings are exit code 0, and 1 with --strict", async (t) => {
  const text = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: nothing, namespace: shop}
spec: {endpointSelector: {}}
`;
  const folder = folderOf(t, { "a.yaml": text });
  const lax = await tandem("policy", "validate", "-f", folder);
  t.is(lax.exitCode, 0);
  t.regex(lax.output, /a\.yaml:4: warning POLICY_NO_EFFECT/);
  t.is((await tandem("policy", "validate", "-f", folder, "--strict")).exitCode, 1);
});

test("broken YAML and objects of other kinds are told, and what has no say is named", async (t) => {
  const folder = folderOf(t, {
    "a.yaml": "kind: [\n",
    "b.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n",
    "c.yaml": "apiVersion: networking.k8s.io/v1\nkind: NetworkPolcy\nmetadata: {name: x}\n",
  });
  const { output, exitCode } = await tandem("policy", "validate", "-f", folder);
  t.is(exitCode, 1);
  t.regex(output, /a\.yaml:\d: error MANIFEST_SYNTAX/);
  t.regex(output, /c\.yaml:1: error MANIFEST_KIND\n.*NetworkPolcy/);
  t.regex(output, /did you mean NetworkPolicy\?/);
  t.regex(output, /without a say here: v1 ConfigMap/);
});

test("the same object twice and a label key with dots are told where they stand", async (t) => {
  const policy = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: a
  namespace: shop
spec:
  podSelector:
    matchLabels:
      app.kubernetes.io/name: x y
`;
  const folder = folderOf(t, { "a.yaml": policy, "b.yaml": policy });
  const { output, exitCode } = await tandem("policy", "validate", "-f", folder);
  t.is(exitCode, 1);
  t.regex(output, /a\.yaml:9: error POLICY_/);
  t.regex(output, /error MANIFEST_DUPLICATE/);
});

test("a policy that closes what a node needs is warned of as the agent does, unless agents are told to lock out", async (t) => {
  const folder = folderOf(t, {
    "nodes.yaml": `apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.0.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
spec: {podCIDRs: [10.0.2.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}
---
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: nodes}
spec: {nodeSelector: {}, ingressDeny: [{fromEntities: [all]}]}
`,
  });
  const { output, exitCode } = await tandem("policy", "validate", "-f", folder);
  t.is(exitCode, 0);
  t.regex(
    output,
    /nodes\.yaml:13: warning POLICY_LOCKOUT_GUARD\n +CiliumClusterwideNetworkPolicy nodes: policies close what node n1 needs .*BGP \(TCP 179\) in/,
  );
  t.regex(output, /0 errors, 1 warning\n$/);
  const locked = await tandem("policy", "validate", "-f", folder, "--allow-lockout");
  t.regex(locked.output, /0 errors, 0 warnings\n$/);
});

test("a folder that is not there is exit code 2", async (t) => {
  const { notes, exitCode } = await tandem("policy", "validate", "-f", "/nonexistent");
  t.is(exitCode, 2);
  t.regex(notes, /MANIFESTS_UNREADABLE/);
  t.is((await tandem("policy", "validate")).exitCode, 2);
});
