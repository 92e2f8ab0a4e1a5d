/** A cluster as an agent knows it: the agent's settings, numbers and further addresses of its node. */
import test from "ava";
import { liveCluster } from "../../../../src/compute/offline/live.ts";
import { rulesOfPod } from "../../../../src/compute/offline/resolved-rules.ts";
import { isMistake, traceConnection } from "../../../../src/compute/offline/trace.ts";
import { parseAddress } from "../../../../src/model/ip.ts";
import type { TableStore } from "../../../../src/model/store.ts";
import { readManifests } from "../../../support/manifest-tables.ts";

const pod = (name: string, node: string, address: string) => `
---
{apiVersion: v1, kind: Pod, metadata: {name: ${name}, namespace: shop, labels: {app: ${name}}}, spec: {nodeName: ${node}},
 status: {podIP: ${address}, phase: Running}}`;

const node = (name: string, address: string, podCidr: string) => `
---
{apiVersion: v1, kind: Node, metadata: {name: ${name}}, spec: {podCIDRs: [${podCidr}]},
 status: {addresses: [{type: InternalIP, address: ${address}}]}}`;

const database = `
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: db, namespace: shop},
 spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: 5432}]}]}}`;

const shop = [
  "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}",
  node("n1", "192.0.2.1", "10.0.1.0/24"),
  node("n2", "192.0.2.2", "10.0.2.0/24"),
  pod("api", "n1", "10.0.1.2"),
  pod("web", "n2", "10.0.2.2"),
  pod("db", "n2", "10.0.2.3"),
  database,
].join("");

type Settings = Parameters<typeof liveCluster>[0]["settings"];

function live(store: TableStore, settings: Partial<Settings> = {}) {
  const identities = [{ id: 4711, labels: ["k8s:app=api"], references: 1, reserved: false }];
  return liveCluster({
    tables: store.snapshot(),
    node: "n1",
    settings: { policyEnforcement: "default", ...settings },
    identities,
  });
}

function trace(cluster: ReturnType<typeof live>, from: string, to: string, port = 5432) {
  const answer = traceConnection(cluster, { from, to, flow: { protocol: 6, port }, family: null });
  if (isMistake(answer)) throw new Error(answer.message);
  return answer;
}

test("ends name the node whose kernel judges them, on whichever node", (t) => {
  const cluster = live(readManifests(shop));
  const answer = trace(cluster, "shop/web", "shop/db");
  t.is(answer.verdict, "deny");
  t.deepEqual(
    answer.paths[0]?.ends.map(({ subject, node: judging, verdict }) => [subject, judging, verdict]),
    [
      ["shop/web", "n2", "allow"],
      ["shop/db", "n2", "deny"],
    ],
  );
  t.is(trace(cluster, "shop/api", "shop/db").verdict, "allow");
});

test("an end that the agent has not seen says so, with the nearest that it has", (t) => {
  const cluster = live(readManifests(shop));
  const flow = { protocol: 6, port: 80 };
  t.deepEqual(traceConnection(cluster, { from: "shop/apo", to: "shop/db", flow, family: null }), {
    message: "from shop/apo: there is no pod shop/apo that the agent of n1 has seen",
    remedy: "did you mean shop/api?",
  });
  t.deepEqual(traceConnection(cluster, { from: "shop/api", to: "other/nothing", flow, family: null }), {
    message: "to other/nothing: there is no pod other/nothing that the agent of n1 has seen",
    remedy: "tandem status tells whether its sources have seen everything",
  });
});

test("identities have the agent's numbers, and new labels a number that nobody has", (t) => {
  const store = readManifests(shop);
  const first = live(store);
  const labels = first.labelsOf(first.result.identityOfPod.get("shop/api") ?? 0);
  const identities = [{ id: 65_535, labels, references: 1, reserved: false }];
  const cluster = liveCluster({
    tables: store.snapshot(),
    node: "n1",
    settings: { policyEnforcement: "default" },
    identities,
  });
  t.is(cluster.result.identityOfPod.get("shop/api"), 65_535);
  const others = ["shop/web", "shop/db"].map((name) => cluster.result.identityOfPod.get(name));
  t.deepEqual([...others].sort(), [65_533, 65_534]);
});

test("every further address of the agent's node is the node, unless another has it", (t) => {
  const store = readManifests(shop);
  for (const text of ["203.0.113.9", "10.0.2.3"]) {
    const address = parseAddress(text);
    if (address === null) throw new Error(text);
    store.upsert("localAddresses", text, { address, device: "eth0" });
  }
  const { paths } = trace(live(store), "203.0.113.9", "shop/db");
  t.like(paths[0]?.source, { kind: "node", name: "node/n1", identity: 6 });
  t.like(trace(live(store), "shop/api", "10.0.2.3").paths[0]?.destination, { kind: "pod", name: "shop/db" });
});

test("the modes of enforcement are told as what closes, or opens, an end", (t) => {
  const store = readManifests(shop);
  const always = trace(live(store, { policyEnforcement: "always" }), "shop/web", "shop/api");
  t.is(
    always.paths[0]?.ends[0]?.because,
    "no rule allows it, and egress is closed by the setting policyEnforcement (always)",
  );
  const never = live(store, { policyEnforcement: "never" });
  const open = trace(never, "shop/web", "shop/db");
  t.is(open.verdict, "allow");
  t.is(open.paths[0]?.ends[1]?.because, "nothing is enforced: the setting policyEnforcement is never");
  const db = store.table("pods").get("shop/db");
  if (db === undefined) return t.fail();
  t.deepEqual(
    rulesOfPod(never, db).directions.map(({ default: fallback, closedBy }) => [fallback, closedBy]),
    [
      ["allow", []],
      ["allow", []],
    ],
  );
});

test("of an invalid policy the version counts that was in force", (t) => {
  const store = readManifests(shop);
  const [[key, row] = ["", null]] = [...store.table("policies")];
  if (row === null) return t.fail();
  store.upsert("policies", key, { ...row, spec: { podSelector: {}, ingres: [] } });
  t.is(trace(live(store), "shop/web", "shop/db").verdict, "allow");
  t.is(trace(live(store, { lastValid: new Map([[key, row]]) }), "shop/web", "shop/db").verdict, "deny");
});
