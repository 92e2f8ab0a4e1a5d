import test from "ava";
import { systemClock } from "../../../src/lib/clock.ts";
import { Turn } from "../../../src/proxy/turn.ts";

let folders = 0;
const folder = () => `/tandem-test/${process.pid}/${folders++}`;
const never = new AbortController().signal;

/** Whether it resolved by the time the event loop has gone round a few times with nothing left to do for it. */
async function isPending(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  void promise.then(() => {
    done = true;
  });
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  return !done;
}

test("a successor gets the turn at once, and the holder serves until the successor has the flows", async (t) => {
  const turn = new Turn(folder(), systemClock);
  const first = await turn.take("ask", never);
  const second = await turn.take("ask", never);
  t.true(await isPending(first.yielded));
  second.announce();
  await first.yielded;
  await first.release();
  await second.release();
  t.pass();
});

test("a successor that ends before it has the flows gives the turn back", async (t) => {
  const turn = new Turn(folder(), systemClock);
  const first = await turn.take("ask", never);
  const second = await turn.take("ask", never);
  await second.release();
  // The holder has it again: the next one has to ask it.
  const third = await turn.take("ask", never);
  t.true(await isPending(first.yielded));
  third.announce();
  await first.yielded;
  await first.release();
  await third.release();
});

test("one that waits gets the turn when the holder has ended, and asks nobody for it", async (t) => {
  const turn = new Turn(folder(), systemClock);
  const first = await turn.take("ask", never);
  const waiting = turn.take("wait", never);
  t.true(await isPending(waiting));
  t.true(await isPending(first.yielded));
  await first.release();
  const second = await waiting;
  await second.release();
});

test("waiting ends with the signal", async (t) => {
  const turn = new Turn(folder(), systemClock);
  const first = await turn.take("ask", never);
  const ending = new AbortController();
  const waiting = turn.take("wait", ending.signal);
  ending.abort();
  const end = await waiting.then(
    () => "taken",
    (error: Error) => error.name,
  );
  t.is(end, "AbortError");
  await first.release();
});

test("of many that ask at once one has it, and each of the others had it and gave it away", async (t) => {
  const turn = new Turn(folder(), systemClock);
  const all = await Promise.all(
    Array.from({ length: 6 }, async () => {
      const held = await turn.take("ask", never);
      held.announce();
      return held;
    }),
  );
  const states = () => Promise.all(all.map((held) => isPending(held.yielded)));
  let holding = all.length;
  while (holding !== 1) holding = (await states()).filter((pending) => pending).length;
  for (const held of all) await held.release();
  t.is(holding, 1);
});
