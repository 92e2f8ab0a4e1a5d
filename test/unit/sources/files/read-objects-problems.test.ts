/** Objects with mistakes: what is refused, what still counts, and what is told of them. */
import test from "ava";
import { parseManifest } from "../../../../src/sources/files/parse-manifest.ts";
import { type ObjectsReading, readObjects } from "../../../../src/sources/files/read-objects.ts";

function read(text: string, file = "a.yaml"): ObjectsReading {
  const { objects, failure } = parseManifest(text, file);
  if (failure !== null) throw new Error(failure.message);
  return readObjects(objects);
}

const one = (object: object) => readObjects([{ value: object, file: "a.yaml", line: 1 }]);
const _texts = (addresses: readonly { readonly text: string }[] | undefined) => addresses?.map(({ text }) => text);

/** "error Pod shop/web spec.nodeName", a line per problem. */
const brief = ({ problems }: ObjectsReading) =>
  problems.map(({ severity, object, field }) => `${severity} ${object} ${field}`.trim());

test("an object with an error is refused whole, with all its mistakes and its place; the others count", (t) => {
  const reading = read(
    `apiVersion: v1
kind: Pod
metadata: {name: bad, namespace: shop, labels: {version: 1}}
spec: {nodeName: 5, containers: {}}
status: {podIP: 10.1.0.256}
---
apiVersion: v1
kind: Pod
metadata: {name: good, namespace: shop}
`,
    "pods.yaml",
  );
  t.deepEqual(brief(reading), [
    "error Pod shop/bad metadata.labels.version",
    "error Pod shop/bad spec.nodeName",
    "error Pod shop/bad status.podIP",
    "error Pod shop/bad spec.containers",
  ]);
  t.true(reading.problems.every(({ message, remedy }) => message.includes("pods.yaml line 1") && remedy !== ""));
  t.deepEqual([...reading.rows.pods.keys()], ["shop/good"]);
});

test("an unknown field is a warning with what was meant, and the object counts", (t) => {
  const reading = one({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "s", label: {} },
    spec: { clusterIP: "10.96.0.1", ports: [{ port: 80, targetport: 8080 }], somethingOfTomorrow: 1 },
    sepc: {},
  });
  t.deepEqual(
    reading.problems.map(({ severity, field, remedy }) => `${severity} ${field}: ${remedy}`),
    [
      "warning sepc: did you mean spec?",
      "warning metadata.label: did you mean labels?",
      "warning spec.somethingOfTomorrow: remove it, or correct its name",
      "warning spec.ports[0].targetport: did you mean targetPort?",
    ],
  );
  t.true(reading.rows.services.has("default/s"));
});

test("of two objects of one name the first by file and line counts, and both places are told", (t) => {
  const pod = (file: string, line: number, node: string) => ({
    value: { apiVersion: "v1", kind: "Pod", metadata: { name: "web" }, spec: { nodeName: node } },
    file,
    line,
  });
  const objects = [pod("b.yaml", 1, "node-b"), pod("a.yaml", 9, "node-a9"), pod("a.yaml", 3, "node-a3")];
  for (const order of [objects, [...objects].reverse()]) {
    const { rows, problems } = readObjects(order);
    t.is(rows.pods.get("default/web")?.node, "node-a3");
    t.deepEqual(
      problems.map(({ object, message }) => `${object}: ${message}`),
      [
        "Pod default/web: it is in a.yaml line 3 and in a.yaml line 9; a.yaml line 3 counts",
        "Pod default/web: it is in a.yaml line 3 and in b.yaml line 1; a.yaml line 3 counts",
      ],
    );
  }
});

test("kinds that are not for an agent are ignored and named once; a slip of the pen is not taken for one", (t) => {
  const reading = readObjects(
    ["Deployment", "Deployment", "Role", "Job", "Endpoints", "ServiceAccount", "Ingress"].map((kind, i) => ({
      value: { apiVersion: "x/v1", kind, metadata: { name: `n${i}` } },
      file: "a.yaml",
      line: i + 1,
    })),
  );
  t.deepEqual(reading.problems, []);
  t.deepEqual([...reading.ignored].slice(0, 2), [
    ["x/v1 Deployment", "a.yaml line 1"],
    ["x/v1 Role", "a.yaml line 3"],
  ]);
  t.is(reading.ignored.size, 6);
  const slip = one({ apiVersion: "networking.k8s.io/v1", kind: "NetworkPolcy", metadata: { name: "p" } });
  t.like(slip.problems[0], { severity: "error", remedy: "did you mean NetworkPolicy?" });
  const knative = one({ apiVersion: "serving.knative.dev/v1", kind: "Service", metadata: { name: "s" } });
  t.deepEqual([...knative.ignored.keys()], ["serving.knative.dev/v1 Service"]);
});

test("a network policy of a kind that nobody enforces is a problem", (t) => {
  for (const [apiVersion, kind] of [
    ["policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"],
    ["policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"],
    ["projectcalico.org/v3", "NetworkPolicy"],
  ]) {
    const reading = one({ apiVersion, kind, metadata: { name: "p" } });
    t.like(reading.problems[0], { code: "MANIFEST_KIND", severity: "warning" }, kind);
    t.regex(reading.problems[0]?.message ?? "", /not enforced/);
    t.is(reading.rows.policies.size, 0);
  }
});

test("what is no object, has no kind, no name, a bad name or another version is told with its place", (t) => {
  const told = (value: unknown) => {
    const { problems, rows } = readObjects([{ value, file: "a.yaml", line: 7 }]);
    t.true(Object.values(rows).every((table: ReadonlyMap<string, unknown>) => table.size === 0));
    t.true(
      problems.length > 0 && problems.every(({ object, message }) => `${object} ${message}`.includes("a.yaml line 7")),
    );
    return problems.map(({ code, object, field }) => `${code} ${object} ${field}`.trim());
  };
  t.deepEqual(told("text"), ["MANIFEST_TYPE a.yaml line 7"]);
  t.deepEqual(told([]), ["MANIFEST_TYPE a.yaml line 7"]);
  t.deepEqual(told({ kind: "Pod" }), ["MANIFEST_KIND a.yaml line 7"]);
  t.deepEqual(told({ apiVersion: "v1", kind: "Pod" }), ["MANIFEST_MISSING Pod in a.yaml line 7 metadata.name"]);
  t.deepEqual(told({ apiVersion: "v1", kind: "Pod", metadata: { name: "A b" } }), [
    "MANIFEST_NAME Pod in a.yaml line 7 metadata.name",
  ]);
  t.deepEqual(told({ apiVersion: "cilium.io/v1", kind: "CiliumNetworkPolicy", metadata: { name: "p" } }), [
    "MANIFEST_VERSION CiliumNetworkPolicy default/p",
  ]);
  t.deepEqual(told({ apiVersion: "v1", kind: "Pod", metadata: { name: "p", labels: { "a/b/c": "x", d: "e;f" } } }), [
    "MANIFEST_LABEL Pod default/p metadata.labels.a/b/c",
    "MANIFEST_LABEL Pod default/p metadata.labels.d",
  ]);
});

test("a CiliumCIDRGroup with a mistake is refused whole, and every mistake is told", (t) => {
  const group = (spec: unknown, apiVersion = "cilium.io/v2") =>
    one({ apiVersion, kind: "CiliumCIDRGroup", metadata: { name: "g" }, spec });
  const broken = group({ externalCIDRs: ["203.0.113.0/33", "203.0.113.7", 7, null, "10.0.0.0/8"] });
  t.is(broken.rows.cidrGroups.size, 0);
  t.deepEqual(
    brief(broken),
    [0, 1, 2, 3].map((at) => `error CiliumCIDRGroup g spec.externalCIDRs[${at}]`),
  );
  t.deepEqual(brief(group({})), ["error CiliumCIDRGroup g spec.externalCIDRs"]);
  t.deepEqual(brief(group({ externalCIDRs: [] })), []);
  t.deepEqual(brief(group({ externalCIDRs: [], externalCidr: [] })), ["warning CiliumCIDRGroup g spec.externalCidr"]);
  t.deepEqual(brief(group({ externalCIDRs: [] }, "cilium.io/v1")), ["error CiliumCIDRGroup g"]);
});
