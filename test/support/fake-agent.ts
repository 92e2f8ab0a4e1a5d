/** An API server over made-up answers, for tests of the API and of the command line. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import type { CniRequest, CniResponse, EventDto, StatusDto } from "../../src/api/dto.ts";
import type { ServiceBackendDto, ServiceDetailsDto, ServiceTraceDto } from "../../src/api/service-dto.ts";
import type { AgentQueries, ProxyControl } from "../../src/api/queries.ts";
import { ApiServer, type ApiServerOptions } from "../../src/api/server.ts";

export const status: StatusDto = {
  ok: true,
  node: "node-1",
  version: "0.1.0",
  started: "2026-01-02T03:04:05.000Z",
  readyMs: 321,
  ready: true,
  revision: { facts: 5, applied: 5 },
  kernel: { release: "6.18.0", features: { tcx: { supported: true, detail: "" } } },
  attach: {
    mode: "tcx",
    endpoints: 2,
    uplinks: ["eth0"],
    xdp: [
      { device: "eth0", mode: "native", why: "" },
      { device: "tun0", mode: "off", why: "it has no Ethernet header" },
    ],
    proxyRedirect: { way: "tproxy", why: "setting proxyRedirect" },
    cgroup: "/sys/fs/cgroup/tandem",
  },
  sources: [{ name: "files", synced: true, stale: false, detail: "12 objects" }],
  addresses: [{ family: 4, podCidr: "10.1.0.0/24", used: 2, size: 253 }],
  counts: { endpoints: 2, identities: 3, policies: 1, services: 1, backends: 2 },
  maps: [{ name: "ct4", entries: 7, max: 262_144 }],
  reconcilers: [{ name: "endpoint", writes: 4, repaired: 0, failures: 0, lastError: null }],
  drops: [{ reason: "policy: no rule allows it", direction: "ingress", packets: 5, bytes: 300 }],
  forwarded: [{ direction: "egress", packets: 100, bytes: 9000 }],
  proxy: { mode: "on", generation: 1, ruleSets: 0, instances: [] },
  network: { state: "ready", text: "", secondsLeft: null },
  routes: { expected: 1, present: 1, missing: [] },
  mtu: { bytes: 1500, from: "device eth0" },
  memory: { rssBytes: 61_000_000 },
  problems: [],
};

const queries: AgentQueries = {
  status: async () => status,
  metrics: async () => [],
  version: () => ({ version: "0.1.0", node: "node-1", kernel: "6.18.0" }),
  endpoints: () => [
    {
      id: 7,
      pod: "shop/web-0",
      containerId: "c1",
      ifname: "tdm1",
      ifindex: 12,
      ipv4: "10.1.0.2",
      ipv6: "fd00::2",
      identity: 256,
      labels: ["k8s:app=web", "k8s:tier=front"],
      state: "ready",
      reason: null,
      policyRevision: 3,
      policySet: 1,
      enforcement: { ingress: true, egress: false },
      policyAuditMode: { active: false, own: null },
    },
  ],
  endpointDetails: (endpoint) => ({ ...endpoint, rules: null }),
  policyTrace: async ({ from, to }) => ({
    title: `${from} -> ${to} TCP 80`,
    verdict: "allow",
    service: null,
    nowhere: null,
    paths: [],
    node: "node-1",
    revision: { facts: 5, applied: 5 },
  }),
  identities: () => [{ id: 256, labels: ["k8s:app=web"], references: 1, reserved: false }],
  policies: () => [],
  services: () => [],
  serviceDetails: async (service) => serviceDetails(service),
  serviceTrace: async ({ client, to }) => serviceTrace(client, to),
  routes: async () => [],
  nodeHealth: () => [],
  bgpPeers: () => [],
  bgpServices: () => [],
  bgpPaths: () => [],
  conntrack: async () => [],
  renamings: async () => [],
  ipcache: async () => [],
  policyMaps: async () => [],
  serviceMaps: async () => [],
  maglevTables: async () => [],
};

export const serviceDetails = (service: string): ServiceDetailsDto => ({
  service,
  type: "LoadBalancer",
  policies: {
    internalTrafficPolicy: "Cluster",
    externalTrafficPolicy: "Local",
    affinitySeconds: 60,
    publishNotReadyAddresses: false,
    healthCheckNodePort: 32_000,
    sourceRanges: { policy: "allow", prefixes: ["192.0.2.0/24"] },
    exposed: null,
    nodes: null,
  },
  frontends: [
    {
      frontend: "10.96.0.1:80",
      protocol: "TCP",
      type: "ClusterIP",
      servicePort: 80,
      inside: ["10.1.0.2:8080", "10.2.0.2:8080"],
      outside: null,
      flows: { inside: 7, outside: 3 },
      inKernel: true,
    },
  ],
  advertisements: [
    { address: "10.96.0.1", type: "ClusterIP", path: "none", by: null, unserved: [] },
    { address: "203.0.113.10", type: "LoadBalancer", path: "own", by: "node-1", unserved: ["80/TCP"] },
    { address: "203.0.113.11", type: "LoadBalancer", path: "learned", by: "node-2", unserved: [] },
  ],
  backends: [backend("10.1.0.2:8080", "ready", "node-1"), backend("10.2.0.3:8080", "not ready", null)],
  problems: [
    {
      code: "SERVICE_NODE_PORT",
      severity: "error",
      object: `Service ${service}`,
      field: "spec.ports[0].nodePort",
      message: "22 is not served",
      remedy: "use another",
      since: "2026-11-26T12:00:00.250Z",
    },
  ],
});

function backend(text: string, state: ServiceBackendDto["state"], node: string | null): ServiceBackendDto {
  return { backend: text, protocol: "TCP", servicePort: 80, state, node, zone: null, local: node === "node-1" };
}

const serviceTrace = (client: string, to: string): ServiceTraceDto => ({
  node: "node-1",
  revision: { facts: 5, applied: 5 },
  client: { name: client, address: "10.1.0.9" },
  destination: to,
  protocol: "TCP",
  service: "shop/web",
  type: "ClusterIP",
  scope: "inside",
  how: "at the socket, by connect()",
  outcome: "backend",
  because: "the only one",
  candidates: [
    { ...backend("10.1.0.2:8080", "ready", "node-1"), leftOut: null, verdict: "allow" },
    { ...backend("10.2.0.3:8080", "not ready", null), leftOut: "it is not ready", verdict: null },
  ],
  choices: [{ backend: "10.1.0.2:8080", by: "flow", clientPort: 40_000, state: "service", idleSeconds: 3 }],
});

const noProxy: ProxyControl = {
  isOn: true,
  proxy: () => status.proxy,
  rules: () => ({ rules: [], denied: [] }),
  accept: (socket) => void socket.end(),
};

export class FakeAgent {
  readonly socket: string;
  readonly server: ApiServer;
  readonly errors: unknown[] = [];
  listeners: ((events: readonly EventDto[]) => void)[] = [];

  constructor(socket: string, overrides: FakeAgentOptions) {
    this.socket = socket;
    this.server = new ApiServer({
      socket,
      queries: { ...queries, ...overrides.queries },
      events: {
        subscribe: (listener) => {
          this.listeners.push(listener);
          return () => {
            this.listeners = this.listeners.filter((other) => other !== listener);
          };
        },
      },
      cni: { handle: overrides.cni ?? (async () => ({ exitCode: 0, output: "{}" })) },
      endpoints: { configure: overrides.configure ?? (async () => false) },
      names: { cache: () => [], names: () => [], clean: () => 0, ...overrides.names },
      proxy: overrides.proxy ?? noProxy,
      peerUid: overrides.peerUid ?? (() => 0),
      onError: (error) => this.errors.push(error),
    });
  }
}

export interface FakeAgentOptions {
  readonly queries?: Partial<AgentQueries>;
  readonly cni?: (request: CniRequest, signal: AbortSignal) => Promise<CniResponse>;
  readonly peerUid?: ApiServerOptions["peerUid"];
  readonly configure?: ApiServerOptions["endpoints"]["configure"];
  readonly names?: Partial<ApiServerOptions["names"]>;
  readonly proxy?: ApiServerOptions["proxy"];
}

/** A folder of the test's own, removed with it. */
export async function temporaryFolder(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "tandem-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export async function fakeAgent(t: ExecutionContext, overrides: FakeAgentOptions = {}): Promise<FakeAgent> {
  const agent = new FakeAgent(join(await temporaryFolder(t), "agent.sock"), overrides);
  await agent.server.start();
  t.teardown(() => agent.server.stop());
  return agent;
}

export const drop: EventDto = {
  time: "2026-01-02T03:04:05.678Z",
  type: "drop",
  verdict: "denied",
  reason: "policy: no rule allows it",
  direction: "ingress",
  protocol: "TCP",
  source: { address: "10.1.0.2", port: 41_000, identity: 256, name: "shop/web-0" },
  destination: { address: "10.1.0.3", port: 5432, identity: 257, name: "shop/db-0" },
  rules: [],
  bytes: 74,
};
