/** A ready node with one pod, one policy and one service, as the answers of its agent show it. */
import { Answers, type AnswersOptions, type DatapathAnswers } from "../../../src/agent/answers.ts";
import type { ComputeResult } from "../../../src/compute/result.ts";
import type { DatapathReport, Endpoint } from "../../../src/datapath/report.ts";
import { TableStore } from "../../../src/model/store.ts";
import type { LocalEndpointRow } from "../../../src/model/tables.ts";
import { address, prefix } from "../../support/arbitrary-rows.ts";

export const socket = (text: string, port: number): Endpoint => ({ address: address(text), port });

export const report: DatapathReport = {
  features: { tcx: { supported: true, detail: "" } },
  mode: "tcx",
  attachedEndpoints: 1,
  attachedUplinks: ["eth0"],
  xdp: [{ device: "eth0", mode: "native", why: "" }],
  proxyRedirect: { way: "assign", why: "" },
  cgroup: null,
  reconcilers: [{ name: "ipcache", writes: 3, repaired: 0, failures: 0, lastError: null }],
  maps: [{ name: "ct4", entries: null, max: 10 }],
};

export const datapath: DatapathAnswers = {
  report: async () => report,
  traffic: () => [
    { reason: 0, direction: "egress", packets: 9, bytes: 900 },
    { reason: 0, direction: "ingress", packets: 0, bytes: 0 },
    { reason: 1, direction: "ingress", packets: 2, bytes: 120 },
  ],
  endpointState: (id) => (id === 7 ? { state: "ready", policyRevision: 4, policySet: 2 } : null),
  conntrack: async () => [
    {
      family: 6,
      protocol: 6,
      source: socket("fd00::2", 41_000),
      destination: socket("fd00::10", 80),
      state: "established",
      idleSeconds: 1,
      ageSeconds: 5,
      nat: socket("fd00::3", 8080),
      egressRevision: 4,
      ingressRevision: 0,
    },
  ],
  renamings: async () => [
    {
      family: 4,
      protocol: 17,
      source: socket("10.0.1.2", 41_000),
      destination: socket("203.0.113.53", 53),
      to: { source: socket("192.0.2.1", 1025), destination: socket("203.0.113.53", 53) },
      kind: "masquerade",
      state: "replied",
      idleSeconds: 1,
    },
  ],
  identities: async () => [
    { address: address("10.0.1.2"), identity: 256 },
    { address: address("10.0.9.9"), identity: 999 },
  ],
  maglev: async () => [
    {
      frontend: socket("10.96.0.1", 80),
      protocol: 6,
      outside: true,
      backends: [socket("10.0.1.2", 8080), socket("10.0.2.2", 8080)],
      table: [0, 1, 0],
    },
  ],
  hostState: () => null,
  verdict: () => null,
  policySets: async () => [
    {
      set: 2,
      direction: "ingress",
      enforced: true,
      groups: [
        {
          group: 0,
          action: "allow",
          identities: [0, 256],
          prefixes: [prefix("192.0.2.0/24")],
          ports: [{ protocol: 6, port: 80, bits: 24 }],
          origins: ["NetworkPolicy shop/api ingress[0]"],
        },
      ],
    },
  ],
  affinities: async () => [],
  serviceFlows: async () => [],
  namespaceCookie: async () => 1n,
  services: async () => [
    { frontend: socket("10.96.0.1", 80), protocol: 6, outside: false, backends: [socket("10.0.1.2", 8080)] },
    { frontend: socket("10.96.0.1", 80), protocol: 6, outside: true, backends: [socket("10.0.1.3", 8080)] },
    { frontend: socket("10.96.0.9", 80), protocol: 6, outside: false, backends: [] },
  ],
};

export const endpoint: LocalEndpointRow = {
  pod: "shop/web-0",
  uid: "u",
  containerId: "c1",
  id: 7,
  ifindex: 12,
  ifname: "tdm1",
  netns: "/run/netns/x",
  ipv4: address("10.0.1.2"),
  ipv6: null,
  podMac: "",
  hostMac: "",
  policyAuditMode: null,
};

export const result: ComputeResult = {
  desired: {
    identities: new Map(),
    clusterPrefixes: [],
    endpoints: [{ row: endpoint, identity: 256, set: "256", audit: false }],
    sets: [],
    frontends: ["10.96.0.1", "198.51.100.1"].map((text) => ({
      address: address(text),
      port: 80,
      protocol: 6,
      external: text.startsWith("198"),
      affinitySeconds: null,
      backends: [socket("10.0.1.2", 8080)],
      service: "shop/web:http",
    })),
    uplinks: [],
  },
  identityOfPod: new Map([["shop/web-0", 256]]),
  identitiesInUse: new Map([[256, { key: "k8s:app=web", texts: ["k8s:app=web"] }]]),
  identities: [
    { id: 1, labels: ["reserved:host"], references: 0, reserved: true },
    { id: 256, labels: ["k8s:app=web"], references: 1, reserved: false },
  ],
  lastValid: new Map(),
  policies: [
    {
      kind: "NetworkPolicy",
      namespace: "shop",
      name: "api",
      valid: true,
      pods: ["shop/web-0"],
      ownNode: false,
      problems: [],
    },
  ],
  problems: [],
};

export function tables(): TableStore {
  const store = new TableStore();
  store.upsert("localEndpoints", "c1", endpoint);
  store.upsert("nodes", "n1", {
    name: "n1",
    labels: { pool: "a" },
    addresses: [address("192.0.2.1")],
    podCidrs: [prefix("10.0.1.0/24")],
  });
  store.upsert("nodes", "n2", {
    name: "n2",
    labels: {},
    addresses: [address("192.0.2.2")],
    podCidrs: [prefix("10.0.2.0/24")],
  });
  const nextHops = [{ gateway: address("192.0.2.2"), ifindex: 2, device: "eth0" }];
  store.upsert("routes", "10.0.2.0/24", {
    destination: prefix("10.0.2.0/24"),
    protocol: 17,
    nextHops,
    metric: 0,
    mtu: null,
    since: 0,
  });
  store.upsert("services", "shop/web", {
    namespace: "shop",
    name: "web",
    type: "ClusterIP",
    clusterIps: [address("10.96.0.1")],
    externalIps: [address("198.51.100.1")],
    loadBalancerIps: [],
    ports: [],
    selector: null,
    affinitySeconds: null,
    publishNotReady: false,
    internalTrafficPolicy: "Cluster",
    externalTrafficPolicy: "Cluster",
    healthCheckNodePort: null,
    sourceRanges: null,
    labels: {},
  });
  return store;
}

export function answers(overrides: Partial<AnswersOptions> = {}): Answers {
  return new Answers({
    config: { nodeName: "n1", ipv4: true, ipv6: true, policyEnforcement: "default", allowLockout: false },
    version: "0.1.0",
    kernel: "6.18.0",
    store: tables(),
    conditions: { problems: () => [] },
    datapath,
    cni: { addresses: () => [{ family: 4, podCidr: "10.0.1.0/24", used: 1, size: 253 }], isLeaving: () => false },
    unmanaged: () => [],
    mtu: () => ({ bytes: 1480, from: "route to 10.0.2.0/24 (n2)" }),
    sources: { files: { status: () => ({ name: "files", synced: true, stale: false, detail: "" }) } },
    nodes: { report: () => [] },
    network: { status: () => ({ state: "ready", text: "", secondsLeft: null }) },
    bgp: { state: "off", received: async () => [] },
    loop: { result, revision: { facts: 2, applied: 1 }, pending: "none" },
    proxy: { proxy: () => ({ mode: "on", generation: 1, ruleSets: 0, instances: [] }), watch: () => undefined },
    clock: { now: () => 100_000, monotonicMs: () => 400 },
    monotonicNs: () => 5_000_000_000n,
    ...overrides,
  });
}
