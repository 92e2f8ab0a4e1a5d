/** Every node's computation of one cluster, and what becomes of a connection in it. */
import {
  type ComputeResult,
  type Computation,
  type ComputationOptions,
  createComputation,
  type IdentityAllocator,
} from "../../src/compute/index.ts";
import type { Address } from "../../src/model/ip.ts";
import { TableStore } from "../../src/model/store.ts";
import type { LocalEndpointRow, PodRow } from "../../src/model/tables.ts";
import { identityOf, judge, type Packet, type Verdict } from "./kernel-verdict.ts";

/** Numbers in the order of asking; nothing is ever given back. */
export function testAllocator(): IdentityAllocator {
  const numbers = new Map<string, number>();
  return {
    numberFor: (key) => {
      const number = numbers.get(key) ?? 256 + numbers.size;
      numbers.set(key, number);
      return number;
    },
  };
}

export function localEndpoint(pod: PodRow, id: number): LocalEndpointRow {
  return {
    pod: `${pod.namespace}/${pod.name}`,
    uid: pod.uid === "" ? null : pod.uid,
    containerId: `container-${pod.namespace}-${pod.name}`,
    id,
    ifindex: 100 + id,
    ifname: `tdm${id}`,
    netns: `/run/netns/${pod.namespace}-${pod.name}`,
    ipv4: pod.addresses.find(({ family }) => family === 4) ?? null,
    ipv6: pod.addresses.find(({ family }) => family === 6) ?? null,
    podMac: "02:00:00:00:00:01",
    hostMac: "02:00:00:00:00:02",
    policyAuditMode: null,
  };
}

export function isLive({ phase, hostNetwork, addresses }: PodRow): boolean {
  return !hostNetwork && phase !== "Succeeded" && phase !== "Failed" && addresses.length > 0;
}

/** The tables as the agent of a node has them: those of the cluster and its own endpoints. */
export function tablesOfNode(store: TableStore, nodeName: string): TableStore {
  const own = new TableStore();
  const tables = [
    "namespaces",
    "nodes",
    "pods",
    "services",
    "endpointSlices",
    "policies",
    "cidrGroups",
    "names",
  ] as const;
  for (const table of tables) {
    for (const [key, row] of store.table(table)) own.upsert(table, key, row);
  }
  let id = 0;
  for (const pod of store.table("pods").values()) {
    if (pod.node !== nodeName || !isLive(pod)) continue;
    const row = localEndpoint(pod, ++id);
    own.upsert("localEndpoints", row.containerId, row);
  }
  return own;
}

export class ComputedCluster {
  readonly #store: TableStore;
  readonly #results = new Map<string, ComputeResult>();

  constructor(store: TableStore, options: Partial<ComputationOptions> = {}) {
    this.#store = store;
    const identities = testAllocator();
    for (const nodeName of store.table("nodes").keys()) {
      const computation: Computation = createComputation({
        nodeName,
        identities,
        policyEnforcement: "default",
        ...options,
      });
      this.#results.set(nodeName, computation.compute(tablesOfNode(store, nodeName).snapshot()));
    }
  }

  result(node: string): ComputeResult {
    const result = this.#results.get(node);
    if (result === undefined) throw new Error(`there is no node ${node}`);
    return result;
  }

  /** The live pod that has the address. */
  podAt(address: Address): PodRow | null {
    const pods = [...this.#store.table("pods").values()].filter(isLive);
    return pods.find(({ addresses }) => addresses.some(({ text }) => text === address.text)) ?? null;
  }

  nodeAt(address: Address): string | null {
    const nodes = [...this.#store.table("nodes").values()];
    return nodes.find(({ addresses }) => addresses.some(({ text }) => text === address.text))?.name ?? null;
  }

  /** The verdict of one end about the other, as its node's kernel finds it. Ends that are no pods have no policy. */
  judgeEnd(end: Address, side: "ingress" | "egress", packet: Packet): Verdict {
    const pod = this.podAt(end);
    if (pod === null) return "allow";
    const { desired } = this.result(pod.node);
    const endpoint = desired.endpoints.find(({ row }) => row.pod === `${pod.namespace}/${pod.name}`);
    const set = desired.sets.find(({ key }) => key === endpoint?.set);
    if (set === undefined) throw new Error(`${pod.namespace}/${pod.name} has no set`);
    if (set.refused !== null) return "deny";
    return judge(set, side, identityOf(desired, packet.peer), packet);
  }

  /** Egress of the source, then ingress of the destination; the first that does not allow is the result. */
  connect(source: Address, destination: Address, protocol: number, port: number): Verdict {
    const from = this.podAt(source) ?? this.nodeAt(source);
    const to = this.podAt(destination) ?? this.nodeAt(destination);
    // What goes to an own address never leaves.
    if (source.text === destination.text || (from !== null && from === to)) return "allow";
    const egress = this.judgeEnd(source, "egress", { peer: destination, protocol, port });
    if (egress === "deny") return egress;
    const ingress = this.judgeEnd(destination, "ingress", { peer: source, protocol, port });
    return ingress === "allow" ? egress : ingress;
  }
}
