/** The set of a node itself, after any history: as from nothing, and never without what the node needs. */
import test from "ava";
import fc from "fast-check";
import { createComputation } from "../../../src/compute/index.ts";
import type { CompiledSet } from "../../../src/compute/desired.ts";
import { DirectionVectors } from "../../../src/compute/offline/vectors.ts";
import { TableStore } from "../../../src/model/store.ts";
import { address } from "../../support/arbitrary-rows.ts";
import { clusterSteps, hostPolicyStep, nodeStep, podStep, sliceStep } from "../../support/arbitrary-cluster.ts";
import { testAllocator } from "../../support/compute-cluster.ts";

const history = fc.tuple(
  clusterSteps,
  fc.array(fc.oneof({ weight: 3, arbitrary: hostPolicyStep }, { weight: 2, arbitrary: podStep }, sliceStep, nodeStep), {
    minLength: 1,
    maxLength: 12,
  }),
);

function hostSet(computation: ReturnType<typeof createComputation>, store: TableStore): CompiledSet | null {
  const { host, sets } = computation.compute(store.snapshot()).desired;
  return host === undefined ? null : (sets.find(({ key }) => key === host.set) ?? null);
}

test("a node's set after any history is the one that a computation from nothing gives, and BGP is never closed", (t) => {
  const seen = { none: 0, some: 0 };
  fc.assert(
    fc.property(history, ([first, later]) => {
      const identities = testAllocator();
      const make = () => createComputation({ nodeName: "n1", identities, policyEnforcement: "default" });
      const store = new TableStore();
      for (const step of first) step(store);
      const computation = make();
      for (const step of later) {
        step(store);
        const set = hostSet(computation, store);
        t.deepEqual(set, hostSet(make(), store));
        seen[set === null ? "none" : "some"]++;
        if (set === null || set.refused !== null) continue;
        for (const side of ["ingress", "egress"] as const) {
          const vectors = new DirectionVectors(set[side]);
          for (const [identity, peer] of [
            [6, "192.168.0.9"],
            [9, "203.0.113.7"],
            [10, "2001:db8::7"],
          ] as const) {
            t.is(vectors.verdictOf(vectors.who(identity, address(peer)) & vectors.where(6, 179)), "allow");
          }
        }
      }
    }),
    { numRuns: 150 },
  );
  t.log(seen);
  t.true(seen.some > 200 && seen.none > 20, JSON.stringify(seen));
});
