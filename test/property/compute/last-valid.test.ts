/** A computation says the same whether it has always been there or took over the last valid policies of one before it. */
import test from "ava";
import fc from "fast-check";
import { type Computation, createComputation } from "../../../src/compute/index.ts";
import { TableStore } from "../../../src/model/store.ts";
import type { PolicyRow } from "../../../src/model/tables.ts";
import { address } from "../../support/arbitrary-rows.ts";
import { localEndpoint, testAllocator } from "../../support/compute-cluster.ts";
import { pod } from "../../unit/compute/support.ts";

const names = ["p", "q"] as const;

/** A version of a policy: valid with something to tell it by, invalid, or gone. */
const step = fc.record({
  name: fc.constantFrom(...names),
  uid: fc.constantFrom("1", "2"),
  version: fc.nat(3),
  what: fc.constantFrom("valid", "invalid", "invalid", "gone"),
  restart: fc.boolean(),
});

function row(name: string, uid: string, version: number, valid: boolean): PolicyRow {
  const ingress = [{ fromCIDR: [`203.0.113.0/${valid ? 24 + version : 99}`] }];
  const spec = { endpointSelector: { matchLabels: { app: "a" } }, ingress };
  return { kind: "CiliumNetworkPolicy", namespace: "shop", name, uid, generation: version, spec, specs: null };
}

test("histories with restarts give the same result as without, and a policy that was valid once never opens by a mistake", (t) => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
      const store = new TableStore();
      const local = pod("a", { addresses: [address("10.1.1.2")] });
      store.upsert("pods", "shop/a", local);
      store.upsert("localEndpoints", "c", localEndpoint(local, 1));
      const options = { nodeName: "n1", identities: testAllocator(), policyEnforcement: "default" } as const;
      const steady = createComputation(options);
      let restarted: Computation = createComputation(options);
      /** The model: uid and version in force, by name. */
      const inForce = new Map<string, { readonly uid: string; readonly version: number }>();
      for (const { name, uid, version, what, restart } of steps) {
        const key = `CiliumNetworkPolicy/shop/${name}`;
        if (what === "gone") store.delete("policies", key);
        else store.upsert("policies", key, row(name, uid, version, what === "valid"));
        const result = steady.compute(store.snapshot());
        const other = restarted.compute(store.snapshot());
        t.deepEqual(other, result);

        if (what === "valid") inForce.set(key, { uid, version });
        else if (what === "gone" || inForce.get(key)?.uid !== uid) inForce.delete(key);
        const lastValid = new Map(
          [...result.lastValid].map(([k, { uid: u, generation }]) => [k, { uid: u, version: generation }]),
        );
        t.deepEqual(new Map([...lastValid].sort()), new Map([...inForce].sort()));
        t.is(result.desired.sets[0]?.ingress.enforced, inForce.size > 0);
        if (restart)
          restarted = createComputation({ ...options, lastValid: structuredClone(new Map(other.lastValid)) });
      }
    }),
    { numRuns: 200 },
  );
});
