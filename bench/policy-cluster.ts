/**
 * A cluster for the policy benchmarks, as tables: nodes of 50 pods, deployments of ten pods, namespaces of twenty deployments, and policies as
 * teams write them: four of five a NetworkPolicy that opens a deployment to two others and to its monitoring, the fifth a
 * CiliumNetworkPolicy with a namespace, a CIDR with an exception, and a deny. Everything follows from numbers: two clusters of one size are equal.
 */
import { type Computation, createComputation, type IdentityAllocator } from "../src/compute/index.ts";
import { type Address, parseAddress, parsePrefix, type Prefix } from "../src/model/ip.ts";
import { TableStore } from "../src/model/store.ts";
import type { LocalEndpointRow, PodRow, PolicyRow } from "../src/model/tables.ts";

export const podsPerNode = 50;
const podsPerDeployment = 10;
const deploymentsPerNamespace = 20;
const ports = [8080, 9090, 443, 5432, 6379];

export interface ClusterSize {
  readonly pods: number;
  readonly policies: number;
  /** How many of the nodes the computing node stands for: their pods are its own. Not set: one. */
  readonly ownNodes?: number;
}

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === null) throw new Error(`${text} is no address`);
  return parsed;
}

function prefix(text: string): Prefix {
  const parsed = parsePrefix(text);
  if (parsed === null) throw new Error(`${text} is no prefix`);
  return parsed;
}

export const nodeName = (node: number): string => `node-${String(node).padStart(4, "0")}`;
const namespaceOf = (deployment: number): string => `team-${Math.floor(deployment / deploymentsPerNamespace)}`;

/** Pod `i` of the cluster; deployments are spread over the nodes. */
export function podRow(i: number, pods: number, app?: string): PodRow {
  const deployments = Math.max(1, Math.floor(pods / podsPerDeployment));
  const deployment = i % deployments;
  const node = Math.floor(i / podsPerNode);
  const name = `app-${deployment}`;
  return {
    namespace: namespaceOf(deployment),
    name: `${name}-${Math.floor(i / deployments)}`,
    uid: `uid-${i}`,
    labels: { app: app ?? name, tier: deployment % 3 === 0 ? "front" : "back" },
    node: nodeName(node),
    serviceAccount: "default",
    hostNetwork: false,
    addresses: [
      address(`10.${64 + (node >> 8)}.${node & 255}.${10 + (i % podsPerNode)}`),
      address(`fd00:64:${node.toString(16)}::${(16 + (i % podsPerNode)).toString(16)}`),
    ],
    ports: [{ name: "http", port: 8080, protocol: "TCP" }],
    phase: "Running",
    ready: true,
  };
}

/** One more pod, `app`: other labels than those of the others, on this node or on the next. */
export function extraPod(i: number, pods: number, own: boolean, app?: string): PodRow {
  const node = own ? 0 : 1;
  return {
    ...podRow(i, pods, app),
    name: `extra-${i}`,
    uid: `extra-uid-${i}`,
    node: nodeName(node),
    addresses: [address(`10.64.${node}.250`), address(`fd00:64:${node}::250`)],
  };
}

export function policyRow(i: number, pods: number): PolicyRow {
  const deployments = Math.max(1, Math.floor(pods / podsPerDeployment));
  const deployment = i % deployments;
  const namespace = namespaceOf(deployment);
  const first = deployment - (deployment % deploymentsPerNamespace);
  const app = (offset: number): object => ({
    matchLabels: { app: `app-${first + ((deployment + offset + i) % deploymentsPerNamespace)}` },
  });
  const port = ports[i % ports.length];
  const common = { namespace, name: `policy-${i}`, uid: `policy-uid-${i}`, generation: 1, specs: null };
  const subject = { matchLabels: { app: `app-${deployment}` } };
  if (i % 5 !== 4) {
    return {
      ...common,
      kind: "NetworkPolicy",
      spec: {
        podSelector: subject,
        policyTypes: ["Ingress"],
        ingress: [
          { from: [{ podSelector: app(1) }, { podSelector: app(2) }], ports: [{ port, protocol: "TCP" }] },
          {
            from: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "team-0" } } }],
            ports: [{ port: "http", protocol: "TCP" }],
          },
        ],
      },
    };
  }
  return {
    ...common,
    kind: "CiliumNetworkPolicy",
    spec: {
      endpointSelector: subject,
      ingress: [{ fromEndpoints: [{}], toPorts: [{ ports: [{ port: String(port), protocol: "TCP" }] }] }],
      egress: [
        { toEndpoints: [app(3)], toPorts: [{ ports: [{ port: "53", protocol: "ANY" }] }] },
        { toCIDRSet: [{ cidr: `198.18.${deployment & 255}.0/24`, except: [`198.18.${deployment & 255}.128/25`] }] },
      ],
      egressDeny: [{ toEndpoints: [{ matchLabels: { tier: "front" } }], toPorts: [{ ports: [{ port: "22" }] }] }],
    },
  };
}

function localEndpoint(pod: PodRow, id: number): LocalEndpointRow {
  return {
    pod: `${pod.namespace}/${pod.name}`,
    uid: pod.uid,
    containerId: `container-${pod.uid}`,
    id,
    ifindex: 100 + id,
    ifname: `tdm${id}`,
    netns: `/run/netns/bench-${id}`,
    ipv4: pod.addresses[0] ?? null,
    ipv6: pod.addresses[1] ?? null,
    podMac: "02:00:00:00:00:01",
    hostMac: "02:00:00:00:00:02",
    policyAuditMode: null,
  };
}

/** The pod, and its endpoint if it is this node's. */
export function putPod(store: TableStore, row: PodRow, localId: number | null): void {
  store.upsert("pods", `${row.namespace}/${row.name}`, row);
  if (localId === null) return;
  const endpoint = localEndpoint(row, localId);
  store.upsert("localEndpoints", endpoint.containerId, endpoint);
}

export function removePod(store: TableStore, { namespace, name, uid }: PodRow): void {
  store.delete("pods", `${namespace}/${name}`);
  store.delete("localEndpoints", `container-${uid}`);
}

const policyKey = ({ kind, namespace, name }: PolicyRow): string => `${kind}/${namespace}/${name}`;

export function removePolicy(store: TableStore, row: PolicyRow): void {
  store.delete("policies", policyKey(row));
}

export function putPolicy(store: TableStore, row: PolicyRow): void {
  store.upsert("policies", policyKey(row), row);
}

/** The tables as an agent of `nodeName(0)` has them. */
export function clusterTables({ pods, policies, ownNodes = 1 }: ClusterSize): TableStore {
  const store = new TableStore();
  const nodes = Math.ceil(pods / podsPerNode);
  for (let i = 0; i < nodes; i++) {
    store.upsert("nodes", nodeName(i), {
      name: nodeName(i),
      labels: { "kubernetes.io/hostname": nodeName(i) },
      addresses: [address(`192.0.${2 + (i >> 8)}.${i & 255}`)],
      podCidrs: [prefix(`10.${64 + (i >> 8)}.${i & 255}.0/24`), prefix(`fd00:64:${i.toString(16)}::/64`)],
    });
  }
  for (let i = 0; i < pods; i++) {
    const row = podRow(i, pods);
    if (!store.table("namespaces").has(row.namespace)) {
      const labels = { "kubernetes.io/metadata.name": row.namespace };
      store.upsert("namespaces", row.namespace, { name: row.namespace, labels });
    }
    putPod(store, row, i < podsPerNode * ownNodes ? i + 1 : null);
  }
  for (let i = 0; i < policies; i++) putPolicy(store, policyRow(i, pods));
  return store;
}

/** Numbers in the order of asking. */
function allocator(): IdentityAllocator {
  const numbers = new Map<string, number>();
  return {
    numberFor: (key) => {
      const number = numbers.get(key) ?? 256 + numbers.size;
      numbers.set(key, number);
      return number;
    },
  };
}

export function freshComputation(): Computation {
  return createComputation({ nodeName: nodeName(0), identities: allocator(), policyEnforcement: "default" });
}
