/** Long work lets others in between, by how long it took and not by how much it was. */
import test from "ava";
import { Turns } from "../../../src/lib/turns.ts";

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
