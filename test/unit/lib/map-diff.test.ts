import test from "ava";
import fc from "fast-check";
import { mapChanges } from "../../../src/lib/map-diff.ts";

const map = fc
  .uniqueArray(fc.tuple(fc.constantFrom("a", "b", "c", "d"), fc.nat(2)), { selector: ([key]) => key })
  .map((entries) => new Map<string, number>(entries));

test("the changes lead from one map to the other, each key once, unchanged ones not at all", (t) => {
  fc.assert(
    fc.property(map, map, (before, after) => {
      const changes = mapChanges(before, after);
      const made = new Map(before);
      for (const { key, before: old, after: fresh } of changes) {
        t.is(old, before.get(key));
        t.not(old, fresh);
        if (fresh === undefined) made.delete(key);
        else made.set(key, fresh);
      }
      t.deepEqual([...made].sort(), [...after].sort());
      t.is(new Set(changes.map(({ key }) => key)).size, changes.length);
    }),
  );
});

test("values are compared by identity, as rows are", (t) => {
  const row = { name: "a" };
  t.deepEqual(mapChanges(new Map([["a", row]]), new Map([["a", row]])), []);
  t.is(mapChanges(new Map([["a", row]]), new Map([["a", { ...row }]])).length, 1);
});
