/** What holds of a computation whatever the tables: no order, no history, and rules that allow never take away. */
import { isDeepStrictEqual } from "node:util";
import test from "ava";
import fc from "fast-check";
import { createComputation, type ComputeResult, type IdentityAllocator } from "../../../src/compute/index.ts";
import { TableStore, tableNames } from "../../../src/model/store.ts";
import type { PolicyRow } from "../../../src/model/tables.ts";
import { address, nodeNames, nodeRow, podRow, strangers } from "../../support/arbitrary-rows.ts";
import {
  build,
  clusterSteps,
  flows,
  groupStep,
  namespaceStep,
  nameStep,
  nodeStep,
  podStep,
  policyStep,
  serviceStep,
  type Step,
  sliceStep,
} from "../../support/arbitrary-cluster.ts";
import { ciliumRule } from "../../support/arbitrary-policies.ts";
import { ComputedCluster, isLive, localEndpoint, tablesOfNode, testAllocator } from "../../support/compute-cluster.ts";

const nodeName = "n1";

function fresh(identities: IdentityAllocator) {
  return createComputation({ nodeName, identities, policyEnforcement: "default" });
}

/** Where two results differ, for the message. */
function difference(left: ComputeResult, right: ComputeResult): string {
  for (const key of Object.keys(left.desired) as (keyof ComputeResult["desired"])[]) {
    if (isDeepStrictEqual(left.desired[key], right.desired[key])) continue;
    return `${key}:\n${JSON.stringify(left.desired[key])}\n${JSON.stringify(right.desired[key])}`;
  }
  return `${JSON.stringify({ ...left, desired: null })}\n${JSON.stringify({ ...right, desired: null })}`;
}

/** With what is made when somebody asks, and with maps that can be compared. */
function whole(result: ComputeResult): ComputeResult {
  const { desired, identityOfPod, identitiesInUse, lastValid } = result;
  return {
    ...result,
    desired: { ...desired, identities: new Map(desired.identities) },
    identityOfPod: new Map(identityOfPod),
    identitiesInUse: new Map(identitiesInUse),
    lastValid: new Map(lastValid),
  };
}

function expectSame(some: ComputeResult, other: ComputeResult): void {
  const [left, right] = [whole(some), whole(other)];
  if (!isDeepStrictEqual(left, right)) throw new Error(difference(left, right));
}

/** The same tables, filled in another order. */
function reordered(store: TableStore): TableStore {
  const other = new TableStore();
  for (const name of [...tableNames].reverse()) {
    for (const [key, row] of [...store.table(name)].reverse()) other.upsert(name, key, row);
  }
  return other;
}

test("the order in which rows came does not matter", (t) => {
  fc.assert(
    fc.property(clusterSteps, (steps) => {
      const store = tablesOfNode(build(steps), nodeName);
      const identities = testAllocator();
      const result = fresh(identities).compute(store.snapshot());
      expectSame(fresh(identities).compute(reordered(store).snapshot()), result);
    }),
    { numRuns: 200 },
  );
  t.pass();
});

const invalidPolicy: PolicyRow = {
  kind: "CiliumNetworkPolicy",
  namespace: "x",
  name: "never-valid",
  uid: "",
  generation: 1,
  spec: { endpointSelector: {}, ingress: [{ fromEntities: ["nobody-knows"] }] },
  specs: null,
};

const tables = [
  "pods",
  "policies",
  "services",
  "endpointSlices",
  "namespaces",
  "nodes",
  "localEndpoints",
  "cidrGroups",
  "names",
  "localAddresses",
] as const;

/** Addresses of nodes and pods among them. */
const localAddressStep: fc.Arbitrary<Step> = fc
  .constantFrom("172.17.0.1", "10.1.1.1", "192.168.0.1", "192.168.0.2", "fd00:1:1::1", "198.51.100.60")
  .map((text) => (store) => store.upsert("localAddresses", text, { address: address(text), device: "br0" }));

const deletion: fc.Arbitrary<Step> = fc.tuple(fc.constantFrom(...tables), fc.nat()).map(([table, n]) => (store) => {
  const keys = [...store.table(table).keys()];
  const key = keys[n % Math.max(keys.length, 1)];
  if (key !== undefined) store.delete(table, key);
});

/** The CNI makes an endpoint for a pod, known or not, the same or another one of that name. */
const endpointStep: fc.Arbitrary<Step> = fc
  .tuple(podRow, fc.constantFrom("", "uid-1", "uid-2"), fc.integer({ min: 1, max: 4 }))
  .map(([pod, uid, id]) => (store) => {
    const known = store.table("pods").get(`${pod.namespace}/${pod.name}`) ?? pod;
    const row = localEndpoint({ ...known, uid }, id);
    store.upsert("localEndpoints", row.containerId, row);
  });

const uidStep: fc.Arbitrary<Step> = podRow.map((pod) => (store) => {
  store.upsert("pods", `${pod.namespace}/${pod.name}`, { ...pod, uid: "uid-1" });
});

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: podStep },
  { weight: 4, arbitrary: policyStep },
  { weight: 3, arbitrary: endpointStep },
  uidStep,
  namespaceStep,
  serviceStep,
  sliceStep,
  groupStep,
  nameStep,
  nodeStep,
  localAddressStep,
  fc.constantFrom(...nodeNames).map(
    (name): Step =>
      (store) =>
        store.upsert("nodes", name, nodeRow(name)),
  ),
  fc.constant<Step>((store) => store.upsert("policies", "never-valid", invalidPolicy)),
  { weight: 3, arbitrary: deletion },
);

test("a computation that followed every change says what a new one says", (t) => {
  let steps = 0;
  fc.assert(
    fc.property(clusterSteps, fc.array(step, { minLength: 8, maxLength: 25 }), (start, changes) => {
      const store = tablesOfNode(build(start), nodeName);
      const identities = testAllocator();
      const followed = fresh(identities);
      let before = followed.compute(store.snapshot());
      let expected = whole(fresh(identities).compute(store.snapshot()));
      for (const change of changes) {
        change(store);
        steps++;
        const result = followed.compute(store.snapshot());
        // What was said of the tables before stays what it was.
        expectSame(before, expected);
        before = result;
        expected = whole(fresh(identities).compute(store.snapshot()));
        expectSame(result, expected);
      }
    }),
    { numRuns: 120 },
  );
  t.true(steps > 500);
});

const rank = { deny: 0, redirect: 1, allow: 2 } as const;
const addOnly = (side: "from" | "to") => ciliumRule(side, false, false);

test("without deny rules, one more rule never denies what was allowed", (t) => {
  let opened = 0;
  const rules = (side: "from" | "to") => fc.array(addOnly(side), { minLength: 1, maxLength: 3 });
  fc.assert(
    fc.property(
      clusterSteps,
      rules("from"),
      rules("to"),
      addOnly("from"),
      addOnly("to"),
      (steps, ingress, egress, moreIngress, moreEgress) => {
        const withRules = (inward: readonly object[], outward: readonly object[]): TableStore => {
          const store = build(steps);
          store.replaceAll("policies", new Map());
          const spec = { endpointSelector: {}, ingress: inward, egress: outward };
          store.upsert("policies", "p", { ...invalidPolicy, name: "p", spec });
          return store;
        };
        const few = withRules(ingress, egress);
        const before = new ComputedCluster(few);
        const after = new ComputedCluster(withRules([...ingress, moreIngress], [...egress, moreEgress]));
        for (const pod of [...few.table("pods").values()].filter(isLive)) {
          const [own] = pod.addresses;
          if (own === undefined) continue;
          const others = [...few.table("pods").values()].filter((each) => isLive(each) && each !== pod);
          const peers = [...others.flatMap(({ addresses }) => addresses), ...strangers.map(address)];
          for (const peer of peers.filter(({ family }) => family === own.family)) {
            for (const { protocol, number } of flows) {
              const icmp = protocol === "ICMP" || protocol === "ICMPv6";
              const numbers = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1, ICMPv6: 58 };
              const packet = { peer, protocol: numbers[protocol], port: icmp ? number << 8 : number };
              for (const side of ["ingress", "egress"] as const) {
                const now = rank[after.judgeEnd(own, side, packet)];
                const then = rank[before.judgeEnd(own, side, packet)];
                if (now < then) throw new Error(`${side} of ${pod.name}, peer ${peer.text}: ${then} became ${now}`);
                if (now > then) opened++;
              }
            }
          }
        }
      },
    ),
    { numRuns: 60 },
  );
  t.true(opened > 0, "some rules opened something");
});
