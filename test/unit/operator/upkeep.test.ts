import test from "ava";
import { customKinds } from "../../../src/kube-objects/index.ts";
import { kinds, type KubeObject } from "../../../src/kube/index.ts";
import { unreachable } from "../../support/memory-cluster.ts";
import { gcIntervalMs, leading, names, pod, shop } from "./leading.ts";

const { ciliumEndpoints, ciliumNodes, nodes, customResourceDefinitions: definitions } = kinds;

function node(name: string, uid: string, fields: Readonly<Record<string, unknown>> = {}): KubeObject {
  return {
    metadata: { name, uid },
    spec: { podCIDRs: ["10.1.0.0/24", "fd00:1::/64"] },
    status: { addresses: [{ type: "InternalIP", address: "192.168.0.1" }], conditions: [{ type: "Ready" }] },
    ...fields,
  };
}

test("an endpoint without its pod goes after two rounds, one whose pod has come stays", async (t) => {
  const { clock, cluster, lead } = leading(t);
  shop(cluster);
  const web = cluster.put(kinds.pods, pod("web", { app: "web" }));
  const owner = (uid = "") => ({ ownerReferences: [{ apiVersion: "v1", kind: "Pod", name: "x", uid }] });
  cluster.put(ciliumEndpoints, { metadata: { namespace: "shop", name: "web", ...owner(web.metadata.uid) } });
  cluster.put(ciliumEndpoints, { metadata: { namespace: "shop", name: "gone", ...owner("1") } });
  cluster.put(ciliumEndpoints, { metadata: { namespace: "shop", name: "late", ...owner("late") } });
  cluster.put(ciliumEndpoints, { metadata: { namespace: "shop", name: "renewed", ...owner("old") } });
  cluster.put(kinds.pods, pod("renewed", { app: "web" }));
  await lead();
  t.is(names(cluster, ciliumEndpoints).length, 4, "one round is not enough");
  const late = pod("late", { app: "web" });
  cluster.put(kinds.pods, { ...late, metadata: { ...late.metadata, uid: "late" } });
  await clock.advance(gcIntervalMs);
  t.deepEqual(names(cluster, ciliumEndpoints), ["web", "late"]);
});

test("the API server is asked before an endpoint goes: a pod that this leader has not heard of keeps its own", async (t) => {
  const { clock, cluster, lead } = leading(t);
  shop(cluster);
  cluster.put(ciliumEndpoints, { metadata: { namespace: "shop", name: "web" } });
  await lead();
  cluster.before = async ({ method, resource }) => {
    if (method === "get" && resource === "pods") cluster.put(kinds.pods, pod("web", { app: "web" }));
  };
  await clock.advance(gcIntervalMs);
  t.deepEqual(cluster.writes(ciliumEndpoints), []);
});

test("every Node has a CiliumNode with its addresses and CIDRs, owned by it and gone with it", async (t) => {
  const { clock, cluster, lead } = leading(t);
  cluster.put(nodes, node("n1", "uid-1"));
  await lead();
  await clock.advance(1_000);
  t.like(cluster.find(ciliumNodes, "n1"), {
    metadata: { ownerReferences: [{ apiVersion: "v1", kind: "Node", name: "n1", uid: "uid-1" }] },
    spec: {
      addresses: [{ type: "InternalIP", ip: "192.168.0.1" }],
      ipam: { podCIDRs: ["10.1.0.0/24", "fd00:1::/64"] },
    },
  });
  // What a kubelet writes each minute is no reason to write.
  cluster.put(nodes, node("n1", "uid-1", { status: { ...(node("n1", "").status as object), conditions: [] } }));
  await clock.advance(700_000);
  t.is(cluster.writes(ciliumNodes).length, 1);

  cluster.put(nodes, node("n1", "uid-1", { status: { addresses: [{ type: "InternalIP", address: "192.168.0.9" }] } }));
  await clock.advance(2_000);
  t.like(cluster.find(ciliumNodes, "n1")?.spec, { addresses: [{ type: "InternalIP", ip: "192.168.0.9" }] });

  cluster.remove(nodes, "n1");
  await clock.advance(2_000);
  t.deepEqual(names(cluster, ciliumNodes), []);
});

test("what others wrote into a CiliumNode stays, and one that no Node owns is left alone", async (t) => {
  const { clock, cluster, lead } = leading(t);
  cluster.put(nodes, node("n1", "uid-1", { spec: {} }));
  cluster.put(ciliumNodes, {
    metadata: { name: "n1" },
    spec: {
      addresses: [
        { type: "CiliumInternalIP", ip: "10.1.0.1" },
        { type: "InternalIP", ip: "192.168.0.77" },
      ],
      ipam: { podCIDRs: ["10.9.0.0/24"] },
      bootid: "b",
    },
  });
  cluster.put(ciliumNodes, { metadata: { name: "outside" }, spec: {} });
  await lead();
  await clock.advance(2_000);
  t.like(cluster.find(ciliumNodes, "n1")?.spec, {
    addresses: [
      { type: "InternalIP", ip: "192.168.0.1" },
      { type: "CiliumInternalIP", ip: "10.1.0.1" },
    ],
    ipam: { podCIDRs: ["10.9.0.0/24"] },
    bootid: "b",
  });
  t.deepEqual(names(cluster, ciliumNodes), ["n1", "outside"]);
});

test("CIDRs that kube-router has of a node's annotation count, whatever its spec says", async (t) => {
  const { clock, cluster, lead } = leading(t);
  const annotations = { "kube-router.io/pod-cidrs": "10.2.0.0/24, fd00:2::/64" };
  const spec = { podCIDRs: ["10.9.0.0/24"] };
  cluster.put(nodes, { ...node("n1", "u", { spec }), metadata: { name: "n1", uid: "u", annotations } });
  await lead();
  await clock.advance(2_000);
  t.like(cluster.find(ciliumNodes, "n1")?.spec, { ipam: { podCIDRs: ["10.2.0.0/24", "fd00:2::/64"] } });
});

test("missing definitions are installed, also again after they were deleted; what is as it should be costs no write", async (t) => {
  const { clock, cluster, lead } = leading(t);
  await lead();
  t.is(names(cluster, definitions).length, customKinds.length);
  const written = cluster.writes(definitions).length;
  cluster.remove(definitions, "ciliumnodes.cilium.io");
  await clock.advance(300_000);
  t.is(names(cluster, definitions).length, customKinds.length);
  t.is(cluster.writes(definitions).length, written + 1);
});

test("a definition of Tandem's own is brought up to date, one of somebody else is used and its gaps are told", async (t) => {
  const { clock, cluster, problems, lead, stop } = leading(t);
  await lead();
  await stop();
  const change = (name: string, owned: boolean) => {
    const found = cluster.find(definitions, name);
    const spec = JSON.parse(JSON.stringify(found?.spec)) as {
      versions: { schema: { openAPIV3Schema: { properties: { spec: { properties: Record<string, unknown> } } } } }[];
    };
    const properties = spec.versions[0]?.schema.openAPIV3Schema.properties.spec.properties ?? {};
    delete properties.ipam;
    properties.bootid = { type: "integer" };
    properties["of-theirs"] = { type: "string" };
    const labels = owned ? (found?.metadata.labels ?? {}) : {};
    return cluster.put(definitions, { ...found, metadata: { name, labels }, spec });
  };
  const own = change("ciliumnodes.cilium.io", true);
  await lead();
  t.not(cluster.find(definitions, "ciliumnodes.cilium.io")?.metadata.resourceVersion, own.metadata.resourceVersion);
  t.deepEqual(problems.get("definitions"), []);

  const theirs = change("ciliumnodes.cilium.io", false);
  await clock.advance(300_000);
  t.is(cluster.find(definitions, "ciliumnodes.cilium.io")?.metadata.resourceVersion, theirs.metadata.resourceVersion);
  t.like(problems.get("definitions"), [
    {
      code: "CRD_DIFFERS",
      severity: "warning",
      object: "CustomResourceDefinition ciliumnodes.cilium.io",
      field: "spec.bootid (integer instead of string), spec.ipam",
    },
  ]);
});

test("a definition of a newer release is not taken back: its fields would go from what is stored", async (t) => {
  const { cluster, problems, lead } = leading(t);
  await lead();
  const name = "ciliumnodes.cilium.io";
  const installed = cluster.find(definitions, name);
  const spec = JSON.parse(JSON.stringify(installed?.spec).replaceAll('"description":"', '"description":"Newer: ')) as {
    versions: { schema: { openAPIV3Schema: { properties: { spec: { properties: Record<string, unknown> } } } } }[];
  };
  const { properties = {} } = spec.versions[0]?.schema.openAPIV3Schema.properties.spec ?? {};
  properties["of-tomorrow"] = { type: "string" };
  const newer = cluster.put(definitions, {
    ...installed,
    metadata: { name, labels: installed?.metadata.labels ?? {} },
    spec,
  });
  await lead();
  t.is(cluster.find(definitions, name)?.metadata.resourceVersion, newer.metadata.resourceVersion);
  t.deepEqual(problems.get("definitions"), []);
  // One that only reads otherwise is of a release before, or of no other fields: it is brought up to date.
  delete properties["of-tomorrow"];
  const older = cluster.put(definitions, { ...newer, spec });
  await lead();
  t.not(cluster.find(definitions, name)?.metadata.resourceVersion, older.metadata.resourceVersion);
});

test("definitions that cannot be written are a condition and are tried again; the rest goes on meanwhile", async (t) => {
  const { clock, cluster, counters, problems, lead } = leading(t);
  cluster.put(nodes, node("n1", "uid-1"));
  cluster.before = async ({ method, resource }) => {
    if (method === "create" && resource.startsWith("customresourcedefinitions")) throw unreachable();
  };
  await lead();
  await clock.advance(2_000);
  t.is(problems.get("definitions")?.length, customKinds.length);
  t.like(problems.get("duty-definitions")?.[0], { code: "DUTY_FAILED" });
  t.deepEqual(names(cluster, ciliumNodes), ["n1"]);
  cluster.before = async () => undefined;
  await clock.advance(10_000);
  t.deepEqual(problems.get("definitions"), []);
  t.true(counters.get("rounds_failed_total") >= 1);
  t.regex(counters.text(), /^tandem_operator_nodes_written_total 1$/m);
});

test("a round that is skipped mends nothing: that the one before it failed stays told", async (t) => {
  const { clock, cluster, problems, lead } = leading(t);
  cluster.put(nodes, node("n1", "uid-1"));
  cluster.before = async ({ method, resource }) => {
    if (method === "create" && resource.startsWith("ciliumnodes")) throw unreachable();
  };
  await lead();
  await clock.advance(2_000);
  t.like(problems.get("duty-nodes")?.[0], { code: "DUTY_FAILED" });
  cluster.before = async () => undefined;
  cluster.cut("operator");
  await clock.advance(120_000);
  t.like(problems.get("duty-nodes")?.[0], { code: "DUTY_FAILED" });
  t.true((problems.get("following")?.length ?? 0) > 0);
  cluster.cut();
  await clock.advance(60_000);
  t.deepEqual(problems.get("duty-nodes"), []);
  t.deepEqual(problems.get("following"), []);
});
