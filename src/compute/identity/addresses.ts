/**
 * Who has which address. Nodes come first, so that no pod can pass for one; then what the CNI gave to a pod of this node; then a pod
 * whose node has the address in its pod CIDRs; then any other pod. Of equals the first by name. Addresses that this node has beside those
 * of its Node object (of bridges, secondary ones, those that several hosts announce) are the node too, unless somebody of the cluster has them.
 */
import { type Address, compareAddresses, prefixContains } from "../../model/ip.ts";
import { compareText } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";
import type { LocalAddressRow, LocalEndpointRow, NodeRow } from "../../model/tables.ts";
import type { DesiredIdentity } from "../desired.ts";
import type { PodFact } from "./pods.ts";
import { identityNumbers } from "./reserved.ts";

export interface AddressFacts {
  readonly pods: ReadonlyMap<string, PodFact>;
  readonly nodes: ReadonlyMap<string, NodeRow>;
  readonly localEndpoints: ReadonlyMap<string, LocalEndpointRow>;
  readonly localAddresses: ReadonlyMap<string, LocalAddressRow>;
  readonly nodeName: string;
}

export interface AddressHolders {
  /** Sorted by address. */
  readonly identities: readonly DesiredIdentity[];
  /** Pod -> the addresses that are its own, sorted. Pods without any are not in it. */
  readonly addressesOf: ReadonlyMap<string, readonly Address[]>;
  readonly problems: readonly Problem[];
}

interface Claim {
  readonly address: Address;
  readonly fact: PodFact;
  /** Lower wins. */
  readonly rank: number;
}

/** The pod that a local endpoint belongs to, if the Pod object is known and is that very pod. */
export function podOfEndpoint(row: LocalEndpointRow, pods: ReadonlyMap<string, PodFact>): PodFact | null {
  const fact = pods.get(row.pod);
  if (fact === undefined) return null;
  const other = row.uid !== null && row.uid !== "" && fact.row.uid !== "" && row.uid !== fact.row.uid;
  return other ? null : fact;
}

export function holdersOf(facts: AddressFacts): AddressHolders {
  const problems: Problem[] = [];
  const nodeHolders = nodeAddresses(facts, problems);
  const identities = [...nodeHolders.values()].map(({ address, node }): DesiredIdentity => {
    const local = node === facts.nodeName;
    return {
      address,
      identity: local ? identityNumbers.host : identityNumbers.remoteNode,
      localNode: local,
      node: true,
    };
  });
  const holders = new Map<string, Claim>();
  const addressesOf = new Map<string, Address[]>();
  for (const claim of podClaims(facts, problems)) {
    const { address, fact } = claim;
    const node = nodeHolders.get(address.text);
    const holder = holders.get(address.text);
    if (node !== undefined) problems.push(inUse(claim, `Node ${node.node}`));
    else if (holder === undefined) {
      holders.set(address.text, claim);
      identities.push({ address, identity: fact.identity, localNode: false, node: false });
      const own = addressesOf.get(fact.key);
      if (own === undefined) addressesOf.set(fact.key, [address]);
      else own.push(address);
    } else if (holder.fact !== fact) problems.push(inUse(claim, `Pod ${holder.fact.key}`));
  }
  for (const own of addressesOf.values()) own.sort(compareAddresses);
  for (const { address, device } of facts.localAddresses.values()) {
    const node = nodeHolders.get(address.text);
    const pod = holders.get(address.text);
    if (node !== undefined && node.node !== facts.nodeName)
      problems.push(notOurs(address, device, `Node ${node.node}`));
    else if (pod !== undefined) problems.push(notOurs(address, device, `Pod ${pod.fact.key}`));
    else if (node === undefined) {
      identities.push({ address, identity: identityNumbers.host, localNode: true, node: true });
    }
  }
  problems.push(...outsideOfCidrs(facts.nodes, holders.values()));
  return { identities: identities.sort((a, b) => compareAddresses(a.address, b.address)), addressesOf, problems };
}

function nodeAddresses(
  { nodes, nodeName }: AddressFacts,
  problems: Problem[],
): ReadonlyMap<string, { readonly address: Address; readonly node: string }> {
  const holders = new Map<string, { readonly address: Address; readonly node: string }>();
  const ours = (node: NodeRow): number => (node.name === nodeName ? 0 : 1);
  for (const node of [...nodes.values()].sort((a, b) => ours(a) - ours(b) || compareText(a.name, b.name))) {
    for (const address of node.addresses) {
      const holder = holders.get(address.text);
      if (holder === undefined) holders.set(address.text, { address, node: node.name });
      else if (holder.node !== node.name) {
        problems.push({
          code: "NODE_ADDRESS_IN_USE",
          severity: "error",
          object: `Node ${node.name}`,
          field: "status.addresses",
          message: `${address.text} is an address of Node ${holder.node} too, which keeps it`,
          remedy: "correct the addresses of one of both",
        });
      }
    }
  }
  return holders;
}

/**
 * What the CNI gave counts before what the Pod object says: the object may lag behind.
 * @returns in order of rank, pod and address
 */
function podClaims({ pods, nodes, localEndpoints }: AddressFacts, problems: Problem[]): readonly Claim[] {
  const ofEndpoints: Claim[] = [];
  // Pods come in order of their keys: tens of thousands of claims need no sorting.
  const inCidrs: Claim[] = [];
  const elsewhere: Claim[] = [];
  const local = new Map<string, Set<string>>();
  for (const row of localEndpoints.values()) {
    const fact = podOfEndpoint(row, pods);
    if (fact === null) continue;
    const given = [row.ipv4, row.ipv6].flatMap((address) => (address === null ? [] : [address]));
    const known = local.get(fact.key) ?? new Set();
    local.set(fact.key, known);
    for (const address of given) {
      known.add(address.text);
      ofEndpoints.push({ address, fact, rank: 0 });
    }
  }
  for (const fact of pods.values()) {
    const given = local.get(fact.key);
    const cidrs = nodes.get(fact.row.node)?.podCidrs ?? [];
    for (const address of inOrder(fact.row.addresses)) {
      if (given === undefined) {
        if (cidrs.some((cidr) => prefixContains(cidr, address))) inCidrs.push({ address, fact, rank: 1 });
        else elsewhere.push({ address, fact, rank: 2 });
      } else if (!given.has(address.text)) problems.push(differs(fact, address, [...given]));
    }
  }
  ofEndpoints.sort((a, b) => compareText(a.fact.key, b.fact.key) || compareAddresses(a.address, b.address));
  return [...ofEndpoints, ...inCidrs, ...elsewhere];
}

function inOrder(addresses: readonly Address[]): readonly Address[] {
  const sorted = addresses.every((each, i) => i === 0 || compareAddresses(addresses[i - 1] ?? each, each) <= 0);
  return sorted ? addresses : [...addresses].sort(compareAddresses);
}

function notOurs(address: Address, device: string, holder: string): Problem {
  return {
    code: "LOCAL_ADDRESS_IN_USE",
    severity: "warning",
    object: `device ${device}`,
    field: address.text,
    message: `${address.text} is on this node and is ${holder}'s, which keeps it: traffic is judged as that one's`,
    remedy: `remove the address from ${device}, or correct what says that it is ${holder}'s`,
  };
}

function differs(fact: PodFact, address: Address, given: readonly string[]): Problem {
  return {
    code: "POD_ADDRESS_DIFFERS",
    severity: "warning",
    object: `Pod ${fact.key}`,
    field: "status.podIPs",
    message: `${address.text} is not what the pod was given on this node (${[...given].sort(compareText).join(", ")})`,
    remedy: "correct the status, or create the pod anew",
  };
}

function inUse({ address, fact }: Claim, holder: string): Problem {
  return {
    code: "POD_ADDRESS_IN_USE",
    severity: "error",
    object: `Pod ${fact.key}`,
    field: "status.podIPs",
    message: `${address.text} is an address of ${holder} too, which keeps it: traffic is judged as that one's`,
    remedy: "create the pod anew, so that it gets an address of its own",
  };
}

/** Only where the nodes' pod CIDRs of the family are known at all. */
function outsideOfCidrs(nodes: ReadonlyMap<string, NodeRow>, holders: Iterable<Claim>): readonly Problem[] {
  const cidrs = [...nodes.values()].flatMap(({ podCidrs }) => podCidrs);
  const families = new Set(cidrs.map(({ family }) => family));
  const problems: Problem[] = [];
  for (const { address, fact, rank } of holders) {
    if (!families.has(address.family) || rank === 1) continue;
    if (cidrs.some((cidr) => prefixContains(cidr, address))) continue;
    problems.push({
      code: "POD_ADDRESS_OUTSIDE",
      severity: "warning",
      object: `Pod ${fact.key}`,
      field: "status.podIPs",
      message: `${address.text} is in no node's pod CIDR, so no route may lead to it`,
      remedy: "give the pod an address of its node's pod CIDRs, or add the CIDR to the node",
    });
  }
  return problems;
}
