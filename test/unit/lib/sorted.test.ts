import test from "ava";
import fc from "fast-check";
import { placeIn, put, take } from "../../../src/lib/sorted.ts";

interface Row {
  readonly key: number;
  readonly value: string;
}

const row = fc.record({ key: fc.integer({ min: 0, max: 20 }), value: fc.string({ maxLength: 2 }) });

test("puts and takes leave one element for each key, in order", (t) => {
  fc.assert(
    fc.property(fc.array(fc.oneof(row, fc.integer({ min: 0, max: 20 }))), (steps) => {
      const sorted: Row[] = [];
      const model = new Map<number, Row>();
      for (const step of steps) {
        if (typeof step === "number") {
          take(sorted, ({ key }) => key - step);
          model.delete(step);
        } else {
          put(sorted, step, (a, b) => a.key - b.key);
          model.set(step.key, step);
        }
        t.deepEqual(
          sorted,
          [...model.values()].sort((a, b) => a.key - b.key),
        );
      }
    }),
  );
});

test("the place of what is not there is where it would be", (t) => {
  t.deepEqual(
    [0, 1, 2, 5].map((wanted) => placeIn([1, 2, 4], (each) => each - wanted)),
    [
      { at: 0, found: false },
      { at: 0, found: true },
      { at: 1, found: true },
      { at: 3, found: false },
    ],
  );
});
