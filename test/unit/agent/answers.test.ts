import test from "ava";
import type { AnswersOptions } from "../../../src/agent/answers.ts";
import type { EventDto } from "../../../src/api/dto.ts";
import type { DatapathEvent } from "../../../src/datapath/report.ts";
import type { ToldProblem } from "../../../src/model/status.ts";
import { pod } from "../compute/support.ts";
import { direction, set } from "../datapath/world.ts";
import { address } from "../../support/arbitrary-rows.ts";
import { answers, datapath, result, socket, tables } from "./answers-fixture.ts";

test("the status of a ready node: counts, traffic, routes, and ok", async (t) => {
  const made = answers();
  made.ready(321.4);
  t.like(await made.status(), {
    ok: true,
    ready: true,
    readyMs: 321,
    started: new Date(99_600).toISOString(),
    attach: { mode: "tcx", endpoints: 1, uplinks: ["eth0"], cgroup: null },
    counts: { endpoints: 1, identities: 1, policies: 1, services: 2, backends: 1 },
    drops: [{ reason: "policy: no rule allows it", direction: "ingress", packets: 2, bytes: 120 }],
    forwarded: [{ direction: "egress", packets: 9, bytes: 900 }],
    network: { state: "ready", text: "", secondsLeft: null },
    routes: { expected: 1, present: 1, missing: [] },
    mtu: { bytes: 1480, from: "route to 10.0.2.0/24 (n2)" },
  });
});

test("a node is not ok before it is ready, with an error, a stale source or a missing route; a warning is no reason", async (t) => {
  const problem = (severity: ToldProblem["severity"]): ToldProblem => ({
    code: "X",
    severity,
    object: "o",
    field: "",
    message: "m",
    remedy: "r",
    since: "2026-11-26T12:00:00.250Z",
  });
  const unreachable = tables();
  unreachable.delete("routes", "10.0.2.0/24");
  const stale = { files: { status: () => ({ name: "files", synced: true, stale: true, detail: "" }) } };
  const cases: readonly [string, Partial<AnswersOptions>, boolean][] = [
    ["nothing", {}, true],
    ["warning", { conditions: { problems: () => [problem("warning")] } }, true],
    ["error", { conditions: { problems: () => [problem("error")] } }, false],
    ["stale", { sources: stale }, false],
    ["route", { store: unreachable }, false],
  ];
  for (const [name, overrides, ok] of cases) {
    const made = answers(overrides);
    t.is((await made.status()).ok, false, "not ready");
    made.ready(1);
    t.is((await made.status()).ok, ok, name);
  }
});

test("before the first computation everything is empty, and answered", async (t) => {
  const made = answers({ loop: { result: null, revision: { facts: 0, applied: 0 }, pending: "none" } });
  t.like(await made.status(), { ok: false, ready: false, readyMs: null, counts: { policies: 0, services: 0 } });
  t.deepEqual([made.identities(), made.policies(), made.services()], [[], [], []]);
  t.like(made.endpoints()[0], { id: 7, identity: 0, state: "restoring", policySet: 2 });
  t.deepEqual((await made.ipcache())[0], { address: "10.0.1.2", identity: 256, labels: [] });
});

test("endpoints, policies and services join what compute wants with what the kernel has", (t) => {
  const made = answers();
  t.like(made.endpoints()[0], { pod: "shop/web-0", identity: 256, labels: ["k8s:app=web"], policySet: 2 });
  t.like(made.policies()[0], { name: "api", endpoints: [7] });
  t.deepEqual(
    made.services().map(({ type, frontend }) => [type, frontend]),
    [
      ["ClusterIP", "10.96.0.1:80"],
      ["ExternalIPs", "198.51.100.1:80"],
    ],
  );
});

test("an endpoint says how far it is, and why it is not ready", (t) => {
  const row = (overrides: Partial<AnswersOptions>) => answers(overrides).endpoints()[0];
  const kernel = (state: "closed" | "ready", heldBack?: string) => ({
    datapath: {
      ...datapath,
      endpointState: () => ({ state, policyRevision: 4, policySet: 2, ...(heldBack !== undefined && { heldBack }) }),
    },
  });
  const addresses = () => [];
  t.like(row({}), { state: "ready", reason: null });
  t.like(row({ cni: { addresses, isLeaving: (container) => container === "c1" } }), { state: "disconnecting" });
  t.like(row({ loop: { result, revision: { facts: 2, applied: 1 }, pending: "running" } }), { state: "regenerating" });
  t.like(row(kernel("closed", "more than 512 groups")), {
    state: "not-ready",
    reason: "more than 512 groups; it is closed",
  });
  t.is(row(kernel("ready", "more than 512 groups"))?.state, "waiting-to-regenerate");
});

test("a pod that is not Tandem's is in the list, after all that are, and is no endpoint", (t) => {
  const made = answers({ unmanaged: () => [pod("before", { addresses: [address("10.0.1.9")] })] });
  t.like(made.endpoints().at(-1), { id: 0, pod: "shop/before", state: "unmanaged", ipv4: "10.0.1.9", policySet: 0 });
  t.is(made.endpoints().find(({ id }) => id === 0)?.pod, "node/n1");
});

test("the node itself is an endpoint of its own, with its enforcement, where policies can be about it", (t) => {
  const plain = answers().endpoints().at(-1);
  t.like(plain, { id: 0, pod: "node/n1", identity: 1, labels: ["reserved:host", "k8s:pool=a"], state: "ready" });
  t.like(plain, { ipv4: "192.0.2.1", ipv6: null, policySet: 0, enforcement: { ingress: false, egress: false } });

  const closed = { ...direction([9]), enforced: true };
  const desired = { ...result.desired, sets: [set("node", closed)], host: { set: "node", audit: true } };
  const loop = { result: { ...result, desired }, revision: { facts: 2, applied: 1 }, pending: "none" as const };
  const hostState = () => ({ state: "ready" as const, policyRevision: 4, policySet: 9 });
  t.like(
    answers({ loop, datapath: { ...datapath, hostState } })
      .endpoints()
      .at(-1),
    {
      pod: "node/n1",
      policySet: 9,
      policyRevision: 4,
      enforcement: { ingress: true, egress: false },
      policyAuditMode: { active: true, own: null },
    },
  );

  const config = { nodeName: "n1", ipv4: true, ipv6: true, policyEnforcement: "never", allowLockout: false } as const;
  t.deepEqual(
    answers({ config })
      .endpoints()
      .map(({ id }) => id),
    [7],
  );
  t.deepEqual(
    answers({ config: { ...config, policyEnforcement: "default", nodeName: "unknown" } })
      .endpoints()
      .map(({ id }) => id),
    [7],
  );
});

test("what is in the kernel is told with names where there are any", async (t) => {
  const made = answers();
  t.like((await made.conntrack())[0], { protocol: "TCP", source: "[fd00::2]:41000", nat: "[fd00::3]:8080" });
  t.like((await made.renamings())[0], { protocol: "UDP", source: "10.0.1.2:41000", newSource: "192.0.2.1:1025" });
  t.deepEqual(
    (await made.ipcache()).map(({ labels }) => labels),
    [["k8s:app=web"], []],
  );
  t.like((await made.policyMaps())[0]?.groups[0], {
    peers: ["ANY", "256 k8s:app=web", "192.0.2.0/24"],
    ports: ["80/TCP"],
  });
  t.deepEqual(
    (await made.serviceMaps()).map(({ service, type, backends }) => [service, type, backends]),
    [
      ["shop/web:http", "ClusterIP", ["10.0.1.2:8080"]],
      ["", "", []],
    ],
  );
  t.like((await made.maglevTables())[0], { service: "shop/web:http", clients: "outside", slots: 3, table: [0, 1, 0] });
});

const denied: DatapathEvent = {
  timeNs: 4_000_000_000n,
  type: "drop",
  reason: 1,
  direction: "ingress",
  protocol: 6,
  allowed: false,
  audit: false,
  proxied: false,
  reply: false,
  source: socket("10.0.2.9", 41_000),
  destination: socket("10.0.1.2", 80),
  sourceIdentity: 300,
  destinationIdentity: 256,
  ifindex: 2,
  endpoint: 7,
  rules: [],
  length: 74,
};

test("events are decoded only while somebody listens, and told with names and wall time", (t) => {
  const store = tables();
  const made = answers({ store });
  let decoded = 0;
  const batch = (...events: readonly DatapathEvent[]) => ({
    count: events.length,
    decode: () => {
      decoded++;
      return events;
    },
  });
  made.publish(batch(denied));
  t.is(decoded, 0);

  const seen: EventDto[] = [];
  const end = made.events.subscribe((events) => seen.push(...events));
  made.publish(batch(denied, { ...denied, type: "verdict", allowed: true, audit: true }));
  store.upsert("pods", "shop/web-0", {
    namespace: "shop",
    name: "web-0",
    uid: "u",
    labels: {},
    node: "n1",
    serviceAccount: "",
    hostNetwork: false,
    addresses: [address("10.0.1.2")],
    ports: [],
    phase: "Running",
    ready: true,
  });
  made.publish(batch({ ...denied, type: "verdict", allowed: true, reason: 0 }));
  made.publish(batch({ ...denied, type: "verdict", allowed: true, proxied: true, reason: 0 }));
  end();
  made.publish(batch(denied));
  t.is(decoded, 3);
  t.like(seen[0], {
    time: new Date(99_000).toISOString(),
    verdict: "denied",
    reason: "policy: no rule allows it",
    protocol: "TCP",
    bytes: 74,
  });
  t.deepEqual(seen[0]?.destination, { address: "10.0.1.2", port: 80, identity: 256, name: "" });
  t.deepEqual(
    seen.map(({ verdict, destination }) => [verdict, destination.name]),
    [
      ["denied", ""],
      ["audit", ""],
      ["allowed", "shop/web-0"],
      ["redirected", "shop/web-0"],
    ],
  );
});
