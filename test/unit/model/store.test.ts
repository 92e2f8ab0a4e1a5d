import test from "ava";
import fc from "fast-check";
import { equalRows, type TableChange, TableStore, tableNames } from "../../../src/model/store.ts";
import type { NodeRow } from "../../../src/model/tables.ts";

const node = (name: string, labels: Record<string, string> = {}): NodeRow => ({
  name,
  labels,
  addresses: [],
  podCidrs: [],
});

function watched() {
  const store = new TableStore();
  const changes: TableChange[] = [];
  const end = store.onChange((change) => changes.push(change));
  return { store, changes, end };
}

test("a write of an equal row changes nothing and keeps the old object", (t) => {
  const { store, changes } = watched();
  const first = node("a", { x: "1" });
  store.upsert("nodes", "a", first);
  store.upsert("nodes", "a", node("a", { x: "1" }));
  t.is(store.table("nodes").get("a"), first);
  t.is(store.revision, 1);
  t.is(changes.length, 1);
});

test("each change tells table, key, both rows and its revision, until the listener ends", (t) => {
  const { store, changes, end } = watched();
  const [one, two] = [node("a"), node("a", { x: "2" })];
  store.upsert("nodes", "a", one);
  store.upsert("nodes", "a", two);
  store.delete("nodes", "a");
  store.delete("nodes", "a");
  end();
  store.upsert("nodes", "b", node("b"));
  t.deepEqual(changes, [
    { table: "nodes", key: "a", before: undefined, after: one, revision: 1 },
    { table: "nodes", key: "a", before: one, after: two, revision: 2 },
    { table: "nodes", key: "a", before: two, after: undefined, revision: 3 },
  ]);
  t.is(store.revision, 4);
});

test("a snapshot stays as it is, and shares with the next one the tables that did not change", (t) => {
  const store = new TableStore();
  store.upsert("nodes", "a", node("a"));
  const before = store.snapshot();
  t.deepEqual(Object.keys(before).sort(), [...tableNames].sort());
  store.upsert("nodes", "b", node("b"));
  const after = store.snapshot();
  t.deepEqual([...before.nodes.keys()], ["a"]);
  t.deepEqual([...after.nodes.keys()], ["a", "b"]);
  t.is(after.pods, before.pods);
  t.not(after.nodes, before.nodes);
  t.is(store.snapshot().nodes, after.nodes);
});

test("replaceAll with an owner removes only what this owner wrote before", (t) => {
  const store = new TableStore();
  store.upsert("nodes", "by hand", node("by hand"));
  store.replaceAll(
    "nodes",
    new Map([
      ["a", node("a")],
      ["b", node("b")],
    ]),
    "files",
  );
  store.replaceAll("nodes", new Map([["c", node("c")]]), "kube");
  store.replaceAll("nodes", new Map([["b", node("b")]]), "files");
  t.deepEqual([...store.table("nodes").keys()].sort(), ["b", "by hand", "c"]);
  store.replaceAll("nodes", new Map([["z", node("z")]]));
  t.deepEqual([...store.table("nodes").keys()], ["z"]);
});

test("replaceAll with equal rows changes nothing", (t) => {
  const { store, changes } = watched();
  const rows = () => new Map([["a", node("a")]]);
  store.replaceAll("nodes", rows(), "files");
  const snapshot = store.snapshot();
  store.replaceAll("nodes", rows(), "files");
  t.is(changes.length, 1);
  t.is(store.snapshot().nodes, snapshot.nodes);
});

test("the changes of the feed lead from an old snapshot to the present tables", (t) => {
  const key = fc.constantFrom("a", "b", "c");
  const write = fc.record({ key, value: fc.option(fc.constantFrom("1", "2")) });
  fc.assert(
    fc.property(fc.array(write), fc.array(write), (first, second) => {
      const store = new TableStore();
      const run = (writes: typeof first) => {
        for (const { key, value } of writes) {
          if (value === null) store.delete("nodes", key);
          else store.upsert("nodes", key, node(key, { value }));
        }
      };
      run(first);
      const followed = new Map(store.snapshot().nodes);
      store.onChange(({ key, before, after }) => {
        t.is(followed.get(key), before as NodeRow | undefined);
        if (after === undefined) followed.delete(key);
        else followed.set(key, after as NodeRow);
      });
      run(second);
      t.deepEqual(followed, new Map(store.table("nodes")));
    }),
  );
});

test("rows are equal as their JSON is, byte arrays by their bytes, keys in any order", (t) => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
      t.true(equalRows(a, structuredClone(a)));
      const canonical = (value: unknown): unknown =>
        Array.isArray(value)
          ? value.map(canonical)
          : typeof value === "object" && value !== null
            ? Object.entries(value)
                .map(([key, each]) => [key, canonical(each)] as const)
                .sort(([left], [right]) => (left < right ? -1 : 1))
                .concat([["object", null]])
            : Object.is(value, -0)
              ? "-0"
              : value;
      t.is(equalRows(a, b), JSON.stringify(canonical(a)) === JSON.stringify(canonical(b)));
    }),
  );
  t.true(equalRows({ b: Uint8Array.of(1, 2) }, { b: Uint8Array.of(1, 2) }));
  t.false(equalRows({ b: Uint8Array.of(1, 2) }, { b: Uint8Array.of(1, 3) }));
  t.false(equalRows(Uint8Array.of(1), [1]));
  t.false(equalRows({ a: undefined }, {}));
  t.false(equalRows({ a: 1 }, { b: 1 }));
  t.false(equalRows([], {}));
  t.false(equalRows(null, {}));
});
