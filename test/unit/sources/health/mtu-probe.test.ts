/** The largest packet that passes is found whatever it is, with few questions. */
import test from "ava";
import fc from "fast-check";
import { MtuProbe } from "../../../../src/sources/health/mtu-probe.ts";

/** Lets it ask until it waits for its next look; says what it sent. */
function drive(
  probe: MtuProbe,
  most: number,
  hint: number,
  fromMs = 0,
): { readonly sizes: readonly number[]; readonly endMs: number } {
  const sizes: number[] = [];
  let monotonicMs = fromMs;
  for (; monotonicMs < fromMs + 29_000; monotonicMs += 100) {
    const now = { monotonicMs, wallMs: monotonicMs };
    const size = probe.next(now);
    if (size === null) continue;
    sizes.push(size);
    if (size <= most) probe.answered(size, now);
    else probe.missed(size, hint, now);
  }
  return { sizes, endMs: monotonicMs };
}

test("any size is found, with or without a router that tells one, right or wrong", (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom(4 as const, 6 as const),
      fc.integer({ min: 1280, max: 9216 }),
      fc.integer({ min: 1280, max: 9216 }),
      fc.option(fc.integer({ min: 0, max: 10_000 }), { nil: 0 }),
      (family, claimed, most, hint) => {
        const probe = new MtuProbe(family, claimed, { monotonicMs: 0, wallMs: 0 }, { first: 0, pace: 100 });
        const { sizes } = drive(probe, most, hint);
        t.true(sizes.length <= 40, String(sizes));
        if (most >= claimed) t.is(probe.mismatch, null);
        // A router that says less than what passes is believed: less than that is what it takes.
        else if (hint > 0 && hint <= most)
          t.true((probe.mismatch?.carried ?? 0) >= Math.min(hint, most) && (probe.mismatch?.carried ?? 0) <= most);
        else t.deepEqual(probe.mismatch, { family, claimed, carried: most });
      },
    ),
    { numRuns: 300 },
  );
});

test("a mismatch stays told without a new search, and is over when the claim passes or is another", (t) => {
  const probe = new MtuProbe(4, 1500, { monotonicMs: 0, wallMs: 0 }, { first: 0, pace: 100 });
  let { endMs } = drive(probe, 1400, 0);
  t.is(probe.mismatch?.carried, 1400);
  const again = drive(probe, 1400, 0, endMs + 10_000);
  t.deepEqual(again.sizes, [1500, 1500, 1500]);
  t.is(probe.mismatch?.carried, 1400);
  endMs = drive(probe, 1500, 0, again.endMs + 10_000).endMs;
  t.is(probe.mismatch, null);
  drive(probe, 1400, 0, endMs + 10_000);
  probe.claim(1400, { monotonicMs: endMs + 50_000, wallMs: 0 });
  t.is(probe.mismatch, null);
  t.is(probe.next({ monotonicMs: endMs + 50_000, wallMs: 0 }), 1400);
});

test("when small packets are lost too, nothing is concluded", (t) => {
  const now = { monotonicMs: 0, wallMs: 0 };
  const probe = new MtuProbe(4, 1500, now, { first: 0, pace: 100 });
  for (let i = 0; i < 10; i++) {
    t.is(probe.next({ monotonicMs: i * 10_000, wallMs: 0 }), 1500);
    probe.unsure({ monotonicMs: i * 10_000, wallMs: 0 });
  }
  t.is(probe.mismatch, null);
});
