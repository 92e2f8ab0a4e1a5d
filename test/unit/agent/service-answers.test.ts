/** What the agent says of one service, and of which backend a client gets. */
import test from "ava";
import { ServiceAnswers, type ServiceAnswersOptions } from "../../../src/agent/service-answers.ts";
import { ApiError } from "../../../src/api/errors.ts";
import { createComputation } from "../../../src/compute/index.ts";
import type { KernelAffinity, KernelFlow } from "../../../src/datapath/report.ts";
import { parseAddress } from "../../../src/model/ip.ts";
import { localEndpoint, testAllocator } from "../../support/compute-cluster.ts";
import { readManifests } from "../../support/manifest-tables.ts";

const zone = "topology.kubernetes.io/zone";
const manifests = `
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {${zone}: a}}, spec: {podCIDRs: [10.0.1.0/24]}, status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2, labels: {${zone}: b}}, spec: {podCIDRs: [10.0.2.0/24]}, status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: cart, namespace: shop}, spec: {nodeName: n1}, status: {podIP: 10.0.1.9, phase: Running}}
---
{apiVersion: v1, kind: Pod, metadata: {name: far, namespace: shop}, spec: {nodeName: n2}, status: {podIP: 10.0.2.9, phase: Running}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.1
  externalTrafficPolicy: Local
  loadBalancerSourceRanges: [198.51.100.0/24]
  sessionAffinity: ClientIP
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
status: {loadBalancer: {ingress: [{ip: 203.0.113.10}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints:
- {addresses: [10.0.1.2], nodeName: n1, conditions: {ready: true}}
- {addresses: [10.0.2.2], nodeName: n2, conditions: {ready: true}}
- {addresses: [10.0.1.3], nodeName: n1, conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [10.0.1.4], nodeName: n1, conditions: {ready: false}}
---
{apiVersion: v1, kind: Service, metadata: {name: empty, namespace: shop}, spec: {clusterIP: 10.96.0.2, ports: [{port: 80}]}}
`;

const ip = (text: string) => parseAddress(text) ?? { family: 4 as const, text: "none", bytes: new Uint8Array(4) };
const end = (text: string, port: number) => ({ address: ip(text), port });

interface Kernel {
  readonly flows?: readonly KernelFlow[];
  readonly affinities?: readonly KernelAffinity[];
  readonly started?: boolean;
}

function agent({ flows = [], affinities = [], started = true }: Kernel = {}): ServiceAnswers {
  const store = readManifests(manifests);
  const cart = store.table("pods").get("shop/cart");
  if (cart === undefined) throw new Error("there is no pod");
  store.upsert("localEndpoints", "c", localEndpoint(cart, 7));
  const computation = createComputation({ nodeName: "n1", identities: testAllocator(), policyEnforcement: "default" });
  const result = started ? computation.compute(store.snapshot()) : null;
  const options: ServiceAnswersOptions = {
    config: { nodeName: "n1" },
    store,
    conditions: {
      problems: () =>
        ["shop/web", "shop/other"].map((name) => ({
          code: "X",
          severity: "warning",
          object: `Service ${name}`,
          field: "",
          message: "m",
          remedy: "r",
          since: "2026-11-26T12:00:00.250Z",
        })),
    },
    datapath: {
      services: async () => [
        {
          frontend: end("10.96.0.1", 80),
          protocol: 6,
          outside: false,
          backends: [end("10.0.1.2", 8080), end("10.0.2.2", 8080)],
        },
      ],
      conntrack: async () => flows,
      renamings: async () => [],
      serviceFlows: async () => [
        { frontend: end("10.96.0.1", 80), protocol: 6, outside: false, begun: 12 },
        { frontend: end("10.96.0.1", 80), protocol: 17, outside: false, begun: 99 },
      ],
      affinities: async () => affinities,
      namespaceCookie: async () => 77n,
      report: async () => ({ cgroup: "/sys/fs/cgroup" }),
    },
    bgp: { state: "synced" },
    loop: { result, revision: { facts: 9, applied: 9 } },
    policyTrace: async ({ to }) => {
      if (to === "10.0.2.2") throw new ApiError(400, "TRACE_END", "", "");
      return {
        title: "",
        verdict: "deny",
        service: null,
        nowhere: null,
        paths: [],
        node: "n1",
        revision: { facts: 9, applied: 9 },
      };
    },
  };
  return new ServiceAnswers(options);
}

const trace = (client: string, to: string, kernel: Kernel = {}) => agent(kernel).trace({ client, to });

test("one service: policies, addresses with what the kernel has, endpoints in every state, its own problems", async (t) => {
  const details = await agent().details("shop/web");
  t.like(details, { type: "LoadBalancer", policies: { externalTrafficPolicy: "Local", affinitySeconds: 10_800 } });
  t.deepEqual(details.policies.sourceRanges, { policy: "allow", prefixes: ["198.51.100.0/24"] });
  t.deepEqual(
    details.frontends.map(({ frontend, type, inside, outside, inKernel }) => [
      frontend,
      type,
      inside.length,
      outside,
      inKernel,
    ]),
    [
      ["10.96.0.1:80", "ClusterIP", 2, null, true],
      ["192.0.2.1:30080", "NodePort", 2, ["10.0.1.2:8080"], false],
      ["203.0.113.10:80", "LoadBalancer", 2, ["10.0.1.2:8080"], false],
    ],
  );
  t.deepEqual(
    details.backends.map(({ backend, state, node, zone: where, local }) => [backend, state, node, where, local]),
    [
      ["10.0.1.2:8080", "ready", "n1", "a", true],
      ["10.0.1.3:8080", "terminating", "n1", "a", true],
      ["10.0.1.4:8080", "not ready", "n1", "a", true],
      ["10.0.2.2:8080", "ready", "n2", "b", false],
    ],
  );
  t.deepEqual(
    details.frontends.map(({ flows }) => flows.inside),
    [12, 0, 0],
  );
  t.is(details.problems.length, 1);
  const error = await t.throwsAsync(agent().details("shop/none"));
  t.like(error, { code: "NOT_FOUND", status: 404 });
});

test("a pod here: at the socket, one of all that are ready, with what policies say", async (t) => {
  const answer = await trace("shop/cart", "10.96.0.1:80");
  t.like(answer, {
    service: "shop/web",
    type: "ClusterIP",
    scope: "inside",
    outcome: "backend",
    destination: "10.96.0.1:80",
  });
  t.regex(answer.how, /^at the socket, by connect\(\); what skips that, packet by packet$/);
  t.is(answer.because, "one of 2, by chance, the same for 10800 s after the last use (sessionAffinity)");
  t.deepEqual(
    answer.candidates.map(({ backend, leftOut, verdict }) => [backend, leftOut, verdict]),
    [
      ["10.0.1.2:8080", null, "deny"],
      ["10.0.1.3:8080", "it is terminating, and others are ready", null],
      ["10.0.1.4:8080", "it is not ready", null],
      ["10.0.2.2:8080", null, null],
    ],
  );
  t.like(await trace("10.0.1.9", "10.96.0.1:80/TCP"), { client: { name: "shop/cart" } });
});

test("a client outside: those of this node where the policy is Local, and only by source ranges", async (t) => {
  const allowed = await trace("198.51.100.7", "203.0.113.10:80");
  t.like(allowed, { scope: "outside", type: "LoadBalancer", outcome: "backend" });
  t.regex(allowed.because, /^the only one/);
  t.is(allowed.candidates.at(-1)?.leftOut, "it is on n2, and the policy is Local");
  const denied = await trace("198.18.0.7", "203.0.113.10:80");
  t.like(denied, { outcome: "dropped" });
  t.is(denied.because, "the service is not for clients of this address: no source range holds it");
  t.like(await trace("198.18.0.7", "192.0.2.1:30080"), { outcome: "backend", type: "NodePort" });
  t.like(await trace("198.18.0.7", "10.96.0.1:80"), { outcome: "not translated" });
});

test("what the kernel has of this client, by flow and by affinity; of others nothing", async (t) => {
  const flow = (source: string, port: number, state = "service"): KernelFlow => ({
    family: 4,
    protocol: 6,
    source: end(source, port),
    destination: end("10.96.0.1", 80),
    state,
    idleSeconds: 5,
    ageSeconds: 9,
    nat: end("10.0.2.2", 8080),
    egressRevision: 0,
    ingressRevision: 0,
  });
  const kept = (client: KernelAffinity["client"]): KernelAffinity => ({
    client,
    service: end("10.96.0.1", 80),
    protocol: 6,
    backend: end("10.0.1.2", 8080),
    idleSeconds: 2,
  });
  const { choices } = await trace("shop/cart", "10.96.0.1:80", {
    flows: [flow("10.0.1.9", 40_000), flow("10.0.1.8", 40_001), flow("10.0.1.9", 40_002, "established")],
    affinities: [
      kept({ kind: "netns", cookie: 77n }),
      kept({ kind: "netns", cookie: 78n }),
      kept({ kind: "address", address: ip("10.0.1.8") }),
    ],
  });
  t.deepEqual(choices, [
    { backend: "10.0.1.2:8080", by: "affinity", clientPort: null, state: "kept", idleSeconds: 2 },
    { backend: "10.0.2.2:8080", by: "flow", clientPort: 40_000, state: "service", idleSeconds: 5 },
  ]);
});

test("no backend, no service, another port", async (t) => {
  t.like(await trace("shop/cart", "10.96.0.2:80"), { outcome: "refused", service: "shop/empty" });
  const other = await trace("shop/cart", "10.96.0.1:81");
  t.like(other, { outcome: "not translated", service: null });
  t.is(other.because, "services have other ports at this address: 80/TCP (shop/web)");
  t.regex((await trace("shop/cart", "10.99.0.1:81/UDP")).because, /^no service has this address/);
});

test("ends that nothing can be said about", async (t) => {
  for (const [client, to, message] of [
    ["shop/crat", "10.96.0.1:80", /client shop\/crat: there is no such pod/],
    ["shop/far", "10.96.0.1:80", /client shop\/far is on n2, where services are translated for it/],
    ["node/n2", "10.96.0.1:80", /client node\/n2 is on n2/],
    ["node/n3", "10.96.0.1:80", /there is no such node/],
    ["shop/cart", "[fd00::1]:80", /has no IPv6 address/],
    ["2001:db8::1", "10.96.0.1:80", /not of the service address's family/],
    ["shop/cart", "10.96.0.1", /is no address with a port/],
    ["shop/cart", "fd00::1:80", /is no address with a port/],
    ["shop/cart", "10.96.0.1:80/ICMP", /port 80\/ICMP is not/],
  ] as const)
    t.regex((await t.throwsAsync(trace(client, to)))?.message ?? "", message, `${client} ${to}`);
  t.like(await t.throwsAsync(trace("shop/cart", "10.96.0.1:80", { started: false })), { code: "NOT_READY" });
});
