import test from "ava";
import fc from "fast-check";
import { isEmpty, Ledger, type Batch } from "../../../src/kube/ledger.ts";
import type { KubeObject, WatchEvent } from "../../../src/kube/objects.ts";
import { added, deleted, modified, pod } from "./scripted-client.ts";

function apply(rows: Map<string, string>, batch: Batch<string>): void {
  for (const [key, row] of batch.added) {
    if (rows.has(key)) throw new Error(`${key} is added twice`);
    rows.set(key, row);
  }
  for (const [key, row] of batch.updated) {
    if (!rows.has(key)) throw new Error(`${key} is updated and was never added`);
    rows.set(key, row);
  }
  for (const key of batch.deleted) if (!rows.delete(key)) throw new Error(`${key} is deleted and was never added`);
}

const versionOf = (object: KubeObject) => object.metadata.resourceVersion ?? "";
const never = (key: string) => {
  throw new Error(key);
};

/** A cluster's history: at each step a pod is made or changed, or goes. */
const history = fc.array(fc.record({ name: fc.constantFrom("a", "b", "c", "d"), alive: fc.boolean() }), {
  maxLength: 60,
});

interface World {
  readonly events: readonly WatchEvent[];
  /** Objects after the first n events. */
  at(n: number): readonly KubeObject[];
}

function worldOf(steps: readonly { readonly name: string; readonly alive: boolean }[]): World {
  const events: WatchEvent[] = [];
  const states: (readonly KubeObject[])[] = [[]];
  const alive = new Map<string, KubeObject>();
  for (const step of steps) {
    const known = alive.has(step.name);
    if (!known && !step.alive) continue;
    const object = pod(step.name, `${100 + events.length}`);
    if (step.alive) alive.set(step.name, object);
    else alive.delete(step.name);
    events.push(step.alive ? (known ? modified(object) : added(object)) : deleted(object));
    states.push([...alive.values()]);
  }
  return { events, at: (n) => states[n] ?? [] };
}

function rowsOf(objects: readonly KubeObject[]): ReadonlyMap<string, string> {
  return new Map(objects.map((object) => [`shop/${object.metadata.name}`, versionOf(object)]));
}

const sorted = (rows: ReadonlyMap<string, string>) => [...rows].sort();

test("lists and batches of any size, at any time and with events told again, leave what the cluster has", (t) => {
  const plan = fc.array(fc.record({ list: fc.boolean(), size: fc.nat(7), again: fc.nat(4) }));
  fc.assert(
    fc.property(history, plan, (steps, moves) => {
      const world = worldOf(steps);
      const ledger = new Ledger(versionOf, never);
      const rows = new Map<string, string>();
      let seen = 0;
      for (const { list, size, again } of [...moves, { list: false, size: steps.length, again: 0 }]) {
        const from = Math.max(0, seen - again);
        seen = Math.min(world.events.length, seen + size);
        if (list) {
          const take = ledger.beginList();
          for (const object of world.at(seen)) take.take(object);
          apply(rows, take.finish());
          take.commit();
        } else {
          // Again: older events of the same objects, as a watch that begins too early sends them.
          const { batch, commit } = ledger.takeEvents(world.events.slice(from, seen));
          apply(rows, batch);
          commit();
        }
        t.is(ledger.size, rows.size);
      }
      t.deepEqual(sorted(rows), sorted(rowsOf(world.at(world.events.length))));
    }),
  );
});

test("a batch that was not committed was never told", (t) => {
  const ledger = new Ledger(versionOf, never);
  t.deepEqual(ledger.takeEvents([added(pod("a", "1"))]).batch.added, [["shop/a", "1"]]);
  t.is(ledger.size, 0);
  const { batch, commit } = ledger.takeEvents([added(pod("a", "1"))]);
  t.deepEqual(batch.added, [["shop/a", "1"]]);
  commit();
  t.true(isEmpty(ledger.takeEvents([added(pod("a", "1"))]).batch));
});

test("after distrust a list tells everything again, and as deleted what may have been told and is not there", (t) => {
  const ledger = new Ledger(versionOf, never);
  ledger.takeEvents([added(pod("a", "1")), added(pod("b", "2"))]).commit();
  ledger.distrust(ledger.takeEvents([added(pod("c", "3"))]).batch);
  const take = ledger.beginList();
  take.take(pod("a", "1"));
  t.deepEqual(take.finish(), { added: [], updated: [["shop/a", "1"]], deleted: ["shop/b", "shop/c"] });
});

test("an object without a version is news each time; keys without a namespace are names", (t) => {
  const ledger = new Ledger((object) => object.metadata.name, never);
  const node: KubeObject = { metadata: { name: "node-1" } };
  ledger.takeEvents([added(node)]).commit();
  t.deepEqual(ledger.takeEvents([modified(node)]).batch.updated, [["node-1", "node-1"]]);
});
