import test from "ava";
import fc from "fast-check";
import { Backoff } from "../../../src/lib/backoff.ts";

test("pauses double from the first to the longest, and begin anew after a success", (t) => {
  const backoff = new Backoff({ firstMs: 100, maxMs: 1_000, random: () => 0 });
  t.deepEqual(
    Array.from({ length: 6 }, () => backoff.next()),
    [100, 200, 400, 800, 1_000, 1_000],
  );
  t.is(backoff.failures, 6);
  backoff.reset();
  t.is(backoff.failures, 0);
  t.is(backoff.next(), 100);
});

test("jitter takes away up to a quarter and adds nothing, however often it failed", (t) => {
  const random = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
  fc.assert(
    fc.property(fc.nat(5_000), random, (failures, value) => {
      const backoff = new Backoff({ firstMs: 100, maxMs: 10_000, random: () => value });
      const full = Math.min(10_000, 100 * 2 ** failures);
      for (let i = 0; i < failures; i++) backoff.next();
      const pause = backoff.next();
      t.true(pause <= full && pause >= full * 0.75, `${pause}`);
    }),
    { numRuns: 50 },
  );
});
