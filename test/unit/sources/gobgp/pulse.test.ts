import test from "ava";
import { Pulse, pulseMs } from "../../../../src/sources/gobgp/pulse.ts";
import { ManualClock } from "../../../support/manual-clock.ts";

function pulsing(ask: () => Promise<unknown>) {
  const clock = new ManualClock();
  const told: string[] = [];
  const ending = new AbortController();
  const pulse = new Pulse({
    ask,
    clock,
    onSilent: () => void told.push("silent"),
    onAnswer: () => void told.push("answers"),
  });
  const ended = pulse.run(ending.signal).catch((error: unknown) => error);
  const pass = (ms: number) => clock.advance(ms);
  return { pulse, told, pass, end: () => ending.abort(), ended };
}

test("it asks each so often, and who answers is not told of", async (t) => {
  let asked = 0;
  const { told, pass, end, ended } = pulsing(async () => void asked++);
  await pass(6_000);
  t.true(asked >= 5 && asked <= 8, `${asked} questions`);
  t.deepEqual(told, []);
  end();
  await ended;
});

test("who says something by himself is not asked", async (t) => {
  let asked = 0;
  const { pulse, pass, end, ended } = pulsing(async () => void asked++);
  for (let at = 0; at < 30; at++) {
    pulse.heard();
    await pass(100);
  }
  t.is(asked, 0);
  end();
  await ended;
});

test("silence is told in less than 2 s, once, and so is the answer after it", async (t) => {
  let answer: () => void = () => undefined;
  const { told, pass, end, ended } = pulsing(
    () =>
      new Promise<void>((resolve) => {
        answer = resolve;
      }),
  );
  await pass(1_500);
  t.deepEqual(told, []);
  await pass(400);
  t.true(pulseMs.quiet + pulseMs.patience < 2_000);
  t.deepEqual(told, ["silent"]);
  await pass(2_000);
  t.deepEqual(told, ["silent"]);
  answer();
  await pass(100);
  t.deepEqual(told, ["silent", "answers"]);
  end();
  await ended;
});

test("who is busy telling other things is not silent", async (t) => {
  const { pulse, told, pass, end, ended } = pulsing(() => new Promise(() => undefined));
  for (let at = 0; at < 40; at++) {
    await pass(100);
    if (at >= 10) pulse.heard();
  }
  t.deepEqual(told, []);
  end();
  void ended;
});

test("a question that fails ends it", async (t) => {
  const { pass, ended } = pulsing(() => Promise.reject(new Error("too late")));
  await pass(1_000);
  t.regex(String(await ended), /too late/);
});
