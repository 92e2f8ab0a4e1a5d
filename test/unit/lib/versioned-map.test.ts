import test from "ava";
import fc from "fast-check";
import { mapChanges } from "../../../src/lib/map-diff.ts";
import { VersionedMap } from "../../../src/lib/versioned-map.ts";

const key = fc.constantFrom("a", "b", "c", "d", "e");
const change = fc.tuple(key, fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined }));

/** A version made from the `of`-th one before. */
const step = fc.record({ of: fc.nat(), changes: fc.array(change, { maxLength: 6 }) });

function applied(before: ReadonlyMap<string, number>, changes: readonly (readonly [string, number | undefined])[]) {
  const after = new Map(before);
  for (const [name, value] of changes) {
    if (value === undefined) after.delete(name);
    else after.set(name, value);
  }
  return after;
}

test("every version stays what it was, whichever was made or read since", (t) => {
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 1, maxLength: 12 }),
      fc.array(fc.nat(), { maxLength: 12 }),
      (steps, reads) => {
        const versions = [VersionedMap.from<string, number>([["a", 0]])];
        const models: ReadonlyMap<string, number>[] = [new Map([["a", 0]])];
        for (const { of, changes } of steps) {
          const from = of % versions.length;
          versions.push((versions[from] as VersionedMap<string, number>).with(changes));
          models.push(applied(models[from] as ReadonlyMap<string, number>, changes));
        }
        for (const read of [...reads, ...versions.keys()]) {
          const version = versions[read % versions.length] as VersionedMap<string, number>;
          const model = models[read % versions.length] as ReadonlyMap<string, number>;
          t.deepEqual([...version].sort(), [...model].sort());
          t.is(version.size, model.size);
          for (const name of ["a", "b", "c", "d", "e"]) {
            t.is(version.get(name), model.get(name));
            t.is(version.has(name), model.has(name));
          }
        }
      },
    ),
    { numRuns: 300 },
  );
});

test("what differs between any two versions is what differs between the maps that they are", (t) => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 10 }), fc.nat(), fc.nat(), (steps, one, other) => {
      const versions = [VersionedMap.from<string, number>()];
      for (const { of, changes } of steps) {
        versions.push((versions[of % versions.length] as VersionedMap<string, number>).with(changes));
      }
      const before = versions[one % versions.length] as VersionedMap<string, number>;
      const after = versions[other % versions.length] as VersionedMap<string, number>;
      const byKey = (changes: ReturnType<typeof mapChanges<number>>) =>
        [...changes].sort((a, b) => (a.key < b.key ? -1 : 1));
      const plain = mapChanges(new Map(before), new Map(after));
      t.deepEqual(byKey(mapChanges(before, after)), byKey(plain));
    }),
    { numRuns: 300 },
  );
});

test("changes that change nothing make no version; maps of different origin are compared as a whole", (t) => {
  const some = VersionedMap.from([["a", 1]]);
  t.is(some.with([["a", 1]]), some);
  t.is(some.with([["b", undefined]]), some);
  const stranger = VersionedMap.from([["a", 2]]);
  t.is(some.differing(stranger), null);
  t.deepEqual(mapChanges(stranger, some), [{ key: "a", before: 2, after: 1 }]);
});
