/**
 * Which cases can share a lab. A lab is dear (agents, BGP), so cases whose nodes do not contradict each other are run on one, one
 * after the other; a node that a case does not have stays there, and its Node object goes.
 */
import { type Address, addressFromBytes, makePrefix, parseAddress, prefixContains } from "../../model/ip.ts";
import { LabError } from "../errors.ts";
import type { LabSite } from "../plan.ts";
import type { ConformanceCase } from "./case.ts";
import { addressesOf, familyOf, livePods, nodeAddresses, Who } from "./who.ts";

export interface SitedCases {
  readonly site: LabSite;
  readonly cases: readonly ConformanceCase[];
}

/** What the cases say of the nodes, as far as they were merged. */
interface Draft {
  readonly cases: ConformanceCase[];
  /** Node to its addresses, by family. */
  readonly nodes: Map<string, { 4?: string; 6?: string }>;
  /** Node to the prefixes (/24, /64) of its pods' addresses. */
  readonly podPrefixes: Map<string, { 4?: string; 6?: string }>;
  readonly outside: Set<string>;
}

const prefixLength = { 4: 24, 6: 64 } as const;
/** Where nobody says otherwise. */
const defaultNodes6 = "fd72:30::";
const defaultPods = { 4: "10.245", 6: "fd00:245:0" } as const;

/** In the order of the cases. @throws LabError LAB_CASE naming a case that no lab can be */
export function planSites(cases: readonly ConformanceCase[]): readonly SitedCases[] {
  const drafts: Draft[] = [];
  for (const one of cases) {
    const joined = drafts.some((draft, i) => {
      const merged = merge(draft, one);
      if (typeof merged === "string") return false;
      drafts[i] = merged;
      return true;
    });
    if (joined) continue;
    const alone = merge({ cases: [], nodes: new Map(), podPrefixes: new Map(), outside: new Set() }, one);
    if (typeof alone === "string")
      throw new LabError("LAB_CASE", `case ${one.name}`, alone, "correct its cluster.yaml");
    drafts.push(alone);
  }
  return drafts.map((draft) => ({ site: finish(draft), cases: draft.cases }));
}

/** The draft with this case, or why it does not fit. */
function merge(draft: Draft, one: ConformanceCase): Draft | string {
  const next: Draft = {
    cases: [...draft.cases, one],
    nodes: new Map(draft.nodes),
    podPrefixes: new Map(draft.podPrefixes),
    outside: new Set([...draft.outside, ...new Who(one).outsideAddresses(one.probes)]),
  };
  for (const node of one.cluster.filter(({ kind }) => kind === "Node")) {
    const known = { ...next.nodes.get(node.metadata.name) };
    for (const address of nodeAddresses(node)) {
      const family = familyOf(address);
      if (known[family] !== undefined && known[family] !== address) {
        return `Node ${node.metadata.name} is ${address} and ${known[family]}`;
      }
      known[family] = address;
    }
    next.nodes.set(node.metadata.name, known);
  }
  if (next.nodes.size === 0) return "it has no Node";
  for (const pod of livePods(one.cluster).filter(({ spec }) => spec.hostNetwork !== true)) {
    const { nodeName = "" } = pod.spec;
    if (!next.nodes.has(nodeName)) return `Pod ${pod.metadata.name} is on node ${JSON.stringify(nodeName)}`;
    const known = { ...next.podPrefixes.get(nodeName) };
    for (const text of addressesOf(pod)) {
      const family = familyOf(text);
      const prefix = prefixOf(text).text;
      if (known[family] !== undefined && known[family] !== prefix) {
        return `pods of node ${nodeName} have addresses of ${known[family]} and of ${prefix}`;
      }
      known[family] = prefix;
    }
    next.podPrefixes.set(nodeName, known);
  }
  return contradiction(next) ?? next;
}

function contradiction({ nodes, podPrefixes, outside }: Draft): string | null {
  const nodeTexts = [...nodes.values()].flatMap((known) => [known[4], known[6]]).filter((text) => text !== undefined);
  const podTexts = [...podPrefixes.values()].flatMap((known) => [known[4], known[6]]).filter((t) => t !== undefined);
  const twice = [...nodeTexts, ...podTexts].find((text, i, all) => all.indexOf(text) !== i);
  if (twice !== undefined) return `two nodes have ${twice}`;
  for (const family of [4, 6] as const) {
    const prefixes = new Set(nodeTexts.filter((text) => familyOf(text) === family).map((text) => prefixOf(text).text));
    if (prefixes.size > 1) return `nodes are in ${[...prefixes].join(" and ")}`;
    for (const prefix of prefixes) if (podTexts.includes(prefix)) return `nodes and pods are in ${prefix}`;
  }
  if ([...nodes.values()].some((known) => known[4] === undefined)) return "a node has no IPv4 address";
  const taken = nodeTexts.find((text) => outside.has(text));
  return taken === undefined ? null : `${taken} is a node's and outside of the cluster`;
}

/** Fills in what no case says: the lab is dual stack throughout, the cases' own objects tell the agents what counts. */
function finish({ nodes, podPrefixes, outside }: Draft): LabSite {
  const used = new Set([...outside, ...[...nodes.values()].flatMap((known) => Object.values(known))]);
  const first = [...nodes.values()];
  const network4 = prefixOf(first.find((known) => known[4] !== undefined)?.[4] ?? "").address;
  const network6 = prefixOf(first.find((known) => known[6] !== undefined)?.[6] ?? defaultNodes6).address;
  /** Downwards from the top, so that it does not look like a node's. */
  const free = (network: Address): string => {
    for (let last = 254; last > 0; last--) {
      const bytes = Uint8Array.from(network.bytes);
      bytes[bytes.length - 1] = last;
      const { text } = addressFromBytes(bytes);
      if (used.has(text)) continue;
      used.add(text);
      return text;
    }
    throw new LabError("LAB_CASE", network.text, "no address is left for the router", "use fewer addresses");
  };
  const router = { ipv4: free(network4), ipv6: free(network6) };
  return {
    router,
    nodes: [...nodes].map(([name, known], i) => ({
      name,
      ipv4: known[4] ?? free(network4),
      ipv6: known[6] ?? free(network6),
      podCidr4: podPrefixes.get(name)?.[4] ?? `${defaultPods[4]}.${i + 1}.0/24`,
      podCidr6: podPrefixes.get(name)?.[6] ?? `${defaultPods[6]}:${(i + 1).toString(16)}::/64`,
    })),
  };
}

function prefixOf(text: string) {
  const address = parseAddress(text);
  if (address === null) throw new LabError("LAB_CASE", text, "not an address", "correct the cluster.yaml");
  return makePrefix(address, prefixLength[address.family]);
}

/** Whether the address is in one of these prefixes' nodes or pods: outside hosts there need routes of their own. */
export function isInside(prefix: string, text: string): boolean {
  const address = parseAddress(text);
  const [network = "", length = ""] = prefix.split("/");
  const base = parseAddress(network);
  if (address === null || base === null || base.family !== address.family) return false;
  return prefixContains(makePrefix(base, Number(length)), address);
}
