/**
 * What a policy of nodes must not take from a node, for then nobody could take the policy back: the least that keeps the node in its
 * cluster. These allows come before all denies. The agent itself needs no more than the API server: people reach it by a unix socket.
 * ARP, neighbour discovery and MLD (RFC 4890 4.4.1) are no matter of policies at all, multicast and broadcast neither. Whoever
 * logs in over SSH, or resolves the API server's name by DNS, has to allow that.
 */
import type { EndpointSliceRow, NodeRow } from "../../model/tables.ts";
import { identityNumbers } from "../identity/reserved.ts";
import { makePortSet, type PortRange } from "./port-sets.ts";
import type { Entry } from "./resolve.ts";
import { type Block, type Direction, protocolNumbers } from "./rules.ts";

const { remoteNode, world, worldIpv4, worldIpv6 } = identityNumbers;
const { TCP, UDP } = protocolNumbers;
const outside = [world, worldIpv4, worldIpv6];
const ipip = 4;
const ipv6InIp = 41;

/** One thing that is kept open. */
export interface Guard extends Entry {
  readonly guard: true;
  /** "BGP (TCP 179)" */
  readonly name: string;
}

export interface GuardFacts {
  readonly node: NodeRow;
  /** Endpoints of default/kubernetes. */
  readonly apiServer: readonly Block[];
  readonly endpointSlices: ReadonlyMap<string, EndpointSliceRow>;
}

export function guardsOf(direction: Direction, { node, apiServer, endpointSlices }: GuardFacts): readonly Guard[] {
  const own = new Set(node.addresses.map(({ text }) => text));
  const servesApi = apiServer.some(({ prefix }) => own.has(prefix.address.text));
  const others = apiServer.filter(({ prefix }) => !own.has(prefix.address.text));
  const guard = (
    name: string,
    ranges: readonly PortRange[],
    identities: readonly number[],
    blocks: readonly Block[] = [],
  ) =>
    identities.length === 0 && blocks.length === 0
      ? []
      : [
          {
            guard: true as const,
            name: `${name} (${ranges.map(rangeText).join(", ")})`,
            action: "allow" as const,
            l7: "",
            ports: makePortSet(ranges),
            any: false,
            identities: [identities],
            blocks,
            origin: `the guard of the node: ${name}`,
          },
        ];
  const api = apiPorts(endpointSlices);
  const guards: (readonly Guard[])[] = [
    guard("BGP", [port(TCP, 179)], [remoteNode, ...outside]),
    // What kube-router puts the traffic between pods of different subnets into; pods are judged inside of it.
    guard("tunnels between nodes", [whole(ipip), whole(ipv6InIp), port(UDP, 5555)], [remoteNode]),
  ];
  if (direction === "egress") {
    guards.push(guard("the API server", api, [], others));
    guards.push(guard("DHCP", [port(UDP, 67), port(UDP, 547)], outside));
    if (servesApi) guards.push(guard("the kubelets", [port(TCP, 10250)], [remoteNode]));
  } else {
    guards.push(guard("the kubelet", [port(TCP, 10250)], [], others));
    guards.push(guard("DHCP", [port(UDP, 68), port(UDP, 546)], outside));
    if (servesApi) guards.push(guard("the API server", api, [remoteNode]));
  }
  if (servesApi) guards.push(guard("etcd", [{ protocol: TCP, first: 2379, last: 2380 }], [], others));
  return guards.flat();
}

/** Of the API server's endpoints; where nobody says, the usual one. */
function apiPorts(slices: ReadonlyMap<string, EndpointSliceRow>): readonly PortRange[] {
  const ports = [...slices.values()]
    .filter(({ namespace, service }) => namespace === "default" && service === "kubernetes")
    .flatMap((slice) => slice.ports)
    .filter(({ protocol }) => protocol === "TCP")
    .map((each) => each.port);
  return makePortSet((ports.length === 0 ? [6443] : ports).map((number) => port(TCP, number)));
}

function port(protocol: number, number: number): PortRange {
  return { protocol, first: number, last: number };
}

function whole(protocol: number): PortRange {
  return { protocol, first: 0, last: 65_535 };
}

function rangeText({ protocol, first, last }: PortRange): string {
  if (protocol === ipip) return "IPIP";
  if (protocol === ipv6InIp) return "IPv6 in IP";
  return `${protocol === TCP ? "TCP" : "UDP"} ${first === last ? first : `${first}-${last}`}`;
}
