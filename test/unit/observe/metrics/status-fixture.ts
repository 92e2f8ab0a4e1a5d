/** A status in which every figure is there. */
import type { StatusDto } from "../../../../src/api/dto.ts";
import type { CompiledDirection, CompiledSet } from "../../../../src/compute/desired.ts";
import type { RuleCount } from "../../../../src/api/proxy-dto.ts";

export function fullStatus(rules: readonly RuleCount[] = [rule(7)]): StatusDto {
  return {
    ok: true,
    node: "node-1",
    version: "1.2.3",
    started: "2026-01-01T00:00:00.000Z",
    readyMs: 1500,
    ready: true,
    revision: { facts: 5, applied: 4 },
    kernel: { release: "6.8", features: {} },
    attach: {
      mode: "tcx",
      endpoints: 2,
      uplinks: ["eth0"],
      xdp: [],
      proxyRedirect: { way: "assign", why: "" },
      cgroup: null,
    },
    sources: [{ name: "files", synced: true, stale: false, detail: "" }],
    addresses: [{ family: 4, podCidr: "10.64.1.0/24", used: 2, size: 254 }],
    counts: { endpoints: 2, identities: 3, policies: 1, services: 4, backends: 6 },
    maps: [
      { name: "conntrack", entries: 10, max: 100 },
      { name: "events", entries: null, max: 8 },
    ],
    reconcilers: [{ name: "policy", writes: 9, repaired: 1, failures: 2, lastError: null }],
    drops: [{ reason: "policy denied", direction: "ingress", packets: 11, bytes: 660 }],
    forwarded: [{ direction: "egress", packets: 12, bytes: 720 }],
    proxy: {
      mode: "on",
      generation: 1,
      ruleSets: rules.length,
      instances: [
        {
          version: "1.2.3",
          pid: 99,
          started: 0,
          state: "active",
          connectedSince: 0,
          generation: 1,
          stats: {
            connections: 1,
            connectionsTotal: 20,
            refused: 0,
            requests: 30,
            memory: 4096,
            recordsLost: 0,
            limits: { maxConnections: 0, openFiles: 5, headTimeout: 2 },
            dns: {
              forwarded: 9,
              denied: 1,
              malformed: 3,
              overloaded: 4,
              waited: 6,
              unruled: 5,
              stray: 6,
              silent: 7,
              overdue: 8,
              told: 2,
              remembered: 1,
              lost: 11,
            },
            rules,
            denied: [
              { protocol: "http", direction: "egress", source: 300, destination: 301, requests: 2 },
              { protocol: "http", direction: "egress", source: 302, destination: 301, requests: 3 },
              { protocol: "http", direction: null, source: 300, destination: 301, requests: 1 },
            ],
            durations: {
              requests: [["dns", { buckets: [{ le: 0.001, count: 1 }], sum: 0.5, count: 2 }]],
              dnsHold: { buckets: [{ le: 0.001, count: 3 }], sum: 0.002, count: 3 },
            },
          },
        },
      ],
    },
    network: { state: "ready", text: "", secondsLeft: null },
    routes: { expected: 3, present: 2, missing: ["10.64.2.0/24"] },
    mtu: { bytes: 1500, from: "" },
    memory: { rssBytes: 1e8 },
    problems: [],
  };
}

export function rule(ruleSet: number): RuleCount {
  return { ruleSet, requests: 2, answered: 2, latencySum: 2_500_000, latencyMax: 2_000_000 };
}

/** Of the rules of `compiledSet`. */
export const text = 'http [{"method":"GET"}]';

const nothing: CompiledDirection = {
  enforced: false,
  denies: 0,
  allows: 0,
  redirects: 0,
  outsideOnly: [],
  peers: new Map(),
  prefixes: [],
  ports: [],
  origins: [],
};

/** A set that allows something, and sends the rest to the proxy. @param origins of each group that does so */
export function compiledSet(origins: readonly (readonly string[])[], demands = origins.map(() => text)): CompiledSet {
  const egress = {
    ...nothing,
    allows: 1,
    redirects: origins.length,
    demands,
    origins: [["CiliumNetworkPolicy shop/plain egress[0]"], ...origins],
  };
  return { key: "300", digest: "", egress, ingress: nothing, refused: null };
}
