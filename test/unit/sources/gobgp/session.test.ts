/** A session with a daemon that has much to say at once. */
import test from "ava";
import type { Clock } from "../../../../src/lib/clock.ts";
import { parseAddress, parsePrefix } from "../../../../src/model/ip.ts";
import { TableStore } from "../../../../src/model/store.ts";
import { PathReader, writePath } from "../../../../src/sources/gobgp/paths.ts";
import { Rib } from "../../../../src/sources/gobgp/rib.ts";
import { Session } from "../../../../src/sources/gobgp/session.ts";
import type { Path, WatchEvent } from "../../../../src/sources/gobgp/types.ts";
import { ManualClock } from "../../../support/manual-clock.ts";
import { type Fields, message } from "../../../support/gobgp-server.ts";

function written(at: number, asPath: readonly number[] = [65_000]): Uint8Array {
  const prefix = parsePrefix(`100.${64 + (at >> 8)}.${at & 255}.0/24`);
  const nextHop = parseAddress("192.0.2.1");
  if (prefix === null || nextHop === null) throw new Error("no path");
  return writePath({ prefix, nextHop, asPath }, "apipb");
}

const tableEvent = (paths: readonly Uint8Array[]): Uint8Array =>
  message(paths.map((path): Fields[number] => [2, path]));

test("an event with a whole table is read in parts, all of it and in its order", (t) => {
  const parts = [
    ...new PathReader(false).tableEvent(tableEvent(Array.from({ length: 1_000 }, (_, at) => written(at)))),
  ];
  t.true(parts.length > 5 && parts.every(({ length }) => length <= 128));
  const texts = parts.flat().map(({ prefix }) => prefix.text);
  t.is(texts.length, 1_000);
  t.deepEqual([texts[0], texts[999]], ["100.64.0.0/24", "100.67.231.0/24"]);
  t.deepEqual([...new PathReader(false).tableEvent(new Uint8Array(0))], []);
});

test("a path has its own attributes, whatever those before it had", (t) => {
  const asPaths = [[65_000], [65_000], [65_001], [], [65_001]];
  const [paths = []] = new PathReader(false).tableEvent(tableEvent(asPaths.map((asPath, at) => written(at, asPath))));
  t.deepEqual(
    paths.map(({ asPath }) => asPath.flatMap(({ numbers }) => numbers)),
    asPaths,
  );
});

test("events without a pause between them do not stop others", async (t) => {
  const store = new TableStore();
  const stopping = new AbortController();
  t.teardown(() => stopping.abort());
  const manual = new ManualClock();
  let spent = 0;
  // As if each look at the clock came after another half of a ms.
  const clock: Clock = {
    now: () => manual.now(),
    monotonicMs: () => (spent += 0.5),
    sleep: (ms, signal) => manual.sleep(ms, signal),
    setTimer: (ms, callback) => manual.setTimer(ms, callback),
  };
  const count = 400;
  const [path] = [...new PathReader(false).tableEvent(tableEvent([written(0)]))].flat();
  if (path === undefined) throw new Error("no path");
  let turns = 0;
  let turnsBetween = -1;
  async function* watch(signal: AbortSignal): AsyncGenerator<WatchEvent> {
    yield { kind: "ready" };
    const before = turns;
    for (let at = 0; at < count; at++) yield { kind: "paths", paths: [path as Path] };
    turnsBetween = turns - before;
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  }
  async function* none(): AsyncGenerator<never> {}
  const session = new Session({
    client: {
      address: "test",
      watch,
      peers: none,
      paths: none,
      global: () => Promise.resolve({ asn: 0, routerId: "192.0.2.1" }),
    },
    store,
    rib: new Rib({ store, limit: 10 }),
    clock,
    onSynced: () => undefined,
    onPeers: () => undefined,
    onSilent: () => undefined,
    onAnswer: () => undefined,
  });
  const ended = session.follow(stopping.signal).catch(() => undefined);
  while (turnsBetween < 0) {
    await new Promise((resolve) => setImmediate(resolve));
    turns++;
  }
  t.true(turnsBetween >= 40, `${turnsBetween} turns of the event loop during ${count} events`);
  t.is(store.table("bgpPaths").size, 1);
  stopping.abort();
  await ended;
});
