/** Probes of a conformance case: who connects to whom, and what has to come of it. */
import { type Address, parseAddress } from "../../src/model/ip.ts";
import type { TableStore } from "../../src/model/store.ts";
import type { PodRow, Protocol } from "../../src/model/tables.ts";
import { type ComputedCluster, isLive } from "../support/compute-cluster.ts";
import type { Verdict } from "../support/kernel-verdict.ts";

export interface Probe {
  readonly from: string;
  readonly to: string;
  readonly protocol: Protocol | "ICMP" | "ICMPv6";
  readonly port?: number;
  readonly icmp?: { readonly type: number };
  readonly family?: "IPv4" | "IPv6";
  readonly expect: string;
  readonly http?: unknown;
  readonly kafka?: unknown;
  readonly dns?: unknown;
  readonly resolved?: unknown;
}

const protocols = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1, ICMPv6: 58 } as const;

/** One way that a probe may go. */
interface Destination {
  readonly addresses: readonly Address[];
  readonly port: number;
}

function endOf(store: TableStore, name: string): readonly Address[] {
  const literal = parseAddress(name);
  if (literal !== null) return [literal];
  if (name.startsWith("node/")) return nodeAddresses(store, name.slice("node/".length));
  const pod = store.table("pods").get(name);
  if (pod === undefined) throw new Error(`there is no pod ${name}`);
  return pod.hostNetwork ? nodeAddresses(store, pod.node) : pod.addresses;
}

function nodeAddresses(store: TableStore, name: string): readonly Address[] {
  const node = store.table("nodes").get(name);
  if (node === undefined) throw new Error(`there is no node ${name}`);
  return node.addresses;
}

/** Each ready backend is a destination of its own; the service's name for a port links it to the slices' port. */
function backends(store: TableStore, name: string, protocol: string, port: number): readonly Destination[] {
  const service = store.table("services").get(name);
  if (service === undefined) throw new Error(`there is no service ${name}`);
  const servicePort = service.ports.find((each) => each.port === port && each.protocol === protocol);
  if (servicePort === undefined) return [];
  return [...store.table("endpointSlices").values()]
    .filter((slice) => `${slice.namespace}/${slice.service}` === name)
    .flatMap((slice) =>
      slice.ports
        .filter((each) => each.name === servicePort.name && each.protocol === protocol)
        .flatMap((each) =>
          slice.endpoints
            .filter(({ ready }) => ready)
            .map(({ addresses }): Destination => ({ addresses, port: each.port })),
        ),
    );
}

const severity: Readonly<Record<Verdict, number>> = { allow: 0, redirect: 1, deny: 2 };

/** @returns the worst of all backends */
export function run(store: TableStore, cluster: ComputedCluster, probe: Probe): Verdict {
  const port = probe.icmp === undefined ? (probe.port ?? 0) : probe.icmp.type << 8;
  const sources = endOf(store, probe.from);
  const destinations = probe.to.startsWith("svc/")
    ? backends(store, probe.to.slice("svc/".length), probe.protocol, port)
    : [{ addresses: endOf(store, probe.to), port }];
  if (destinations.length === 0) return "deny";
  const families = familiesOf(probe);
  const verdicts = destinations.map((destination): Verdict => {
    const has = (addresses: readonly Address[], family: 4 | 6) => addresses.find((each) => each.family === family);
    const family = families.find((each) => has(sources, each) && has(destination.addresses, each));
    const source = family === undefined ? undefined : has(sources, family);
    const target = family === undefined ? undefined : has(destination.addresses, family);
    if (source === undefined || target === undefined) return "deny";
    if (samePod(store, source, target)) return "allow";
    return cluster.connect(source, target, protocols[probe.protocol], destination.port);
  });
  return verdicts.reduce((worst, verdict) => (severity[verdict] > severity[worst] ? verdict : worst));
}

function familiesOf({ family, protocol }: Probe): readonly (4 | 6)[] {
  if (family !== undefined) return family === "IPv4" ? [4] : [6];
  if (protocol === "ICMP") return [4];
  return protocol === "ICMPv6" ? [6] : [4, 6];
}

function samePod(store: TableStore, left: Address, right: Address): boolean {
  const holder = (address: Address): PodRow | undefined =>
    [...store.table("pods").values()]
      .filter(isLive)
      .find(({ addresses }) => addresses.some(({ text }) => text === address.text));
  const pod = holder(left);
  return pod !== undefined && pod === holder(right);
}
