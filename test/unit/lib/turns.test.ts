/** Long work lets others in between, by how long it took and not by how much it was. */
import test from "ava";
import { atOnce, inTurns, type Steps, Turns } from "../../../src/lib/turns.ts";

test("a turn is over after some ms of work, and a new one begins when others had theirs", async (t) => {
  let now = 100;
  const turns = new Turns({ monotonicMs: () => now });
  now += 3;
  t.false(turns.isOver);
  now += 1;
  t.true(turns.isOver);
  let heard = false;
  setImmediate(() => {
    heard = true;
    now += 50;
  });
  await turns.next();
  t.true(heard, "the event loop went round");
  t.false(turns.isOver, "what others took is not counted");
});

test("steps give the same result at once and in turns, and others get theirs whenever one is over", async (t) => {
  let now = 0;
  function* sum(): Steps<number> {
    let total = 0;
    for (let part = 1; part <= 8; part++) {
      total += part;
      now += 2;
      yield;
    }
    return total;
  }
  t.is(atOnce(sum()), 36);
  let turns = 0;
  let ended = false;
  const count = () => {
    turns++;
    if (!ended) setImmediate(count);
  };
  setImmediate(count);
  t.is(await inTurns(sum(), { monotonicMs: () => now }), 36);
  ended = true;
  t.true(turns >= 4, `${turns} turns for 16 ms`);
});
