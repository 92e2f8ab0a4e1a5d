/**
 * Histories that the cluster of the other laws does not have: nodes whose addresses and pod CIDRs move while pods claim them, several
 * sandboxes of one pod, addresses that several claim, services and slices of every shape, and numbers of identities that change.
 */
import { isDeepStrictEqual } from "node:util";
import test from "ava";
import fc from "fast-check";
import { type ComputeResult, createComputation, type IdentityAllocator } from "../../../src/compute/index.ts";
import { type TableStore, tableNames } from "../../../src/model/store.ts";
import { address, podRow, prefix, serviceRow } from "../../support/arbitrary-rows.ts";
import {
  build,
  clusterSteps,
  groupStep,
  hostPolicyStep,
  namespaceStep,
  nameStep,
  policyStep,
} from "../../support/arbitrary-cluster.ts";
import { localEndpoint, tablesOfNode } from "../../support/compute-cluster.ts";

const nodeName = "n1";

/** Numbers that sets of labels may have to exchange or give up, as those do that a whole cluster agrees on. */
class ChangingNumbers implements IdentityAllocator {
  readonly #numbers = new Map<string, number>();
  readonly #changed = new Set<string>();
  #next = 256;

  numberFor(key: string): number {
    const number = this.#numbers.get(key) ?? this.#next++;
    this.#numbers.set(key, number);
    return number;
  }

  *renumbered(): Iterable<string> {
    const keys = [...this.#changed];
    this.#changed.clear();
    yield* keys;
  }

  exchange(one: number, other: number): void {
    const keys = [...this.#numbers.keys()];
    const [left, right] = [keys[one % keys.length], keys[other % keys.length]];
    if (left === undefined || right === undefined || left === right) return;
    const number = this.numberFor(left);
    this.#set(left, this.numberFor(right));
    this.#set(right, number);
  }

  renew(one: number): void {
    const key = [...this.#numbers.keys()][one % this.#numbers.size];
    if (key !== undefined) this.#set(key, this.#next++);
  }

  #set(key: string, number: number): void {
    this.#numbers.set(key, number);
    this.#changed.add(key);
  }
}

type Step = (store: TableStore, numbers: ChangingNumbers) => void;

const texts4 = ["10.1.1.1", "10.1.1.2", "10.1.2.1", "192.168.0.1", "192.168.0.2", "172.17.0.1", "198.51.100.60"];
const texts6 = ["fd00:1:1::1", "fd00:1:2::1", "fd00:192::1"];
const someAddresses = fc.uniqueArray(fc.constantFrom(...texts4, ...texts6), { maxLength: 3 });
const cidrs = ["10.1.1.0/24", "10.1.2.0/24", "10.1.0.0/16", "10.1.1.0/28", "fd00:1:1::/64", "fd00:1::/32"];
const names = ["n1", "n2", "n3"] as const;

const movingNode: fc.Arbitrary<Step> = fc
  .tuple(
    fc.constantFrom(...names),
    fc.constantFrom("n1", "special"),
    someAddresses,
    fc.uniqueArray(fc.constantFrom(...cidrs), { maxLength: 3 }),
  )
  .map(([name, pool, addresses, podCidrs]) => (store) => {
    store.upsert("nodes", name, {
      name,
      labels: { pool },
      addresses: addresses.map(address),
      podCidrs: podCidrs.map(prefix),
    });
  });

const claimingPod: fc.Arbitrary<Step> = fc
  .tuple(podRow, someAddresses, fc.constantFrom("", "uid-1", "uid-2"), fc.constantFrom(...names))
  .map(([pod, addresses, uid, node]) => (store) => {
    const row = { ...pod, uid, node, addresses: addresses.map(address) };
    store.upsert("pods", `${pod.namespace}/${pod.name}`, row);
  });

/** A container's endpoint may become another pod's, as well as another address's. */
const sandbox: fc.Arbitrary<Step> = fc
  .record({
    pod: podRow,
    uid: fc.constantFrom(null, "uid-1", "uid-2"),
    id: fc.integer({ min: 1, max: 6 }),
    containerId: fc.constantFrom("a", "b", "c", "d"),
    ipv4: fc.option(fc.constantFrom(...texts4).map(address)),
    ipv6: fc.option(fc.constantFrom(...texts6).map(address)),
  })
  .map(({ pod, id, ...fields }) => (store) => {
    store.upsert("localEndpoints", fields.containerId, { ...localEndpoint(pod, id), ...fields });
  });

const service: fc.Arbitrary<Step> = fc
  .record({
    row: serviceRow,
    clusterIps: fc.uniqueArray(fc.constantFrom("10.96.0.1", "10.96.0.2", "192.168.0.1"), { maxLength: 2 }),
    targetPort: fc.constantFrom(8080, "http"),
    nodePort: fc.constantFrom(null, 30_080),
  })
  .map(({ row, clusterIps, targetPort, nodePort }) => (store) => {
    const port = { name: "http", protocol: "TCP", port: 80, targetPort, nodePort } as const;
    const type = nodePort === null ? "ClusterIP" : "NodePort";
    const key = `${row.namespace}/${row.name}`;
    store.upsert("services", key, { ...row, type, clusterIps: clusterIps.map(address), ports: [port] });
  });

/** Several of one service; one may become another service's. */
const slice: fc.Arbitrary<Step> = fc
  .tuple(
    fc.constantFrom("default/kubernetes", "x/s1", "y/s1", "y/s2"),
    fc.constantFrom("e1", "e2"),
    fc.array(fc.tuple(fc.constantFrom(...texts4), fc.boolean()), { maxLength: 3 }),
  )
  .map(([of, name, endpoints]) => (store) => {
    const [namespace = "", serviceName = ""] = of.split("/");
    store.upsert("endpointSlices", `${namespace}/${name}`, {
      namespace,
      name,
      service: serviceName,
      family: 4,
      endpoints: endpoints.map(([text, ready]) => ({
        addresses: [address(text)],
        ready,
        serving: true,
        terminating: !ready,
        node: null,
        hints: null,
      })),
      ports: [{ name: "http", protocol: "TCP", port: 8080 }],
    });
  });

const localAddress: fc.Arbitrary<Step> = fc.constantFrom(...texts4, ...texts6).map((text) => (store) => {
  store.upsert("localAddresses", text, { address: address(text), device: "br0" });
});

const deletion: fc.Arbitrary<Step> = fc.tuple(fc.constantFrom(...tableNames), fc.nat()).map(([table, n]) => (store) => {
  const keys = [...store.table(table).keys()];
  const key = keys[n % Math.max(keys.length, 1)];
  if (key !== undefined) store.delete(table, key);
});

const renumbering: fc.Arbitrary<Step> = fc.tuple(fc.nat(), fc.nat(), fc.boolean()).map(
  ([one, other, exchanged]) =>
    (_, numbers) =>
      exchanged ? numbers.exchange(one, other) : numbers.renew(one),
);

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: claimingPod },
  { weight: 3, arbitrary: sandbox },
  { weight: 3, arbitrary: policyStep },
  { weight: 2, arbitrary: movingNode },
  { weight: 2, arbitrary: renumbering },
  { weight: 3, arbitrary: deletion },
  ...[service, slice, localAddress, groupStep, nameStep, namespaceStep, hostPolicyStep],
);

function whole({ desired, identityOfPod, identitiesInUse, lastValid, ...reported }: ComputeResult) {
  return {
    ...reported,
    desired: { ...desired, identities: new Map(desired.identities) },
    identityOfPod: new Map(identityOfPod),
    identitiesInUse: new Map(identitiesInUse),
    lastValid: new Map(lastValid),
  };
}

test("whatever moves, several changes at once too: a computation that followed says what a new one says", (t) => {
  let identities = 0;
  fc.assert(
    fc.property(
      clusterSteps,
      fc.array(fc.array(step, { minLength: 1, maxLength: 3 }), { minLength: 8, maxLength: 20 }),
      (start, batches) => {
        const store = tablesOfNode(build(start), nodeName);
        const numbers = new ChangingNumbers();
        const settings = { nodeName, policyEnforcement: "default" } as const;
        const followed = createComputation({ ...settings, identities: numbers });
        let { lastValid } = followed.compute(store.snapshot());
        for (const batch of batches) {
          for (const change of batch) change(store, numbers);
          const before = new Map(lastValid);
          const result = followed.compute(store.snapshot());
          const told = { numberFor: (key: string) => numbers.numberFor(key) };
          const fresh = createComputation({ ...settings, identities: told, lastValid: before });
          const expected = whole(fresh.compute(store.snapshot()));
          if (!isDeepStrictEqual(whole(result), expected)) throw new Error("it differs from a new one");
          ({ lastValid } = result);
          identities += result.identitiesInUse.size;
        }
      },
    ),
    { numRuns: 100 },
  );
  t.true(identities > 500, `${identities} identities`);
});
