import test from "ava";
import { systemClock } from "../../../src/lib/clock.ts";

test("a sleep that is aborted rejects with the reason at once, also when it was aborted before", async (t) => {
  const controller = new AbortController();
  const started = performance.now();
  const sleep = systemClock.sleep(60_000, controller.signal);
  controller.abort(new Error("stop"));
  await t.throwsAsync(sleep, { message: "stop" });
  await t.throwsAsync(systemClock.sleep(60_000, controller.signal), { message: "stop" });
  t.true(performance.now() - started < 30_000);
});

test("sleeps and timers wait for as long as they were told; a cancelled timer never calls", async (t) => {
  const started = systemClock.monotonicMs();
  let called = 0;
  const cancelled = systemClock.setTimer(1, () => {
    called += 100;
  });
  cancelled.cancel();
  systemClock.setTimer(5, () => {
    called += 1;
  });
  await systemClock.sleep(60);
  t.is(called, 1);
  t.true(systemClock.monotonicMs() - started >= 59);
});

test("a timer of 0 ms calls with this turn of the event loop; cancelled, it never does", async (t) => {
  const calls: string[] = [];
  systemClock.setTimer(0, () => calls.push("cancelled")).cancel();
  systemClock.setTimer(0, () => calls.push("0 ms"));
  t.deepEqual(calls, []);
  await new Promise<void>((resolve) => {
    setImmediate(() => {
      calls.push("the turn ends");
      resolve();
    });
  });
  t.deepEqual(calls, ["0 ms", "the turn ends"]);
});
