/** What differs between two lists of rows. */
import test from "ava";
import fc from "fast-check";
import { rowChanges } from "../../../src/datapath/row-changes.ts";

const [a, b, c, d] = [{}, {}, {}, {}];

test("rows are compared by identity, wherever they stand", (t) => {
  t.deepEqual(rowChanges([a, b, c], [a, b, c]), { gone: [], come: [] });
  t.deepEqual(rowChanges([], [a]), { gone: [], come: [a] });
  t.deepEqual(rowChanges([a], []), { gone: [a], come: [] });
  const { gone, come } = rowChanges([a, b, c], [a, d, c]);
  t.is(gone[0], b);
  t.is(come[0], d);
  t.is(gone.length + come.length, 2);
  t.deepEqual(rowChanges([a, b, c], [c, b, a]), { gone: [], come: [] }, "another order is no change");
});

test("as sets would say", (t) => {
  const rows = Array.from({ length: 12 }, (_, id) => ({ id }));
  const some = fc.subarray(rows).chain((part) => fc.shuffledSubarray(part, { minLength: part.length }));
  fc.assert(
    fc.property(some, some, (before, after) => {
      const { gone, come } = rowChanges(before, after);
      t.deepEqual(
        gone,
        before.filter((row) => !after.includes(row)),
      );
      t.deepEqual(
        come,
        after.filter((row) => !before.includes(row)),
      );
    }),
  );
  t.pass();
});
