import test from "ava";
import { PolicyAnswers, type PolicyAnswersOptions } from "../../../src/agent/policy-answers.ts";
import type { EndpointDto } from "../../../src/api/dto.ts";
import type { TraceQuestionDto } from "../../../src/api/policy-dto.ts";
import type { PacketQuestion } from "../../../src/datapath/kernel-verdict.ts";
import { createComputation } from "../../../src/compute/index.ts";
import type { TableStore } from "../../../src/model/store.ts";
import { localEndpoint, testAllocator } from "../../support/compute-cluster.ts";
import { readManifests } from "../../support/manifest-tables.ts";

const manifests = `
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDRs: [10.0.1.0/24]}, status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, spec: {podCIDRs: [10.0.2.0/24]}, status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}}, spec: {nodeName: n2}, status: {podIP: 10.0.2.2, phase: Running}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}}, spec: {nodeName: n1}, status: {podIP: 10.0.1.3, phase: Running}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: db, namespace: shop}, spec: {podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 5432}]}]}}
`;

function agent(change: { readonly audit?: boolean; readonly started?: boolean } = {}) {
  const store: TableStore = readManifests(manifests);
  const db = store.table("pods").get("shop/db");
  if (db === undefined) throw new Error("there is no pod");
  store.upsert("localEndpoints", "c", { ...localEndpoint(db, 7), policyAuditMode: change.audit ?? null });
  const computation = createComputation({ nodeName: "n1", identities: testAllocator(), policyEnforcement: "default" });
  const loop = { result: change.started === false ? null : computation.compute(store.snapshot()) };
  const packets: PacketQuestion[] = [];
  const options: PolicyAnswersOptions = {
    config: { nodeName: "n1", policyEnforcement: "default", allowLockout: false },
    store,
    datapath: {
      verdict: (packet) => {
        packets.push(packet);
        return { verdict: "allow", group: 3 };
      },
    },
    loop: { ...loop, revision: { facts: 9, applied: 8 } },
  };
  return { store, answers: new PolicyAnswers(options), result: loop.result, packets };
}

const question: TraceQuestionDto = {
  from: "shop/web",
  to: "shop/db",
  port: "22/TCP",
  icmp: null,
  icmp6: null,
  family: null,
};

test("a trace has the agent's numbers, its revision, and which ends only report", (t) => {
  for (const audit of [false, true]) {
    const { answers, result } = agent({ audit });
    const answer = answers.trace(question);
    t.like(answer, { verdict: "deny", node: "n1", revision: { facts: 9, applied: 8 } });
    const [path] = answer.paths;
    t.is(path?.destination.identity, result?.identityOfPod.get("shop/db"));
    t.like(path?.ends[0], { side: "egress", subject: "shop/web", node: "n2" });
    t.is(path?.ends[0]?.audit, undefined, "whether another node's end only reports is not known here");
    t.like(path?.ends[1], { side: "ingress", subject: "shop/db", node: "n1", verdict: "deny", audit });
  }
});

test("the kernel is asked of ends on this node only, with the packet as it sees it", (t) => {
  const { answers, packets } = agent();
  const [egress, ingress] = answers.trace(question).paths[0]?.ends ?? [];
  t.is(egress?.kernel, undefined);
  t.deepEqual(ingress?.kernel, { verdict: "allow", group: 3 });
  const [packet] = packets;
  t.is(packets.length, 1);
  t.like(packet, { ifindex: 107, direction: "ingress", protocol: 6, port: 22 });
  t.is(packet?.peer.text, "10.0.2.2");
  const node = answers.trace({ ...question, from: "node/n1", to: "shop/web" }).paths[0]?.ends[0];
  t.deepEqual(node?.kernel, { verdict: "allow", group: 3 });
  t.like(packets[1], { ifindex: null, direction: "egress" });
});

test("what cannot be answered is refused by its cause", (t) => {
  const { answers } = agent();
  const cases: readonly [Partial<TraceQuestionDto>, string, RegExp][] = [
    [{ from: "shop/wep" }, "TRACE_END", /^from shop\/wep: there is no pod shop\/wep that the agent of n1 has seen$/],
    [{ to: "svc/shop/none" }, "TRACE_END", /^to svc\/shop\/none: there is no service/],
    [{ from: "svc/shop/none" }, "TRACE_END", /^from svc\/shop\/none/],
    [{ port: "0" }, "TRACE_FLOW", /port 0/],
    [{ port: null }, "TRACE_FLOW", /no port/],
    [{ icmp: "8" }, "TRACE_FLOW", /more than one/],
  ];
  for (const [change, code, message] of cases) {
    t.throws(() => answers.trace({ ...question, ...change }), { code, message });
  }
  t.throws(() => agent({ started: false }).answers.trace(question), { code: "NOT_READY" });
});

test("a pod that was made, but of which no source has told, is no mistake of whoever asks", (t) => {
  const { answers, store } = agent();
  store.delete("pods", "shop/db");
  t.throws(() => answers.trace(question), {
    code: "TRACE_END",
    message: "to shop/db: an endpoint of this node whose Pod object is not known yet: it is closed",
  });
});

test("the next question sees what has changed", (t) => {
  const { answers, store } = agent();
  t.is(answers.trace(question).verdict, "deny");
  store.delete("policies", [...store.table("policies").keys()][0] ?? "");
  t.is(answers.trace(question).verdict, "allow");
});

test("an endpoint has its verdict tables, and none as long as its pod is not known", (t) => {
  const { answers, store } = agent();
  const endpoint = { id: 7, pod: "shop/db" } as EndpointDto;
  const [ingress, egress] = answers.details(endpoint).rules?.directions ?? [];
  t.like(ingress, { direction: "ingress", default: "deny", closedBy: ["NetworkPolicy shop/db"] });
  t.like(ingress?.groups.at(-1), {
    action: "allow",
    ports: "TCP 5432",
    peers: [{ text: "anybody", pods: [] }],
    origins: ["NetworkPolicy shop/db ingress[0]"],
  });
  t.like(egress, { direction: "egress", default: "allow", groups: [] });
  store.delete("pods", "shop/db");
  t.is(answers.details(endpoint).rules, null);
});

test("the node itself has verdict tables too: its guard, its denials, and who closes it", (t) => {
  const { answers, store } = agent();
  const rules = () => answers.details({ id: 0, pod: "node/n1" } as EndpointDto).rules;
  t.like(rules(), { subject: "node/n1", selectedBy: [], set: null });
  t.deepEqual(
    rules()?.directions.map(({ default: fallback }) => fallback),
    ["allow", "allow"],
  );
  const [key = "", row] = [...store.table("policies")][0] ?? [];
  if (row === undefined) return t.fail();
  store.upsert("policies", `${key} of nodes`, {
    ...row,
    kind: "CiliumClusterwideNetworkPolicy",
    namespace: "",
    name: "nodes",
    spec: { nodeSelector: {}, ingress: [{ fromEntities: ["host"] }], ingressDeny: [{ fromEntities: ["world"] }] },
  });
  const selectedBy = ["CiliumClusterwideNetworkPolicy nodes"];
  t.like(rules(), { selectedBy, set: "node" });
  const [ingress] = rules()?.directions ?? [];
  t.deepEqual(ingress?.closedBy, selectedBy);
  t.deepEqual(
    ingress?.groups.slice(-2).map(({ action, peers }) => [action, peers[0]?.text]),
    [
      ["deny", "outside (IPv4)"],
      ["allow", "the node itself"],
    ],
  );
  t.is(ingress?.groups[0]?.action, "allow");
  t.true(ingress?.groups.flatMap(({ origins }) => origins).includes("the guard of the node: BGP"));
});
