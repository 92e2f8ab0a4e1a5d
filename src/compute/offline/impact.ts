/**
 * What a change of manifests opens and closes: every pair of parties that policies can tell apart, over all protocols and ports, before
 * and after, by the compiled sets of both.
 */
import type { OfflineCluster, Party } from "./cluster.ts";
import { judgePath } from "./connection.ts";
import { decidingEnds, explainEnd } from "./explanation.ts";
import { type Class, classesOf } from "./impact-parties.ts";
import {
  amountOf,
  type ChangeKind,
  changeKinds,
  compareReach,
  isUnchanged,
  type Reach,
  type ReachChange,
  Reaches,
  reachText,
} from "./reach.ts";

export type Amount = ReturnType<typeof amountOf>;

/** One cell of the matrix: from one class to another, in one address family. */
export interface ImpactCell {
  readonly from: string;
  readonly to: string;
  readonly family: 4 | 6;
  readonly before: Amount | null;
  readonly after: Amount | null;
  readonly change: ReachChange;
}

/** One line of the table. */
export interface ImpactRow {
  readonly kind: ChangeKind;
  readonly from: string;
  readonly to: string;
  /** Null: in every family that both have. */
  readonly family: 4 | 6 | null;
  readonly ports: string;
  /** Who decides about it now: rules, or the policies that close the direction. */
  readonly why: string;
}

export interface Impact {
  /** Titles of the parties, as rows and as columns. */
  readonly parties: readonly {
    readonly title: string;
    readonly kind: Class["kind"];
    readonly pods: readonly string[];
  }[];
  readonly cells: readonly ImpactCell[];
  readonly rows: readonly ImpactRow[];
}

/** Two ends that stand for their classes in one of the clusters. */
interface Pair {
  readonly source: Party;
  readonly destination: Party;
}

export function compareClusters(before: OfflineCluster, after: OfflineCluster): Impact {
  const classes = classesOf(before, after);
  const reaches = { before: new Reaches(before), after: new Reaches(after) };
  const old = new ClassParties(before);
  const fresh = new ClassParties(after);
  const compare = comparer();
  const cells: ImpactCell[] = [];
  const rows: ImpactRow[] = [];
  for (const from of classes) {
    for (const to of classes) {
      if (!isCompared(from, to)) continue;
      const pairs = ([4, 6] as const).flatMap((family) => {
        const was = old.pair(from, to, family);
        const is = fresh.pair(from, to, family);
        return was === null && is === null ? [] : [{ family, was, is }];
      });
      for (const { family, was, is } of pairs) {
        const reached = was === null ? null : reaches.before.between(was.source, was.destination);
        const reaching = is === null ? null : reaches.after.between(is.source, is.destination);
        const { change, ...amounts } = compare(reached, reaching);
        cells.push({ from: from.title, to: to.title, family, ...amounts, change });
        if (isUnchanged(change)) continue;
        const found = rowsOf(after, from, to, family, change, is);
        rows.push(...(pairs.length === 1 ? found.map((row) => ({ ...row, family: null })) : found));
      }
    }
  }
  const titles = mergeOutside(classes, cells);
  const rename = <T extends { readonly from: string; readonly to: string }>(each: T): T => ({
    ...each,
    from: titles.get(each.from) ?? each.from,
    to: titles.get(each.to) ?? each.to,
  });
  const used = new Set(cells.flatMap(({ from, to }) => [from, to]));
  const parties = classes
    .filter(({ title }) => used.has(title))
    .map((each) => ({
      title: titles.get(each.title) ?? each.title,
      kind: each.kind,
      pods: each.kind === "pods" ? each.pods : [],
    }));
  return {
    parties: [...new Map(parties.map((party) => [party.title, party])).values()],
    cells: [...new Map(cells.map(rename).map((cell) => [`${cell.family} ${cell.from} ${cell.to}`, cell])).values()],
    rows: mergeFamilies(rows.map(rename)),
  };
}

/** Parts of the outside with which everybody has the same dealings are one. */
function mergeOutside(classes: readonly Class[], cells: readonly ImpactCell[]): ReadonlyMap<string, string> {
  const outside = new Map(classes.flatMap(({ kind, title }) => (kind === "outside" ? [[title, [] as string[]]] : [])));
  for (const { from, to, family, before, after, change } of cells) {
    const side = outside.get(from) ?? outside.get(to);
    if (side === undefined) continue;
    const changes = changeKinds.map((each) => reachText(change[each], family).replaceAll("ICMPv6", "ICMP"));
    side.push(JSON.stringify([outside.has(from) ? "" : from, outside.has(to) ? "" : to, before, after, changes]));
  }
  const groups = new Map<string, string[]>();
  for (const [title, dealings] of outside) {
    if (dealings.length === 0) continue;
    const key = dealings.join("\n");
    const known = groups.get(key);
    if (known === undefined) groups.set(key, [title]);
    else known.push(title);
  }
  return new Map(
    [...groups.values()].flatMap((titles) => {
      const merged = titles.join(", ").replace("outside (IPv4), outside (IPv6)", "outside");
      return titles.map((title): [string, string] => [title, merged]);
    }),
  );
}

/** The same two answers are compared for many pairs. */
function comparer(): (
  before: Reach | null,
  after: Reach | null,
) => { readonly before: Amount | null; readonly after: Amount | null; readonly change: ReachChange } {
  const known = new Map<Reach | null, Map<Reach | null, ReturnType<ReturnType<typeof comparer>>>>();
  return (before, after) => {
    const ofBefore = known.get(before) ?? new Map<Reach | null, ReturnType<ReturnType<typeof comparer>>>();
    known.set(before, ofBefore);
    const found = ofBefore.get(after) ?? {
      before: before && amountOf(before),
      after: after && amountOf(after),
      change: compareReach(before, after),
    };
    ofBefore.set(after, found);
    return found;
  };
}

/** The parties of classes in one of the clusters. */
class ClassParties {
  readonly #cluster: OfflineCluster;
  readonly #known = new Map<Class, { readonly 4: readonly Party[]; readonly 6: readonly Party[] }>();

  constructor(cluster: OfflineCluster) {
    this.#cluster = cluster;
  }

  /** Null: there is no such pair. */
  pair(from: Class, to: Class, family: 4 | 6): Pair | null {
    for (const source of this.#parties(from)[family]) {
      for (const destination of this.#parties(to)[family]) {
        if (isPair(from, source, to, destination)) return { source, destination };
      }
    }
    return null;
  }

  #parties(each: Class): { readonly 4: readonly Party[]; readonly 6: readonly Party[] } {
    const known = this.#known.get(each);
    if (known !== undefined) return known;
    const found = { 4: partiesOf(this.#cluster, each, 4), 6: partiesOf(this.#cluster, each, 6) };
    this.#known.set(each, found);
    return found;
  }
}

/** Nodes as seen by pods deal with pods, nodes as themselves with each other and with the outside. */
function isCompared(from: Class, to: Class): boolean {
  if (from.kind === "pods" || to.kind === "pods") return from.kind !== "hosts" && to.kind !== "hosts";
  return (from.kind === "hosts" && to.kind !== "nodes") || (to.kind === "hosts" && from.kind !== "nodes");
}

function isPair(from: Class, source: Party, to: Class, destination: Party): boolean {
  if (source.name === destination.name) return false;
  const [nodes, node, pod] = from.kind === "nodes" ? [from, source, destination] : [to, destination, source];
  if (nodes.kind !== "nodes" || node.kind !== "node" || pod.kind !== "pod") return true;
  return (pod.pod.node === node.node) === nodes.own;
}

function partiesOf(cluster: OfflineCluster, each: Class, family: 4 | 6): readonly Party[] {
  const ofFamily = (party: Party): boolean => party.address.family === family;
  switch (each.kind) {
    case "pods":
      return each.pods.flatMap((name) => {
        const pod = cluster.facts.pods.get(name);
        const address = pod?.addresses.find((one) => one.family === family);
        return address === undefined || cluster.setOf(name) === null ? [] : [cluster.partyAt(address)];
      });
    case "nodes":
    case "hosts":
      return each.nodes.flatMap((name) => {
        const address = cluster.facts.nodes.get(name)?.addresses.find((one) => one.family === family);
        return address === undefined ? [] : [cluster.partyAt(address)];
      });
    case "outside":
      return [each.party].filter(ofFamily);
  }
}

function rowsOf(
  after: OfflineCluster,
  from: Class,
  to: Class,
  family: 4 | 6,
  change: ReachChange,
  pair: Pair | null,
): readonly ImpactRow[] {
  return changeKinds.flatMap((kind): readonly ImpactRow[] => {
    const [piece] = change[kind];
    if (piece === undefined) return [];
    const ports = reachText(change[kind], family);
    const about = { kind, from: from.title, to: to.title, family, ports };
    if (pair === null) return [{ ...about, why: "one of both is gone" }];
    const path = judgePath(after, pair.source, pair.destination, { protocol: piece.protocol, port: piece.first });
    const ends = decidingEnds(path).map((end) => explainEnd(after, end));
    const telling = ends.filter(({ rules, verdict }) => rules.length > 0 || verdict !== "allow");
    const why = telling.map(({ side, because, rules }) => `${side}: ${rules.length > 0 ? rules.join(", ") : because}`);
    return [{ ...about, why: why.join("; ") || "no policy closes it" }];
  });
}

/** Rows that say the same of both families are one. */
function mergeFamilies(rows: readonly ImpactRow[]): readonly ImpactRow[] {
  const merged = new Map<string, ImpactRow>();
  for (const row of rows) {
    const { kind, from, to, ports } = row;
    const key = JSON.stringify([kind, from, to, ports.replaceAll("ICMPv6", "ICMP")]);
    const twin = merged.get(key);
    merged.set(key, twin === undefined ? row : { ...twin, family: null });
  }
  return [...merged.values()];
}
