/**
 * L7 visibility by annotation: what a pod's rules allow on the ports that it names goes through the proxy, which tells of every request and refuses
 * none. What rules close stays closed, and what L7 rules judge is judged as before.
 */
import { compareText } from "../../model/labels.ts";
import type { PodVisibility } from "../../model/tables.ts";
import { everything, makePortSet, type PortRange } from "./port-sets.ts";
import { type Entry, ownNode } from "./resolve.ts";
import type { Direction } from "./rules.ts";

/** Canonical texts of rules that every request keeps (`read-cilium-l7.ts`). */
const demandOf: Readonly<Record<PodVisibility["l7"], string>> = {
  http: "http [{}]",
  dns: 'dns [{"matchPattern":"*"}]',
  kafka: "kafka [{}]",
};

/** The same for pods to which it means the same; "" for none. */
export function visibilityKey(visibility: readonly PodVisibility[] = []): string {
  return visibility
    .map(({ direction, protocol, port, l7 }) => `${direction} ${protocol}/${port} ${l7}`)
    .sort(compareText)
    .join(",");
}

/** As an origin of groups. */
const annotation = "annotation policy.cilium.io/proxy-visibility";

/** What holds without rules, where nothing is closed. */
const anything: Entry = {
  action: "allow",
  l7: "",
  ports: everything,
  any: true,
  identities: [],
  blocks: [],
  origin: annotation,
};

/** @param entries what the rules of the direction say @param enforced default deny holds */
export function withVisibility(
  entries: readonly Entry[],
  direction: Direction,
  enforced: boolean,
  visibility: readonly PodVisibility[] = [],
): readonly Entry[] {
  const visible = visibility.filter((each) => each.direction === direction);
  if (visible.length === 0) return entries;
  if (enforced) return entries.flatMap((entry) => (isSplit(entry) ? split(entry, visible) : [entry]));
  // What the node itself asks its pods passes no proxy, so it has to be allowed before.
  const fromNode = direction === "ingress" ? [ownNode] : [];
  return [...entries, ...fromNode, ...split(anything, visible).slice(1)];
}

function isSplit(entry: Entry): boolean {
  return entry.action === "allow" && entry.guard !== true && entry !== ownNode;
}

/** @returns what is left of it first */
function split(entry: Entry, visible: readonly PodVisibility[]): readonly Entry[] {
  const seen = visible.flatMap(({ protocol, port, l7 }): readonly Entry[] => {
    const range = { protocol, first: port, last: port };
    if (!entry.ports.some((each) => holds(each, range))) return [];
    return [{ ...entry, action: "redirect", l7: demandOf[l7], ports: [range] }];
  });
  if (seen.length === 0) return [entry];
  return [{ ...entry, except: makePortSet(seen.flatMap(({ ports }) => ports)) }, ...seen];
}

function holds(outer: PortRange, inner: PortRange): boolean {
  if (outer.protocol === 0) return true;
  return outer.protocol === inner.protocol && outer.first <= inner.first && inner.last <= outer.last;
}
