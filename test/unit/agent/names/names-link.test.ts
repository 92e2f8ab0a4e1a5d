/** What proxies tell about names, and when they hear that an answer's addresses are open. */
import test from "ava";
import { NamesLink } from "../../../../src/agent/names/names-link.ts";
import type { NamesToProxy } from "../../../../src/api/names-link.ts";
import { NameCache } from "../../../../src/dns/name-cache.ts";
import { nameKey } from "../../../../src/model/name-key.ts";
import { namePattern } from "../../../../src/model/dns-names.ts";
import { TableStore } from "../../../../src/model/store.ts";
import { ManualClock } from "../../../support/manual-clock.ts";
import { direction, openDirection, set } from "../../datapath/world.ts";

class Bench {
  readonly store = new TableStore();
  readonly clock = new ManualClock();
  readonly said: NamesToProxy[] = [];
  readonly answered: NamesToProxy[] = [];
  readonly cache = new NameCache({
    minTtlSeconds: 0,
    mostPerName: 1_000,
    mostInAll: 2_000,
    monotonicMs: () => this.clock.monotonicMs(),
  });
  readonly link: NamesLink;

  /** @param pods by their numbers, where what one is given is its own */
  constructor(pods?: ReadonlyMap<number, string>, isRestored = true) {
    this.link = new NamesLink({
      learn: (endpoint, name, found, ago) => {
        this.cache.learn(nameKey(endpoint, name), found, ago);
        const changed = this.cache.takeChanged();
        for (const key of changed) this.store.upsert("names", key, { name, addresses: this.cache.addressesOf(key) });
        return changed.size > 0;
      },
      ...(pods !== undefined && { endpointOf: (number: number) => pods.get(number) ?? null }),
      store: this.store,
      broadcast: (message) => this.said.push(message),
    });
    if (isRestored) this.link.restored();
  }

  see(ticket: number, name: string, ttl: number, ...addresses: readonly string[]): void {
    this.seeOf(1, ticket, name, ttl, ...addresses);
  }

  seeOf(endpoint: number, ticket: number, name: string, ttl: number, ...addresses: readonly string[]): void {
    const lookups = [{ ticket, endpoint, name, ttl, addresses }];
    this.link.take({ type: "names-seen", lookups } as { type: string }, (answer) => this.answered.push(answer));
  }
}

function using(...texts: readonly string[]) {
  const names = texts.map((text) => ({
    pattern: namePattern(text.includes("*") ? "pattern" : "name", text),
    groups: [0],
  }));
  return [set("web", openDirection, { ...direction([1]), names })];
}

test("an answer is open when the tables with it are in the kernel, and one that is known already at once", (t) => {
  const bench = new Bench();
  const { store, link, answered } = bench;
  const see: Bench["see"] = (...words) => bench.see(...words);
  see(1, "api.test.", 60, "203.0.113.1");
  t.deepEqual(answered, []);
  link.applied([], store.revision - 1);
  t.deepEqual(answered, [], "tables of before");
  link.applied([], store.revision);
  t.deepEqual(answered, [{ type: "names-open", tickets: [1] }]);
  see(2, "api.test.", 60, "203.0.113.1");
  t.deepEqual(answered.at(-1), { type: "names-open", tickets: [2] });
  see(3, "api.test.", 60, "203.0.113.1", "203.0.113.2");
  see(4, "api.test.", 60, "203.0.113.2");
  t.is(answered.length, 2, "known, but not in the kernel yet");
  link.applied([], store.revision);
  t.deepEqual(answered.slice(2), [
    { type: "names-open", tickets: [3] },
    { type: "names-open", tickets: [4] },
  ]);
});

test("addresses that nobody outside can have, and what is none, are not learned, and nobody waits for them", (t) => {
  const bench = new Bench();
  bench.see(1, "api.test.", 60, "127.0.0.1", "::ffff:10.0.0.1", "0.0.0.0", "224.0.0.1", "nonsense");
  t.deepEqual(bench.answered, [{ type: "names-open", tickets: [1] }]);
  t.is(bench.store.table("names").size, 0);
});

test("proxies hear which names are wanted: all when the rules change, each when it comes", (t) => {
  const bench = new Bench();
  const sets = using("api.test", "*.example.com", "*");
  bench.link.applied(sets, 0);
  bench.link.applied(sets, 0);
  t.is(bench.said.length, 1);
  const [wanted] = bench.said;
  t.is(wanted?.type, "names-wanted");
  const pattern = wanted?.type === "names-wanted" ? wanted.pattern : null;
  const means = new RegExp(`^(?:${pattern})$`);
  for (const name of ["api.test.", "x.example.com.", "any.other.", "."]) t.true(means.test(name), name);
  bench.link.applied(using("api.test"), 0);
  bench.link.take({ type: "names-hello" }, (answer) => bench.answered.push(answer));
  t.deepEqual(bench.answered, [{ type: "names-wanted", pattern: "api\\.test\\.", shared: true }]);
  bench.link.applied([], 0);
  t.deepEqual(bench.said.at(-1), { type: "names-wanted", pattern: null, shared: true });
});

test("where a pod's lookups are its own each is learned for who asked, and not for a pod that is gone", (t) => {
  const bench = new Bench(new Map([[7, "c7"]]));
  bench.seeOf(7, 1, "api.test.", 60, "203.0.113.1");
  bench.seeOf(8, 2, "api.test.", 60, "203.0.113.2");
  t.deepEqual([...bench.cache.names.keys()], [nameKey("c7", "api.test")]);
  bench.link.applied(using("api.test"), bench.store.revision);
  const opened = bench.answered.flatMap((each) => (each.type === "names-open" ? each.tickets : []));
  t.deepEqual([...opened].sort(), [1, 2], "and nobody waits");
  t.deepEqual(
    bench.answered.filter(({ type }) => type === "names-gone"),
    [{ type: "names-gone", endpoints: [8] }],
    "nor is anything taken for open to who has the number next",
  );
  t.like(bench.said.at(-1), { type: "names-wanted", shared: false });
  bench.link.gone([7]);
  t.deepEqual(bench.said.at(-1), { type: "names-gone", endpoints: [7] });
});

test("what proxies tell while pods are not known yet is learned when they are, as long ago as it was", async (t) => {
  const pods = new Map<number, string>();
  const bench = new Bench(pods, false);
  const heard = bench.link.heard(1_000, bench.clock);
  const seen = { ticket: 1, endpoint: 7, name: "api.test.", ttl: 60, addresses: ["203.0.113.1"], ago: 50 };
  bench.link.take({ type: "names-seen", lookups: [seen] } as { type: string }, (each) => bench.answered.push(each));
  bench.link.take({ type: "names-hello" }, () => undefined);
  await heard;
  t.is(bench.cache.size, 0);
  pods.set(7, "c7");
  bench.link.restored();
  const [cached] = bench.cache.names.get(nameKey("c7", "api.test"))?.values() ?? [];
  t.is(cached?.until, bench.clock.monotonicMs() + 11_000, "a second more than its TTL, from when it came");
  bench.link.applied([], bench.store.revision);
  t.deepEqual(bench.answered, [{ type: "names-open", tickets: [1] }]);
});

test("a proxy that comes before the policies are known goes on by what it was told before", (t) => {
  const { link, said, answered } = new Bench();
  link.take({ type: "names-hello" }, (answer) => answered.push(answer));
  t.deepEqual(answered, []);
  link.applied([], 0);
  t.deepEqual(said, [{ type: "names-wanted", pattern: null, shared: true }], "now nothing is wanted indeed");
});

test("an agent waits for proxies of before as long as it says, and not where one has spoken", async (t) => {
  const { link, clock } = new Bench();
  let isOver = false;
  const waiting = link.heard(1_500, clock).then(() => {
    isOver = true;
  });
  await clock.advance(1_499);
  t.false(isOver);
  await clock.advance(1);
  await waiting;
  link.take({ type: "names-hello" }, () => undefined);
  await link.heard(1_500, clock);
  t.pass();
});

test("200 new names a second for a quarter of an hour stay within the bounds, and what has to go is told", async (t) => {
  const bench = new Bench();
  const evicted = new Set<string>();
  for (let second = 0; second < 900; second++) {
    for (let at = 0; at < 200; at++) {
      const number = second * 200 + at;
      const address = `198.${18 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`;
      bench.see(number, `n${number}.test.`, 300, address);
    }
    bench.link.applied([], bench.store.revision);
    bench.answered.length = 0;
    for (const name of bench.cache.takeEvicted()) evicted.add(name);
    await bench.clock.advance(1000);
    if (bench.cache.size > 2_000) return t.fail(`${bench.cache.size} addresses after ${second} s`);
  }
  t.true(bench.cache.size >= 1_800);
  t.is(evicted.size, 900 * 200 - bench.cache.size);
});
