/**
 * The cluster as a running agent knows it, for questions that people ask: the engine of offline commands over the agent's present facts, with
 * the agent's settings and numbers. Sets are compiled for what is asked about only. Nothing of it comes near the kernel.
 */
import { compareText } from "../../model/labels.ts";
import { nameKey } from "../../model/name-key.ts";
import type { TableSnapshot } from "../../model/store.ts";
import type { NameRow } from "../../model/tables.ts";
import type { ComputedIdentity, IdentityAllocator } from "../index.ts";
import { type ClusterSettings, OfflineCluster } from "./cluster.ts";

export interface LiveFacts {
  readonly tables: TableSnapshot;
  /** Name of the agent's node. */
  readonly node: string;
  readonly settings: ClusterSettings;
  /** As the agent numbered them. */
  readonly identities: readonly ComputedIdentity[];
}

export function liveCluster({ tables, node, settings, identities }: LiveFacts): OfflineCluster {
  // Compute would have no node that these belong to: the cluster is told whose they are instead.
  const { localAddresses, localEndpoints, ...known } = tables;
  const facts = { ...known, names: namesOfPods(known.names, localEndpoints) };
  const namesPerEndpoint = [...facts.names.values()].some(({ endpoint }) => endpoint !== undefined);
  const others = { localAddresses: new Map(), localEndpoints: new Map(), uplinks: new Map(), routes: new Map() };
  return new OfflineCluster(
    facts,
    { ...facts, ...others },
    {
      settings: { ...settings, namesPerEndpoint },
      words: {
        where: `that the agent of ${node} has seen`,
        remedy: "tandem status tells whether its sources have seen everything",
      },
      allocator: knownNumbers(identities),
      nodeAddresses: new Map([...localAddresses.keys()].sort(compareText).map((address) => [address, node])),
      computations: new Map(),
    },
  );
}

/** Endpoints of offline clusters are called as their pods: so are here those whose names they are. */
function namesOfPods(
  names: TableSnapshot["names"],
  endpoints: TableSnapshot["localEndpoints"],
): ReadonlyMap<string, NameRow> {
  const podOf = new Map([...endpoints.values()].map(({ containerId, pod }) => [containerId, pod]));
  return new Map(
    [...names].flatMap(([key, row]): readonly [string, NameRow][] => {
      if (row.endpoint === undefined) return [[key, row]];
      const pod = podOf.get(row.endpoint);
      return pod === undefined ? [] : [[nameKey(pod, row.name), { ...row, endpoint: pod }]];
    }),
  );
}

/** The agent's own numbers. Labels that came after its last computation get one that nobody has, from the top. */
function knownNumbers(identities: readonly ComputedIdentity[]): IdentityAllocator {
  const numbers = new Map(identities.map(({ id, labels }) => [labels.join("\n"), id]));
  const taken = new Set(numbers.values());
  let next = lastNumber;
  return {
    numberFor: (key) => {
      const known = numbers.get(key);
      if (known !== undefined) return known;
      while (taken.has(next)) next--;
      numbers.set(key, next);
      return next--;
    },
  };
}

/** Of an identity inside its cluster. */
const lastNumber = 65_535;
