import test from "ava";
import fc from "fast-check";
import { NameCache } from "../../../src/dns/name-cache.ts";
import { decodeNames, encodeNames } from "../../../src/dns/name-record.ts";
import { type Address, parseAddress } from "../../../src/model/ip.ts";
import { nameKey } from "../../../src/model/name-key.ts";

function at(text: string): Address {
  const address = parseAddress(text);
  if (address === null) throw new Error(`${text} is no address`);
  return address;
}

class Bench {
  now = 0;
  readonly cache: NameCache;

  constructor({ minTtlSeconds = 0, mostPerName = 1000, mostPerEndpoint = 10_000, mostInAll = 10_000 } = {}) {
    const limits = { mostPerName, mostPerEndpoint, mostInAll };
    this.cache = new NameCache({ minTtlSeconds, ...limits, monotonicMs: () => this.now });
  }

  learn(name: string, ttl: number, ...addresses: readonly string[]): this {
    this.cache.learn(
      name,
      addresses.map((text) => ({ address: at(text), ttl })),
    );
    return this;
  }

  /** @param seconds that pass before addresses whose time is over go */
  expire(seconds: number, ...live: readonly string[]): this {
    this.now += seconds * 1000;
    this.cache.expire(new Set(live));
    return this;
  }

  texts(name: string): readonly string[] {
    return this.cache.addressesOf(name).map(({ text }) => text);
  }
}

test("an address holds for the time of its answer, and each answer renews it", (t) => {
  const bench = new Bench().learn("a", 10, "192.0.2.1").expire(9);
  t.deepEqual(bench.texts("a"), ["192.0.2.1"]);
  bench.learn("a", 10, "192.0.2.1", "192.0.2.2").expire(9);
  t.deepEqual(bench.texts("a"), ["192.0.2.1", "192.0.2.2"]);
  bench.expire(1);
  t.deepEqual(bench.texts("a"), []);
  t.is(bench.cache.size, 0);
});

test("a shorter time than the minimum is the minimum, and a shorter answer does not shorten one before", (t) => {
  const bench = new Bench({ minTtlSeconds: 60 }).learn("a", 1, "192.0.2.1").expire(59);
  t.is(bench.texts("a").length, 1);
  const other = new Bench().learn("a", 100, "192.0.2.1").learn("a", 1, "192.0.2.1").expire(50);
  t.is(other.texts("a").length, 1);
});

test("an address of a living connection stays until the connection ends, and may be given again", (t) => {
  const bench = new Bench().learn("a", 10, "192.0.2.1").expire(20, "192.0.2.1");
  t.true(bench.cache.names.get("a")?.get("192.0.2.1")?.isKept);
  t.deepEqual(
    bench.cache.due().map(({ text }) => text),
    ["192.0.2.1"],
    "it is looked at again",
  );
  bench.learn("a", 10, "192.0.2.1");
  t.false(bench.cache.names.get("a")?.get("192.0.2.1")?.isKept);
  bench.expire(20, "192.0.2.1").expire(1);
  t.deepEqual(bench.texts("a"), []);
});

test("names whose addresses changed are told once; a renewal is no change", (t) => {
  const { cache } = new Bench().learn("a", 10, "192.0.2.1").learn("b", 10, "192.0.2.1");
  t.deepEqual([...cache.takeChanged()], ["a", "b"]);
  cache.learn("a", [{ address: at("192.0.2.1"), ttl: 50 }]);
  t.deepEqual([...cache.takeChanged()], []);
  t.is(
    cache.clean((name) => name === "b"),
    1,
  );
  t.deepEqual([...cache.takeChanged()], ["b"]);
});

test("beyond the limit of a name, and of all, those go whose time is over first", (t) => {
  const bench = new Bench({ mostPerName: 2 }).learn("a", 10, "192.0.2.1").learn("a", 20, "192.0.2.2");
  bench.learn("a", 30, "192.0.2.3");
  t.deepEqual(bench.texts("a"), ["192.0.2.2", "192.0.2.3"]);
  t.is(bench.cache.evicted, 1);
  const all = new Bench({ mostInAll: 10 });
  for (let name = 0; name < 11; name++) all.learn(`n${name}`, 100 - name, "192.0.2.1");
  t.is(all.cache.size, 9);
  t.deepEqual([all.texts("n0").length, all.texts("n10").length, all.texts("n9").length], [1, 0, 0]);
});

test("memory is bounded under hours of new names", (t) => {
  const bench = new Bench({ minTtlSeconds: 3600, mostInAll: 2_000 });
  for (let name = 0; name < 50_000; name++)
    bench.learn(`n${name}.test`, 5, `10.${name >> 16}.${(name >> 8) & 255}.${name & 255}`);
  t.true(bench.cache.size <= 2_000);
  t.is(bench.cache.names.size, bench.cache.size);
  bench.cache.takeChanged();
  t.is(bench.cache.takeChanged().size, 0);
});

test("a snapshot keeps names, addresses and what is left of their time, over a change of clocks", (t) => {
  const bench = new Bench().learn("a.test", 100, "192.0.2.1", "2001:db8::1").learn("b.test", 10, "192.0.2.2");
  bench.now = 5_000;
  const text = encodeNames(bench.cache, { wallMs: 1_000_000, monotonicMs: 5_000, uptimeMs: 700_000, boot: "one" });
  const next = new Bench();
  // 20 s later by the wall, on a machine that has just started.
  t.true(decodeNames(text, next.cache, { wallMs: 1_020_000, monotonicMs: 0, uptimeMs: 9_000, boot: "two" }));
  const [a, b] = [nameKey(null, "a.test"), nameKey(null, "b.test")];
  t.deepEqual(next.texts(a), ["192.0.2.1", "2001:db8::1"]);
  t.deepEqual(next.texts(b), ["192.0.2.2"], "over, but a connection may have it: the next look decides");
  next.expire(0, "192.0.2.2");
  t.deepEqual(next.texts(b), ["192.0.2.2"]);
  next.expire(74);
  t.deepEqual([next.texts(b), next.texts(a).length], [[], 2]);
  next.expire(2);
  t.deepEqual(next.texts(a), []);
});

for (const days of [1, -1, 10_000, -10_000]) {
  test(`the clock may be set by ${days} days between two agents: names live as long as they would have`, (t) => {
    const bench = new Bench().learn("a.test", 100, "192.0.2.1").learn("b.test", 10, "192.0.2.2");
    bench.now = 5_000;
    const text = encodeNames(bench.cache, { wallMs: 1e12, monotonicMs: 5_000, uptimeMs: 700_000, boot: "one" });
    const next = new Bench();
    // 20 s later, of the same boot; the next agent counts from its own start.
    const wallMs = 1e12 + 20_000 + days * 86_400_000;
    t.true(decodeNames(text, next.cache, { wallMs, monotonicMs: 0, uptimeMs: 720_000, boot: "one" }));
    const [a, b] = [nameKey(null, "a.test"), nameKey(null, "b.test")];
    next.expire(0);
    next.expire(74);
    t.deepEqual([next.texts(b), next.texts(a)], [[], ["192.0.2.1"]]);
    next.expire(2);
    t.deepEqual(next.texts(a), []);
  });
}

test("a snapshot of an agent that did not say when it wrote, or strangely, is read by the wall clock", (t) => {
  const names = '[["a.test",[["192.0.2.1",1100000]]]]';
  for (const written of [
    "null",
    "7",
    "{}",
    '{"wallMs":1,"uptimeMs":"x","boot":"one"}',
    '{"wallMs":1,"uptimeMs":9e9,"boot":"one"}',
  ]) {
    const next = new Bench();
    const text = `{"format":1,"written":${written},"names":${names}}`;
    t.true(decodeNames(text, next.cache, { wallMs: 1_000_000, monotonicMs: 0, uptimeMs: 500, boot: "one" }));
    next.expire(99);
    t.deepEqual(next.texts(nameKey(null, "a.test")), ["192.0.2.1"], written);
    next.expire(2);
    t.deepEqual(next.texts(nameKey(null, "a.test")), [], written);
  }
});

test("a pod's names are its own: bounded apart from others', kept over a snapshot, and gone with it", (t) => {
  const { cache, ...bench } = new Bench({ mostPerEndpoint: 20 });
  const learn = (endpoint: string | null, name: string, last: number) =>
    cache.learn(nameKey(endpoint, name), [{ address: at(`192.0.2.${last}`), ttl: 60 + last }]);
  learn("one", "a.test", 1);
  learn(null, "a.test", 2);
  for (let last = 0; last < 100; last++) learn("two", `n${last}.test`, last);
  t.deepEqual([...cache.endpoints].sort(), ["one", "two"]);
  const of = (endpoint: string) => [...cache.names.keys()].filter((key) => key.startsWith(`${endpoint}/`)).length;
  t.deepEqual([of("one"), of("")], [1, 1], "who asks for ever new names takes nothing from others");
  t.true(of("two") <= 20 && of("two") >= 18);
  t.true(cache.takeEvicted().has(nameKey("two", "n0.test")));

  const next = new Bench();
  const clocks = { wallMs: 1_000, monotonicMs: bench.now, uptimeMs: 1_000, boot: "one" };
  t.true(decodeNames(encodeNames(cache, clocks), next.cache, clocks));
  t.deepEqual([...next.cache.names.keys()].sort(), [...cache.names.keys()].sort());
  next.cache.clean((key) => key.startsWith("two/"));
  t.deepEqual([[...next.cache.endpoints], next.cache.size], [["one"], 2]);
});

test("a snapshot that is none, or in part, gives what can be read", (t) => {
  const read = (text: string) => {
    const { cache } = new Bench();
    return [decodeNames(text, cache, { wallMs: 0, monotonicMs: 0, uptimeMs: 0, boot: "one" }), cache.size];
  };
  for (const text of ["", "null", "[]", "7", '{"format":2,"names":[]}', '{"format":1}'])
    t.deepEqual(read(text), [false, 0]);
  const names = '[["a",[["192.0.2.1",5],["nowhere",5],["192.0.2.2","x"],7]],["b"],null,[7,[]],["",[]]]';
  t.deepEqual(read(`{"format":1,"names":${names}}`), [true, 1]);
  fc.assert(
    fc.property(fc.json(), (text) => {
      read(text);
    }),
  );
});

const step = fc.oneof(
  fc.record({
    kind: fc.constant("learn" as const),
    name: fc.constantFrom("a", "b", "c"),
    last: fc.nat(8),
    ttl: fc.nat(20),
  }),
  fc.record({ kind: fc.constant("expire" as const), seconds: fc.nat(20), live: fc.subarray([1, 2, 3, 4]) }),
  fc.record({ kind: fc.constant("clean" as const), name: fc.constantFrom("a", "b") }),
);

test("whatever happens, the count is that of the addresses, limits hold, and changes tell every difference", (t) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const bench = new Bench({ mostPerName: 4, mostInAll: 8 });
      let known = new Map<string, string>();
      for (const each of steps) {
        if (each.kind === "learn") bench.learn(each.name, each.ttl, `192.0.2.${each.last}`);
        else if (each.kind === "expire") bench.expire(each.seconds, ...each.live.map((last) => `192.0.2.${last}`));
        else bench.cache.clean((name) => name === each.name);
        const counts = [...bench.cache.names.values()].map(({ size }) => size);
        t.is(
          counts.reduce((sum, size) => sum + size, 0),
          bench.cache.size,
        );
        t.true(bench.cache.size <= 8 && counts.every((size) => size >= 1 && size <= 4));
        const now = new Map(["a", "b", "c"].map((name) => [name, bench.texts(name).join()]));
        const changed = bench.cache.takeChanged();
        for (const [name, text] of now) if (text !== (known.get(name) ?? "")) t.true(changed.has(name), name);
        known = now;
      }
    }),
  );
});
