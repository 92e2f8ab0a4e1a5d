import test from "ava";
import { NameFollower } from "../../../../src/agent/names/name-follower.ts";
import { readServer } from "../../../../src/agent/names/index.ts";
import type { CompiledSet } from "../../../../src/compute/desired.ts";
import type { NameAddress } from "../../../../src/dns/addresses.ts";
import { NameCache } from "../../../../src/dns/name-cache.ts";
import { TandemError } from "../../../../src/lib/errors.ts";
import { nameKey } from "../../../../src/model/name-key.ts";
import { namePattern } from "../../../../src/model/dns-names.ts";
import { parseAddress } from "../../../../src/model/ip.ts";
import { silentLogger } from "../../../../src/model/logging.ts";
import type { Problem } from "../../../../src/model/status.ts";
import { TableStore } from "../../../../src/model/store.ts";
import { ManualClock } from "../../../support/manual-clock.ts";
import { direction, openDirection, set } from "../../datapath/world.ts";

const answer = (ttl: number, ...texts: readonly string[]): readonly NameAddress[] =>
  texts.flatMap((text) => {
    const address = parseAddress(text);
    return address === null ? [] : [{ address, ttl }];
  });

/** A policy set that names these; patterns have a star. */
function using(...texts: readonly string[]): readonly CompiledSet[] {
  const names = texts.map((text) => ({
    pattern: namePattern(text.includes("*") ? "pattern" : "name", text),
    groups: [0],
  }));
  return [set("web", openDirection, { ...direction([1]), names })];
}

class Bench {
  readonly clock = new ManualClock();
  readonly store = new TableStore();
  readonly asked: string[] = [];
  readonly live = new Set<string>();
  readonly follower: NameFollower;
  problems: readonly Problem[] = [];
  writes = 0;
  answers: (name: string, family: 4 | 6) => Promise<readonly NameAddress[]> = async () => [];
  inUse: () => Promise<ReadonlySet<string>> = async () => this.live;

  constructor({ resolves = true } = {}) {
    const cache = new NameCache({
      minTtlSeconds: 0,
      mostPerName: 10,
      mostInAll: 100,
      monotonicMs: () => this.clock.monotonicMs(),
    });
    this.follower = new NameFollower({
      cache,
      file: {
        read: async () => undefined,
        changed: () => {
          this.writes++;
        },
        stop: async () => undefined,
      },
      resolve: resolves
        ? async (name, family) => {
            this.asked.push(`${name} ${family}`);
            return this.answers(name, family);
          }
        : null,
      families: [4, 6],
      inUse: () => this.inUse(),
      store: this.store,
      conditions: {
        report: (_topic, problems) => {
          this.problems = problems;
        },
      },
      log: silentLogger,
      clock: this.clock,
    });
    this.follower.start();
  }

  addresses(name: string): readonly string[] {
    return (
      this.store
        .table("names")
        .get(nameKey(null, name))
        ?.addresses.map(({ text }) => text) ?? []
    );
  }
}

test("names that are written whole are asked for at once, in both families, and again when their time is over", async (t) => {
  const bench = new Bench();
  bench.answers = async (_, family) => (family === 4 ? answer(60, "192.0.2.1") : answer(20, "2001:db8::1"));
  bench.follower.follow(using("api.test", "*.test", "api.test"));
  await bench.clock.advance(0);
  t.deepEqual(bench.asked, ["api.test 4", "api.test 6"]);
  t.deepEqual(bench.addresses("api.test"), ["192.0.2.1", "2001:db8::1"]);
  await bench.clock.advance(19_000);
  t.is(bench.asked.length, 2);
  await bench.clock.advance(1_000);
  t.is(bench.asked.length, 4);
  await bench.follower.stop();
});

test("a time of 0 is asked for every 5 s, one of a day every 5 minutes, nothing every 30 s", async (t) => {
  for (const [found, seconds] of [
    [answer(0, "192.0.2.1"), 5],
    [answer(86_400, "192.0.2.1"), 300],
    [[], 30],
  ] as const) {
    const bench = new Bench();
    bench.answers = async () => found;
    bench.follower.follow(using("api.test"));
    await bench.clock.advance(seconds * 1000 - 1);
    t.is(bench.asked.length, 2, `${seconds} s`);
    await bench.clock.advance(1);
    t.is(bench.asked.length, 4, `${seconds} s`);
    await bench.follower.stop();
  }
});

test("a name that nobody answers for is told, keeps what it has, and is asked for with growing pauses until it is answered", async (t) => {
  const bench = new Bench();
  bench.answers = async () => answer(1_000, "192.0.2.1");
  bench.follower.follow(using("api.test"));
  await bench.clock.advance(0);
  bench.answers = async () => {
    throw new TandemError({ code: "NAME_UNANSWERED", object: "name api.test", message: "nobody", remedy: "wait" });
  };
  await bench.clock.advance(300_000);
  t.deepEqual(
    bench.problems.map(({ code, object, severity }) => [code, object, severity]),
    [["NAME_UNANSWERED", "name api.test", "warning"]],
  );
  t.is(bench.follower.names()[0]?.error, "nobody");
  t.deepEqual(bench.addresses("api.test"), ["192.0.2.1"]);
  const before = bench.asked.length;
  await bench.clock.advance(5_000 + 10_000 + 20_000 + 40_000 + 60_000);
  t.is(bench.asked.length - before, 10);
  bench.answers = async () => answer(1_000, "192.0.2.1");
  await bench.clock.advance(60_000);
  t.deepEqual(bench.problems, []);
  await bench.follower.stop();
});

test("one family that fails does not hold up the other", async (t) => {
  const bench = new Bench();
  bench.answers = async (_, family) => {
    if (family === 6) throw new Error("no such luck");
    return answer(60, "192.0.2.1");
  };
  bench.follower.follow(using("api.test"));
  await bench.clock.advance(0);
  t.deepEqual(bench.addresses("api.test"), ["192.0.2.1"]);
  t.is(bench.problems.length, 1);
  await bench.follower.stop();
});

test("a name that no policy writes any more is not asked for, and its addresses go when their time is over", async (t) => {
  const bench = new Bench();
  bench.answers = async () => answer(10, "192.0.2.1");
  bench.follower.follow(using("api.test"));
  await bench.clock.advance(0);
  bench.follower.follow(using());
  await bench.clock.advance(9_000);
  t.deepEqual(bench.addresses("api.test"), ["192.0.2.1"]);
  await bench.clock.advance(10_000);
  t.deepEqual(bench.addresses("api.test"), []);
  t.is(bench.asked.length, 2);
  await bench.follower.stop();
});

test("an address stays while a connection has it, and while nobody can tell", async (t) => {
  const bench = new Bench();
  bench.answers = async () => answer(10, "192.0.2.1");
  bench.follower.follow(using("api.test"));
  await bench.clock.advance(0);
  bench.answers = async () => [];
  bench.inUse = async () => {
    throw new Error("no conntrack");
  };
  await bench.clock.advance(60_000);
  t.deepEqual(bench.addresses("api.test"), ["192.0.2.1"]);
  bench.live.add("192.0.2.1");
  bench.inUse = async () => bench.live;
  await bench.clock.advance(60_000);
  t.deepEqual(bench.follower.cache()[0]?.addresses, [{ address: "192.0.2.1", ttlSeconds: 0, source: "connection" }]);
  bench.live.clear();
  await bench.clock.advance(10_000);
  t.deepEqual(bench.addresses("api.test"), []);
  await bench.follower.stop();
});

test("cleaning forgets the addresses of the names that are meant, and asks again at once", async (t) => {
  const bench = new Bench();
  bench.answers = async () => answer(600, "192.0.2.1");
  bench.follower.follow(using("api.test", "api.other"));
  await bench.clock.advance(0);
  bench.answers = async () => [];
  t.is(bench.follower.clean("*.test"), 1);
  await bench.clock.advance(0);
  t.deepEqual([bench.addresses("api.test"), bench.addresses("api.other")], [[], ["192.0.2.1"]]);
  t.is(bench.asked.length, 8);
  t.is(bench.follower.clean(null), 1);
  await bench.follower.stop();
});

test("at most 16 names are asked for at once, and all in the end", async (t) => {
  const bench = new Bench();
  let [under, most] = [0, 0];
  bench.answers = async () => {
    most = Math.max(most, ++under);
    await bench.clock.sleep(100);
    under--;
    return answer(600, "192.0.2.1");
  };
  bench.follower.follow(using(...Array.from({ length: 100 }, (_, at) => `n${at}.test`)));
  await bench.clock.advance(10_000);
  t.is(bench.asked.length, 200);
  t.is(most, 32, "two families each");
  await bench.follower.stop();
});

test("without resolving, policies with names are told to mean nobody, as long as there are some", async (t) => {
  const bench = new Bench({ resolves: false });
  bench.follower.follow(using("api.test"));
  t.deepEqual(
    bench.problems.map(({ code }) => code),
    ["NAMES_OFF"],
  );
  bench.follower.follow(using());
  t.deepEqual(bench.problems, []);
  await bench.follower.stop();
});

test("servers are addresses, with a port or without", (t) => {
  const text = (written: string) => {
    const { address, port } = readServer(written);
    return `${address.text} ${port}`;
  };
  t.is(text("192.0.2.53"), "192.0.2.53 53");
  t.is(text("192.0.2.53:5353"), "192.0.2.53 5353");
  t.is(text("2001:db8::53"), "2001:db8::53 53");
  t.is(text("[2001:db8::53]:5353"), "2001:db8::53 5353");
  for (const wrong of ["dns.test", "192.0.2.53:0", "192.0.2.53:70000", "[192.0.2.53]:53", "2001:db8::53:x", ""]) {
    t.throws(() => readServer(wrong), { instanceOf: TandemError, code: "DNS_SERVER" }, wrong);
  }
});
