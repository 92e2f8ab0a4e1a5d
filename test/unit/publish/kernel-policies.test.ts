import fc from "fast-check";
import test from "ava";
import { createComputation } from "../../../src/compute/index.ts";
import { LocalIdentityAllocator } from "../../../src/identities/index.ts";
import { mostNamed } from "../../../src/kube-objects/index.ts";
import { TableStore } from "../../../src/model/store.ts";
import type { PolicyRow } from "../../../src/model/tables.ts";
import { type AppliedResult, KernelPolicies } from "../../../src/publish/kernel-policies.ts";

const kinds = ["NetworkPolicy", "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"] as const;

function row(kind: PolicyRow["kind"], name: string, uid: string, generation: number, valid = true): PolicyRow {
  const namespace = kind === "CiliumClusterwideNetworkPolicy" ? "" : "shop";
  const selector = kind === "NetworkPolicy" ? { podSelector: {} } : { endpointSelector: {} };
  const spec = valid ? { ...selector, ingress: [] } : { ...selector, ingress: 5 };
  return { kind, namespace, name, uid, generation, spec, specs: null };
}

const keyOf = ({ kind, namespace, name }: PolicyRow) => `${kind}/${namespace}/${name}`;

/** Computes as an agent does; the last result is in the kernel. */
function agent() {
  const store = new TableStore();
  const computation = createComputation({
    nodeName: "n1",
    identities: new LocalIdentityAllocator(null),
    policyEnforcement: "default",
  });
  const policies = new KernelPolicies();
  return {
    store,
    put: (policy: PolicyRow) => store.upsert("policies", keyOf(policy), policy),
    remove: (policy: PolicyRow) => store.delete("policies", keyOf(policy)),
    report: () => {
      const tables = store.snapshot();
      return policies.update(computation.compute(tables), tables.policies);
    },
  };
}

test("a report depends on the policies there are, by kind, and on none that were", (t) => {
  const versions = kinds.flatMap((kind) =>
    ["a", "b", "c"].flatMap((name) =>
      [1, 2].flatMap((generation) => [true, false].map((valid) => row(kind, name, `${name}-uid`, generation, valid))),
    ),
  );
  const step = fc.record({ policy: fc.constantFrom(...versions), stays: fc.boolean(), looks: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const one = agent();
      for (const { policy, stays, looks } of steps) {
        if (stays) one.put(policy);
        else one.remove(policy);
        if (looks) one.report();
      }
      const other = agent();
      for (const policy of [...one.store.table("policies").values()].reverse()) other.put(policy);
      t.deepEqual(one.report(), other.report());
    }),
    { numRuns: 60 },
  );
});

test("another generation, another object of the same name and one more policy are other digests; an order is none", (t) => {
  const first = row("CiliumNetworkPolicy", "a", "uid-a", 1);
  const digests = [
    [first],
    [row("CiliumNetworkPolicy", "a", "uid-a", 2)],
    [row("CiliumNetworkPolicy", "a", "uid-b", 1)],
    [first, row("CiliumNetworkPolicy", "b", "uid-b", 1)],
    [],
  ].map((policies) => {
    const { put, report } = agent();
    for (const policy of policies) put(policy);
    return report().CiliumNetworkPolicy.digest;
  });
  t.is(new Set(digests).size, digests.length);
  t.is(digests.at(-1), "0".repeat(32));
});

test("policies that are not in force as they are, are named, but only some of very many", (t) => {
  const { put, report } = agent();
  put(row("CiliumNetworkPolicy", "good", "uid-good", 1));
  put(row("CiliumNetworkPolicy", "bad", "uid-bad", 1, false));
  const { CiliumNetworkPolicy: cnp } = report();
  t.like(cnp, { count: 2, failing: { count: 1, keys: ["shop/bad"] } });
  put(row("CiliumNetworkPolicy", "good", "uid-good", 2, false));
  t.deepEqual(report().CiliumNetworkPolicy.failing.keys, ["shop/bad", "shop/good"], "an older version is in force");
  put(row("CiliumNetworkPolicy", "good", "uid-good", 3));
  put(row("CiliumNetworkPolicy", "bad", "uid-bad", 2));
  t.deepEqual(report().CiliumNetworkPolicy.failing, { count: 0, digest: "0".repeat(32), keys: [] });
  for (let n = 0; n < 1_000; n++) put(row("CiliumNetworkPolicy", `bad-${n}`, `uid-${n}`, 1, false));
  const many = report();
  t.is(many.CiliumNetworkPolicy.failing.count, 1_000);
  t.is(many.CiliumNetworkPolicy.failing.keys.length, mostNamed);
  t.true(JSON.stringify(many).length < 2_000);
});

test("policies of a set that the kernel cannot take are not enforced, until it can", (t) => {
  const policy = row("CiliumNetworkPolicy", "wide", "uid", 1);
  const rows = new Map([[keyOf(policy), policy]]);
  const result = (refused: string | null) =>
    ({
      lastValid: rows,
      desired: {
        sets: [{ key: "300", refused }],
        endpoints: [{ row: { pod: "shop/web" }, set: "300" }],
      },
      policies: [{ ...policy, valid: true, pods: ["shop/web"], ownNode: false, problems: [] }],
    }) as unknown as AppliedResult;
  const policies = new KernelPolicies();
  t.deepEqual(policies.update(result(null), rows).CiliumNetworkPolicy.failing.keys, []);
  t.deepEqual(policies.update(result("too many"), rows).CiliumNetworkPolicy.failing.keys, ["shop/wide"]);
  t.deepEqual(policies.update(result(null), rows).CiliumNetworkPolicy.failing.keys, []);
});
