import test from "ava";
import fc from "fast-check";
import { lookAtTables, readTables } from "../../../src/datapath/numbered-tables.ts";
import { maglevKey } from "../../../src/native/layouts.gen.ts";
import { FakeKernel } from "./fake-kernel.ts";

const size = 128;

/** Tables of pieces that are this byte each; null: a hole. */
type Shape = Readonly<Record<number, readonly (number | null)[]>>;

function kernelWith(shape: Shape): FakeKernel {
  const kernel = new FakeKernel();
  for (const [number, pieces] of Object.entries(shape)) {
    for (const [chunk, byte] of pieces.entries()) {
      if (byte === null) continue;
      kernel.set("maglev", maglevKey.encode({ service: Number(number), chunk }), Buffer.alloc(size, byte));
    }
  }
  return kernel;
}

/** As it is read: what is missing before the last piece is all ones, and after it nothing. */
function believed(shape: Shape): ReadonlyMap<number, Buffer> {
  return new Map(
    Object.entries(shape).flatMap(([number, pieces]) => {
      const length = pieces.findLastIndex((byte) => byte !== null) + 1;
      if (length === 0) return [];
      return [[Number(number), Buffer.concat(pieces.slice(0, length).map((byte) => Buffer.alloc(size, byte ?? 0xff)))]];
    }),
  );
}

const shapes: fc.Arbitrary<Shape> = fc.dictionary(
  fc.integer({ min: 1, max: 5 }).map(String),
  fc.array(fc.option(fc.integer({ min: 0, max: 3 })), { minLength: 1, maxLength: 4 }),
);

test("what is read is what is there, whatever was believed, and what differs is counted", async (t) => {
  await fc.assert(
    fc.asyncProperty(shapes, shapes, async (there, before) => {
      const [known, wanted] = [believed(before), believed(there)];
      const kernel = kernelWith(there);
      const { tables, differing } = await readTables(kernel.native, kernel.map("maglev"), known);
      const sorted = (map: ReadonlyMap<number, Buffer>) => [...map].sort(([a], [b]) => a - b);
      t.deepEqual(sorted(tables), sorted(wanted));
      const numbers = new Set([...known.keys(), ...wanted.keys()]);
      const differ = [...numbers].filter((number) => {
        const [old, now] = [known.get(number), wanted.get(number)];
        return old === undefined || now === undefined || !old.equals(now);
      });
      // A table of all ones at a hole cannot be told from the hole that was believed there: it is counted, and written again.
      t.true(differing >= differ.length && differing <= numbers.size);
      const again = await readTables(kernel.native, kernel.map("maglev"), tables);
      t.deepEqual(sorted(again.tables), sorted(wanted));
    }),
    { numRuns: 300 },
  );
});

test("tables that are as believed are the same objects, and nothing differs", async (t) => {
  const shape = { 1: [1, 2, 3], 7: [0] };
  const kernel = kernelWith(shape);
  const known = believed(shape);
  const { tables, differing } = await readTables(kernel.native, kernel.map("maglev"), known);
  t.is(differing, 0);
  for (const [number, table] of known) t.is(tables.get(number), table);
});

test("a look has a doubt that is confirmed where tables differ, and none where they do not", async (t) => {
  await fc.assert(
    fc.asyncProperty(shapes, shapes, async (there, before) => {
      // A hole that is believed is all ones, and nothing in the kernel: what has holes always differs.
      const whole = (shape: Shape): Shape =>
        Object.fromEntries(
          Object.entries(shape).map(([number, pieces]) => [number, pieces.filter((each) => each !== null)]),
        );
      const [known, wanted] = [believed(whole(before)), believed(whole(there))];
      const kernel = kernelWith(whole(there));
      const doubt = await lookAtTables(kernel.native, kernel.map("maglev"), () => known);
      const numbers = [...new Set([...known.keys(), ...wanted.keys()])];
      const isSame = numbers.every((number) => known.get(number)?.equals(wanted.get(number) ?? Buffer.alloc(0)));
      t.is(doubt?.() ?? false, !isSame);
      if (isSame) t.is(doubt, null);
    }),
    { numRuns: 300 },
  );
});

test("tables that come, change and go while a look goes on are no difference", async (t) => {
  const kernel = kernelWith({ 1: [1, 2], 2: [3, 4], 3: [5] });
  const known = new Map(believed({ 1: [1, 2], 2: [3, 4], 3: [5] }));
  const dump = await kernel.native.mapDump(kernel.map("maglev").handle);
  const native = { ...kernel.native, mapDump: async () => dump };
  const piece = (service: number, chunk: number) => maglevKey.encode({ service, chunk });
  kernel.native.mapDelete(kernel.map("maglev").handle, piece(1, 0));
  kernel.native.mapDelete(kernel.map("maglev").handle, piece(1, 1));
  known.delete(1);
  kernel.set("maglev", piece(2, 1), Buffer.alloc(size, 9));
  known.set(2, Buffer.concat([Buffer.alloc(size, 3), Buffer.alloc(size, 9)]));
  kernel.set("maglev", piece(4, 0), Buffer.alloc(size, 6));
  known.set(4, Buffer.alloc(size, 6));
  const doubt = await lookAtTables(native, kernel.map("maglev"), () => known);
  t.is(doubt?.(), false);
  kernel.set("maglev", piece(2, 0), Buffer.alloc(size, 8));
  t.is(doubt?.(), true, "somebody else's change of a table that looked different is found");
});
