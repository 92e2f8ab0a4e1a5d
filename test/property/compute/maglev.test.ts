/** The laws of Maglev tables, for any backends. */
import test from "ava";
import fc from "fast-check";
import { type MaglevBackend, maglevSlots, maglevTable } from "../../../src/compute/services/maglev.ts";
import { addressFromBytes } from "../../../src/model/ip.ts";

const arbitraryBackend = fc.record({
  address: fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => addressFromBytes(bytes)),
  port: fc.integer({ min: 1, max: 65_535 }),
});
const name = ({ address, port }: MaglevBackend): string => `${address.text} ${port}`;
const backendLists = (maxLength: number) =>
  fc.uniqueArray(arbitraryBackend, { minLength: 2, maxLength, selector: name });

/** By slot. */
const names = (backends: readonly MaglevBackend[]): readonly string[] =>
  [...(maglevTable(backends) ?? [])].map((at) =>
    name(backends[at] ?? { address: addressFromBytes(new Uint8Array(4)), port: 0 }),
  );

function loads(backends: readonly MaglevBackend[]): readonly number[] {
  const counts = backends.map(() => 0);
  for (const at of maglevTable(backends) ?? []) counts[at] = (counts[at] ?? 0) + 1;
  return counts;
}

test("the order of arrival does not matter", (t) => {
  const shuffled = backendLists(50).chain((list) =>
    fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
  );
  fc.assert(
    fc.property(shuffled, ([one, other]) => {
      t.deepEqual(names(one), names(other));
    }),
    { numRuns: 40 },
  );
});

test("each backend has its share, rounded down or up", (t) => {
  fc.assert(
    fc.property(backendLists(120), (backends) => {
      const share = maglevSlots(backends.length) / backends.length;
      for (const load of loads(backends)) t.true(load === Math.floor(share) || load === Math.ceil(share));
      if (Math.max(...loads(backends)) / share > 1.01) t.fail("more than 1 % above the mean");
    }),
    { numRuns: 40 },
  );
});

test("each backend has its share by weight, rounded down or up", (t) => {
  const weighted = fc.uniqueArray(
    fc.record({ backend: arbitraryBackend, weight: fc.oneof(fc.integer({ min: 1, max: 10 }), fc.constant(65_535)) }),
    { minLength: 2, maxLength: 40, selector: ({ backend }) => name(backend) },
  );
  fc.assert(
    fc.property(weighted, (entries) => {
      const backends = entries.map(({ backend, weight }) => ({ ...backend, weight }));
      const total = entries.reduce((sum, { weight }) => sum + weight, 0);
      const all = loads(backends);
      for (const [at, { weight }] of entries.entries()) {
        const share = (maglevSlots(backends.length) * weight) / total;
        const load = all[at] ?? -1;
        t.true(load >= Math.floor(share) && load <= Math.floor(share) + 1, `${load} of a share of ${share}`);
      }
    }),
    { numRuns: 40 },
  );
});

test("equal weights are none", (t) => {
  fc.assert(
    fc.property(backendLists(20), fc.integer({ min: 1, max: 65_535 }), (backends, weight) => {
      t.deepEqual(names(backends), names(backends.map((each) => ({ ...each, weight }))));
    }),
    { numRuns: 20 },
  );
});

test("of 100 backends one leaves: half a percent of the slots change hands that need not", (t) => {
  const many = fc.uniqueArray(arbitraryBackend, { minLength: 100, maxLength: 100, selector: name });
  // What is measured is a mean, so that the sets are the same ones each time.
  const shares = fc.sample(many, { numRuns: 20, seed: 1 }).map((backends, run) => {
    const gone = (run * 37) % 100;
    const before = loads(backends)[gone] ?? 0;
    const after = names(backends.filter((_, at) => at !== gone));
    return (names(backends).filter((each, slot) => each !== after[slot]).length - before) / after.length;
  });
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  t.true(mean <= 0.005, `${(mean * 100).toFixed(2)} %`);
  t.true(Math.max(...shares) <= 0.01, `${(Math.max(...shares) * 100).toFixed(2)} % at most`);
});
