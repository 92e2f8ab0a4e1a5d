import test from "ava";
import fc from "fast-check";
import { WatchPace } from "../../../src/kube/watch-pace.ts";

const always = () => 0.5;

test("a watch is asked for minutes: a bookmark a minute is heard from it", (t) => {
  const pace = new WatchPace(always, null);
  t.deepEqual(pace.next(), { timeoutSeconds: 900, silenceMs: 70_000 });
  pace.ended(0, 900_000);
  t.deepEqual(pace.next(), { timeoutSeconds: 900, silenceMs: 70_000 });
});

test("where no bookmarks came, watches end before a minute's silence; long ones are tried again after a while", (t) => {
  const pace = new WatchPace(always, null);
  pace.next();
  pace.silent();
  pace.ended(0, 70_000);
  let pieces = 0;
  for (let next = pace.next(); next.timeoutSeconds < 60; next = pace.next()) {
    t.is(next.silenceMs, 55_000);
    pace.ended(0, next.timeoutSeconds * 1_000);
    pieces++;
  }
  t.is(pieces, 20);
});

test("a kind that changes all the time is heard without bookmarks", (t) => {
  const pace = new WatchPace(always, null);
  pace.silent();
  pace.ended(10, 43_000);
  t.is(pace.next().timeoutSeconds, 900);
});

test("who has less patience than bookmarks take has rare kinds watched in pieces always", (t) => {
  const pace = new WatchPace(always, 25_000);
  for (let round = 0; round < 50; round++) {
    t.deepEqual(pace.next(), { timeoutSeconds: 16, silenceMs: 25_000 });
    pace.ended(0, 16_000);
  }
  pace.ended(10, 16_000);
  t.deepEqual(pace.next(), { timeoutSeconds: 900, silenceMs: 25_000 });
});

test("from every watch something is due before it counts as dead: its end, or a bookmark", (t) => {
  const step = fc.constantFrom("silent", "quiet", "lively");
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), fc.double({ min: 0, max: 1, noNaN: true }), (steps, random) => {
      const pace = new WatchPace(() => random, null);
      for (const each of steps) {
        const { timeoutSeconds, silenceMs } = pace.next();
        // A bookmark takes 61.25 s; the answer has to come over, too.
        const due = Math.min(timeoutSeconds * 1_000, 61_250);
        t.true(due + 5_000 < silenceMs, `${timeoutSeconds} s, ${silenceMs} ms`);
        t.true(silenceMs <= 70_000);
        if (each === "silent") pace.silent();
        pace.ended(each === "lively" ? 100 : 0, 40_000);
      }
    }),
  );
});
