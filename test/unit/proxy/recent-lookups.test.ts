/** What a proxy tells the next agent again, of what it told the one that went. */
import test from "ava";
import type { NamesFromProxy } from "../../../src/api/names-link.ts";
import { Names } from "../../../src/proxy/names.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const lookup = (ticket: number, name: string, endpoint = 7) => ({
  ticket,
  endpoint,
  name,
  ttl: 60,
  addresses: ["203.0.113.1"],
});

function world() {
  const clock = new ManualClock();
  const names = new Names(() => true, clock);
  /** Names and their ages in seconds, as the next agent is told; null: nothing is. */
  const retold = () => {
    const said: readonly NamesFromProxy[] = names.greeting();
    const [first] = said;
    if (said.length === 1) return null;
    return first?.type === "names-seen" ? first.lookups.map(({ name, ago }) => [name, ago]) : null;
  };
  return { clock, names, retold };
}

test("the next agent is told again what the one before was told in its last ten seconds, and how long ago; then it is asked for the names", async (t) => {
  const { clock, names, retold } = world();
  t.deepEqual(names.greeting(), [{ type: "names-hello" }], "nothing was told yet");
  names.seen([lookup(1, "old.test.")]);
  await clock.advance(10_001);
  names.seen([lookup(2, "a.test."), lookup(3, "b.test.")]);
  await clock.advance(500);
  names.lost();
  await clock.advance(60_000);
  t.deepEqual(
    names.greeting().map(({ type }) => type),
    ["names-seen", "names-hello"],
  );
  names.lost();
  await clock.advance(1_000);
  t.deepEqual(
    retold(),
    [
      ["a.test.", 61.5],
      ["b.test.", 61.5],
    ],
    "one that ends at once has lost it, too",
  );
  await clock.advance(10_001);
  names.lost();
  t.is(retold(), null, "this one had the time to write it down");
});

test("what an agent forgot, and pods that are gone, are told to nobody again", (t) => {
  const { names, retold } = world();
  names.greeting();
  names.seen([lookup(1, "a.test."), lookup(2, "b.test."), lookup(3, "c.test.", 8)]);
  names.take({ type: "names-forget", names: ["a.test."] });
  names.take({ type: "names-gone", endpoints: [8] });
  names.lost();
  t.deepEqual(retold(), [["b.test.", 0]]);
  names.take({ type: "names-forget", names: null });
  names.lost();
  t.is(retold(), null);
});

test("no more is kept than an engine keeps for an agent that is away: the last ones", (t) => {
  const { names, retold } = world();
  for (let at = 0; at < 20_000; at++) names.seen([lookup(at, `n${at}.test.`)]);
  names.lost();
  const told = retold();
  t.is(told?.length, 4096);
  t.deepEqual(told?.at(-1), ["n19999.test.", 0]);
});
