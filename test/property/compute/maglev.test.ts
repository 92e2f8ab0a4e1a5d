/** The laws of Maglev tables, for any backends. */
import { createHash } from "node:crypto";
import test from "ava";
import fc from "fast-check";
import { maglevSlots } from "../../../src/compute/services/maglev.ts";
import { addressFromBytes } from "../../../src/model/ip.ts";
import { loadNative } from "../../../src/native/index.ts";
import { addonTable, type MaglevBackend, referenceTable } from "../../support/maglev-reference.ts";

const native = loadNative();
const tableOf = (backends: readonly MaglevBackend[]) => addonTable(native, backends);

const arbitraryBackend = fc.record({
  address: fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => addressFromBytes(bytes)),
  port: fc.integer({ min: 1, max: 65_535 }),
});
const name = ({ address, port }: MaglevBackend): string => `${address.text} ${port}`;
const backendLists = (maxLength: number) =>
  fc.uniqueArray(arbitraryBackend, { minLength: 2, maxLength, selector: name });

/** By slot. */
const names = (backends: readonly MaglevBackend[]): readonly string[] =>
  [...tableOf(backends)].map((at) => name(backends[at] ?? { address: addressFromBytes(new Uint8Array(4)), port: 0 }));

function loads(backends: readonly MaglevBackend[]): readonly number[] {
  const counts = backends.map(() => 0);
  for (const at of tableOf(backends)) counts[at] = (counts[at] ?? 0) + 1;
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

test("the addon's table is the one that is defined, of either family and with weights", (t) => {
  const backend = fc.record({
    address: fc
      .oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }))
      .map((bytes) => addressFromBytes(bytes)),
    port: fc.integer({ min: 1, max: 65_535 }),
  });
  const weighted = fc.record({
    backend,
    weight: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 65_535 })),
  });
  const lists = fc.oneof(
    fc.array(backend, { minLength: 2, maxLength: 60 }),
    fc
      .array(weighted, { minLength: 2, maxLength: 60 })
      .map((list) => list.map((each) => ({ ...each.backend, weight: each.weight }))),
  );
  fc.assert(
    fc.property(lists, (backends: readonly MaglevBackend[]) => {
      t.deepEqual(tableOf(backends), referenceTable(backends));
    }),
    { numRuns: 200 },
  );
});

// As version 0.1 had them. Another table is another choice of backend for flows that move between nodes of two versions.
const digests: readonly (readonly [count: number, weighted: boolean, ipv4: string, ipv6: string])[] = [
  [2, false, "37b729746bb20906", "53a9999c6d1f88d6"],
  [10, false, "33d9f75a082d063a", "06dcb6b4d0eb317e"],
  [10, true, "f2fd850e5218ba67", "926ae3e4f58bcdac"],
  [100, false, "36f64fba94e7b3d6", "4594e221a223835e"],
  [300, true, "a21961bedd417ec8", "0dbcf03265cf9b61"],
  [1000, false, "9fc32d29d08bf39c", "662951aee1f0b809"],
];

test("a version of Tandem has the tables of the ones before", (t) => {
  for (const [count, weighted, ...wanted] of digests) {
    for (const [at, digest] of wanted.entries()) {
      const front = at === 0 ? [10, 9] : [0xfd, ...new Uint8Array(12), 9];
      const backends = Array.from({ length: count }, (_, pod) => ({
        address: addressFromBytes(Uint8Array.of(...front, pod >> 8, pod & 255)),
        port: 8080,
        ...(weighted && { weight: 1 + (pod % 3) }),
      }));
      const table = Uint16Array.from(tableOf(backends));
      t.is(
        createHash("sha256").update(Buffer.from(table.buffer)).digest("hex").slice(0, 16),
        digest,
        `${count} backends`,
      );
    }
  }
});

test("what would fill for ever, or beyond a table, is refused", (t) => {
  const backends = Buffer.alloc(3 * 20);
  const refused = (list: Buffer, weights: Uint16Array | null, slots: number) =>
    t.is(t.throws(() => native.maglevTable(list, weights, slots))?.name, "NativeError");
  for (const slots of [0, 1, 2, 1022, 131_072, 131_101]) refused(backends, null, slots);
  refused(backends.subarray(1), null, 251);
  refused(Buffer.alloc(0), null, 251);
  refused(Buffer.alloc(65_537 * 20), null, 131_071);
  refused(backends, Uint16Array.of(1, 1), 251);
  refused(backends, Uint16Array.of(1, 0, 1), 251);
  t.is(native.maglevTable(backends, null, 251).length, 256);
});
