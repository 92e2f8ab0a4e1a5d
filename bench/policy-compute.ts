/** What computing policy costs one node's agent: all of it from nothing, and a change of one object, at several sizes of the cluster. */
import type { ComputeResult } from "../src/compute/index.ts";
import type { TableStore } from "../src/model/store.ts";
import type { PodRow, PolicyRow } from "../src/model/tables.ts";
import {
  clusterTables,
  extraPod,
  freshComputation,
  podsPerNode,
  policyRow,
  putPod,
  putPolicy,
  removePod,
  removePolicy,
} from "./policy-cluster.ts";
import { median, percentile, type Row } from "./support.ts";

const sizes = {
  small: { pods: 2_000, policies: 1_000, aimMs: 500 },
  large: { pods: 10_000, policies: 5_000, aimMs: 5_000 },
} as const;

/** Cilium's Go engine, one core: ms to resolve the policy of one pod, 1k rules x 1k identities. */
const publishedResolveMs = 3.1;
/** Its ms for an identity that comes and goes with 1k selectors, without the change of any map. */
const publishedIdentityMs = 0.42;
/** Its ms from a new identity to the changes of maps, 1k rules and 10k identities. */
const publishedChangeMs = 2.4;
/** Its ms for one new selector over 1k identities, without the policy of any pod. */
const publishedSelectorMs = 0.07;

function timed(work: () => ComputeResult): { readonly ms: number; readonly result: ComputeResult } {
  const before = performance.now();
  const result = work();
  return { ms: performance.now() - before, result };
}

/** Parsing, identities, selection, sets, digests: everything but reading the manifests. */
export function fromNothing(rounds: number): readonly Row[] {
  return Object.values(sizes).map(({ pods, policies, aimMs }) => {
    const times: number[] = [];
    let sets = 0;
    for (let round = 0; round < rounds; round++) {
      // New rows each time: nothing is remembered for their sake.
      const snapshot = clusterTables({ pods, policies }).snapshot();
      const { ms, result } = timed(() => freshComputation().compute(snapshot));
      const refused = result.policies.filter(({ valid }) => !valid).length;
      sets = result.desired.sets.length;
      if (refused > 0 || result.desired.endpoints.length !== podsPerNode)
        throw new Error("the cluster is not as meant");
      times.push(ms);
    }
    const published = publishedResolveMs * sets;
    return {
      what: `from nothing, ${policies} policies x ${pods} pods, ${sets} identities of ${podsPerNode} local pods`,
      figure: `${median(times).toFixed(0)} ms`,
      baseline: `${published.toFixed(0)} ms (published, without parsing: ${publishedResolveMs} a pod's, 1k rules x 1k ids, x ${sets})`,
      ratio: published / median(times),
      aim: `< ${aimMs} ms`,
    };
  });
}

/** Makes a change with a number that nothing uses, and says how to undo it. */
type Change = (store: TableStore, pods: number, i: number) => () => void;

function addPod(store: TableStore, row: PodRow, localId: number | null): () => void {
  putPod(store, row, localId);
  return () => removePod(store, row);
}

function addPolicy(store: TableStore, row: PolicyRow): () => void {
  putPolicy(store, row);
  return () => removePolicy(store, row);
}

/** The last deployments of the cluster have no pod on the first node. */
const lastOnes = (i: number, pods: number): number => pods / 10 - 1 - (i % 10);

const changes: readonly {
  readonly what: string;
  readonly aim: string;
  readonly published: { readonly ms: number; readonly what: string } | null;
  readonly apply: Change;
}[] = [
  {
    what: "a pod of another node, of known labels",
    aim: "p50 < 0.5 ms",
    published: null,
    apply: (store, pods, i) => addPod(store, extraPod(lastOnes(i, pods), pods, false), null),
  },
  {
    what: "a pod of another node, of new labels",
    aim: "p50 < 0.5 ms",
    published: { ms: publishedChangeMs, what: "identity to maps, 1k rules x 10k ids" },
    apply: (store, pods, i) => addPod(store, extraPod(lastOnes(i, pods), pods, false, `new-${i}`), null),
  },
  {
    what: "a pod that each policy set of this node lets in",
    aim: "",
    published: null,
    // The policies let everybody of the first namespace in.
    apply: (store, pods, i) => addPod(store, extraPod(i % 20, pods, false, `new-${i}`), null),
  },
  {
    what: "a pod of this node, of new labels",
    aim: "p50 < 0.5 ms",
    published: { ms: publishedIdentityMs, what: "identity add and delete, 1k selectors" },
    apply: (store, pods, i) => addPod(store, extraPod(lastOnes(i, pods), pods, true, `own-${i}`), 10_000 + i),
  },
  {
    what: "a policy of pods elsewhere",
    aim: "",
    published: { ms: publishedSelectorMs, what: "one selector over 1k ids" },
    apply: (store, pods, i) => addPolicy(store, { ...policyRow(lastOnes(i, pods), pods), name: `more-${i}` }),
  },
  {
    what: "a policy of a pod of this node",
    aim: "",
    published: { ms: publishedResolveMs, what: "resolve a pod's, 1k rules x 1k ids" },
    apply: (store, pods, i) => addPolicy(store, { ...policyRow(i % 10, pods), name: `mine-${i}` }),
  },
];

function measureChange(size: { readonly pods: number; readonly policies: number }, apply: Change, samples: number) {
  const store = clusterTables(size);
  const computation = freshComputation();
  computation.compute(store.snapshot());
  const times: number[] = [];
  // The first ones are interpreted, as those of an agent that runs for days are not.
  const warm = 200;
  for (let i = 0; i < samples + warm; i++) {
    const undo = apply(store, size.pods, i);
    const { ms } = timed(() => computation.compute(store.snapshot()));
    if (i >= warm) times.push(ms);
    undo();
    computation.compute(store.snapshot());
  }
  return times;
}

/** The snapshot of the tables is part of it. Growth is by a cluster of a fifth: a pod has as many policies and peers there. */
export function oneChange(samples: number): readonly Row[] {
  return changes.flatMap(({ what, aim, published, apply }) => {
    const large = measureChange(sizes.large, apply, samples);
    const small = measureChange(sizes.small, apply, samples);
    const p50 = median(large);
    return [
      {
        what: `${what}, at ${sizes.large.policies} x ${sizes.large.pods}, p50`,
        figure: `${p50.toFixed(3)} ms (p99 ${percentile(large, 0.99).toFixed(2)})`,
        baseline: published === null ? "" : `${published.ms} ms (published: ${published.what})`,
        ratio: published === null ? null : published.ms / p50,
        aim,
      },
      {
        what: "  the same in a cluster of a fifth",
        figure: `${p50.toFixed(3)} ms`,
        baseline: `${median(small).toFixed(3)} ms at ${sizes.small.policies} x ${sizes.small.pods}`,
        ratio: median(small) / p50,
        aim: "1 (flat)",
      },
    ];
  });
}
