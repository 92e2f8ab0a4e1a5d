/** Small random clusters with random valid policies of all kinds. */
import fc from "fast-check";
import { nameKey } from "../../src/model/name-key.ts";
import { TableStore } from "../../src/model/store.ts";
import { policyRow, hostPolicy } from "./arbitrary-policies.ts";
import {
  nodeNames,
  some,
  namespaceRow,
  nodeRow,
  podRow,
  serviceRow,
  sliceRow,
  groupRow,
  nameRow,
} from "./arbitrary-rows.ts";
import type { Flow } from "./reference-policy.ts";

/** One change of a table: a row under its key, or none. */
export type Step = (store: TableStore) => void;

export const namespaceStep: fc.Arbitrary<Step> = namespaceRow.map(
  (row) => (store) => store.upsert("namespaces", row.name, row),
);
export const podStep: fc.Arbitrary<Step> = podRow.map(
  (row) => (store) => store.upsert("pods", `${row.namespace}/${row.name}`, row),
);
export const serviceStep: fc.Arbitrary<Step> = serviceRow.map(
  (row) => (store) => store.upsert("services", `${row.namespace}/${row.name}`, row),
);
export const sliceStep: fc.Arbitrary<Step> = sliceRow.map(
  (row) => (store) => store.upsert("endpointSlices", `${row.namespace}/${row.name}`, row),
);
export const policyStep: fc.Arbitrary<Step> = policyRow.map(
  (row) => (store) => store.upsert("policies", `${row.kind}/${row.namespace}/${row.name}`, row),
);
export const groupStep: fc.Arbitrary<Step> = groupRow.map(
  (row) => (store) => store.upsert("cidrGroups", row.name, row),
);
export const nameStep: fc.Arbitrary<Step> = nameRow.map(
  (row) => (store) => store.upsert("names", nameKey(row.endpoint ?? null, row.name), row),
);
export const nodeStep: fc.Arbitrary<Step> = fc
  .tuple(fc.constantFrom(...nodeNames), fc.constantFrom("n1", "n2", "special"))
  .map(
    ([name, pool]) =>
      (store) =>
        store.upsert("nodes", name, nodeRow(name, pool)),
  );
export const nodeSteps: readonly Step[] = nodeNames.map(
  (name) => (store) => store.upsert("nodes", name, nodeRow(name)),
);

/** A policy of nodes comes, changes or goes. */
export const hostPolicyStep: fc.Arbitrary<Step> = fc
  .tuple(hostPolicy, fc.integer({ min: 0, max: 4 }))
  .map(([row, kind]) => {
    const key = `${row.kind}//${row.name}`;
    return (store) => (kind === 0 ? store.delete("policies", key) : store.upsert("policies", key, row));
  });

export const clusterSteps: fc.Arbitrary<readonly Step[]> = fc
  .tuple(
    fc.array(namespaceStep, { minLength: 1, maxLength: 3 }),
    fc.array(podStep, { minLength: 2, maxLength: 8 }),
    some(serviceStep),
    some(sliceStep, 3),
    fc.array(policyStep, { minLength: 1, maxLength: 6 }),
    some(groupStep),
    some(nameStep, 3),
    some(nodeStep),
  )
  .map((parts) => [...nodeSteps, ...parts.flat()]);

export function build(steps: readonly Step[]): TableStore {
  const store = new TableStore();
  for (const step of steps) step(store);
  return store;
}

export const flows: readonly Flow[] = [
  ...(["TCP", "UDP", "SCTP"] as const).flatMap((protocol) =>
    [53, 54, 80, 8080, 9].map((number): Flow => ({ protocol, number })),
  ),
  { protocol: "ICMP", number: 8 },
  { protocol: "ICMP", number: 3 },
  { protocol: "ICMPv6", number: 128 },
];
