/** What people ask an agent: compiled when it is asked, and the same as what the agent compiled for the kernel. */
import test from "ava";
import fc from "fast-check";
import { createComputation } from "../../../src/compute/index.ts";
import { liveCluster } from "../../../src/compute/offline/live.ts";
import { build, clusterSteps, hostPolicyStep } from "../../support/arbitrary-cluster.ts";
import { isLive, localEndpoint, testAllocator } from "../../support/compute-cluster.ts";

const enforcements = ["default", "always", "never"] as const;

test("a set that is compiled when somebody asks is the one that the agent of the pod's node has, in every mode of enforcement", (t) => {
  let compared = 0;
  fc.assert(
    fc.property(
      clusterSteps,
      hostPolicyStep,
      fc.constantFrom(...enforcements),
      fc.boolean(),
      (steps, host, policyEnforcement, allowLockout) => {
        const store = build([...steps, host]);
        const allocator = testAllocator();
        const settings = { policyEnforcement, allowLockout };
        const pods = [...store.table("pods").values()].filter(isLive);
        const nodes = [...new Set([...store.table("nodes").keys(), ...pods.map(({ node }) => node)])];
        const results = nodes.map((node) => {
          const tables = store.snapshot();
          const local = pods.filter((pod) => pod.node === node).map((pod, at) => localEndpoint(pod, at + 1));
          const localEndpoints = new Map(local.map((row) => [row.containerId, row]));
          const computation = createComputation({ nodeName: node, identities: allocator, ...settings });
          return { node, result: computation.compute({ ...tables, localEndpoints }) };
        });
        const [first] = results;
        if (first === undefined) return;
        const { identities } = first.result;
        const cluster = liveCluster({ tables: store.snapshot(), node: first.node, settings, identities });
        for (const { node, result } of results) {
          const sets = new Map(result.desired.sets.map((set) => [set.key, set.digest]));
          const { endpoints, host: own } = result.desired;
          for (const { row, set } of endpoints) {
            const expected = set === null ? undefined : sets.get(set);
            if (cluster.setOf(row.pod)?.digest !== expected) throw new Error(`${row.pod} on ${node}`);
            compared++;
          }
          const expected = own === undefined ? undefined : sets.get(own.set);
          if (cluster.setOfNode(node)?.digest !== expected) throw new Error(`node ${node}`);
        }
      },
    ),
    { numRuns: 60 },
  );
  t.log(`${compared} sets`);
  t.true(compared > 50);
});
