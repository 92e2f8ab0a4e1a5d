import test from "ava";
import fc from "fast-check";
import { Latencies } from "../../../../src/sources/health/latencies.ts";

test("percentiles are those of the last 64 answers, whatever came before", (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 1_000_000 }), { maxLength: 200 }),
      fc.constantFrom(0.5, 0.99, 1),
      (times, share) => {
        const latencies = new Latencies();
        for (const us of times) latencies.add(us);
        const last = times.slice(-64).sort((a, b) => a - b);
        const expected = last.length === 0 ? null : (last[Math.ceil(share * last.length) - 1] ?? null);
        t.is(latencies.percentile(share), expected);
      },
    ),
  );
});
