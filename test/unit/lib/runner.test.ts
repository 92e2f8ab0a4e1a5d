import test from "ava";
import { BoundedFrequencyRunner, type RunnerOptions } from "../../../src/lib/runner.ts";
import { ManualClock } from "../../support/manual-clock.ts";

/** A runner whose action takes `takesMs` and fails as often as it is told to; `runs` are the ms at which it began. */
function makeRunner(options: Partial<Omit<RunnerOptions, "clock" | "action">> & { readonly takesMs?: number } = {}) {
  const clock = new ManualClock();
  const start = clock.monotonicMs();
  const runs: number[] = [];
  const state = { failures: 0, atOnce: 0, most: 0 };
  const { takesMs = 0, ...rest } = options;
  const runner = new BoundedFrequencyRunner({
    clock,
    minIntervalMs: 100,
    maxIntervalMs: null,
    retry: { firstMs: 1_000, maxMs: 4_000 },
    ...rest,
    async action() {
      runs.push(clock.monotonicMs() - start);
      state.most = Math.max(state.most, ++state.atOnce);
      if (takesMs > 0) await clock.sleep(takesMs);
      state.atOnce--;
      if (state.failures > 0) {
        state.failures--;
        throw new Error("as told");
      }
    },
  });
  return { clock, runner, runs, state };
}

test("the first request runs at once, later ones wait for the interval and are one", async (t) => {
  const { clock, runner, runs } = makeRunner();
  runner.trigger();
  await clock.advance(0);
  t.deepEqual(runs, [0]);
  for (let i = 0; i < 5; i++) {
    await clock.advance(10);
    runner.trigger();
  }
  await clock.advance(1_000);
  t.deepEqual(runs, [0, 100]);
});

test("nobody asks: it never runs, or after the longest interval", async (t) => {
  const never = makeRunner();
  await never.clock.advance(100_000);
  t.deepEqual(never.runs, []);
  const now_and_then = makeRunner({ maxIntervalMs: 5_000 });
  now_and_then.runner.trigger();
  await now_and_then.clock.advance(12_000);
  t.deepEqual(now_and_then.runs, [0, 5_000, 10_000]);
});

test("requests during a run are one further run, after it and the interval; it never runs twice at once", async (t) => {
  const { clock, runner, runs, state } = makeRunner({ takesMs: 300 });
  runner.trigger();
  await clock.advance(50);
  runner.trigger();
  await clock.advance(50);
  runner.trigger();
  await clock.advance(2_000);
  t.deepEqual(runs, [0, 400]);
  t.is(state.most, 1);
});

test("a failed run is tried again with growing pauses, less a quarter at most, until it succeeds", async (t) => {
  const { clock, runner, runs, state } = makeRunner();
  state.failures = 3;
  runner.trigger();
  await clock.advance(20_000);
  t.is(runs.length, 4);
  for (const [i, full] of [1_000, 2_000, 4_000].entries()) {
    const pause = (runs[i + 1] ?? 0) - (runs[i] ?? 0);
    t.true(pause <= full && pause >= full * 0.75, `${pause} of ${full}`);
  }
});

test("runNow waits for the run that is under way, runs, and settles as that run does", async (t) => {
  const { clock, runner, runs, state } = makeRunner({ takesMs: 200 });
  runner.trigger();
  await clock.advance(50);
  const now = runner.runNow();
  await clock.advance(1_000);
  await now;
  t.deepEqual(runs, [0, 200]);
  state.failures = 1;
  const failing = t.throwsAsync(runner.runNow(), { message: "as told" });
  await clock.advance(1_000);
  await failing;
});

test("after stop nothing runs any more, and stop waits for the run that is under way", async (t) => {
  const { clock, runner, runs } = makeRunner({ takesMs: 200, maxIntervalMs: 500 });
  runner.trigger();
  await clock.advance(50);
  let stopped = false;
  const stopping = runner.stop().then(() => {
    stopped = true;
  });
  runner.trigger();
  await clock.advance(100);
  t.false(stopped);
  await clock.advance(100);
  await stopping;
  runner.trigger();
  await runner.runNow();
  await clock.advance(10_000);
  t.deepEqual(runs, [0]);
});

test("a stop right after a failure cancels the next try", async (t) => {
  const { clock, runner, runs, state } = makeRunner();
  state.failures = 9;
  runner.trigger();
  await clock.advance(10);
  await runner.stop();
  await clock.advance(60_000);
  t.deepEqual(runs, [0]);
});
