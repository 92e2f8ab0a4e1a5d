/** What is given to the addon to ask, and what comes back from it, and when. */
import test, { type ExecutionContext } from "ava";
import { type Asked, node, type Reaction, route, worldOf, type WorldOptions } from "./support.ts";

const n2 = node("n2", ["192.0.2.2"], ["10.0.2.0/24"]);
const n3 = node("n3", ["192.0.2.3"], ["10.0.3.0/24"]);
const toN2 = route("10.0.2.0/24", [["192.0.2.2", 2]]);
const toN3 = route("10.0.3.0/24", [["192.0.2.3", 2]]);

const well = ({ kind, address }: Asked): Reaction => {
  if (kind === "tcp") return { event: "accepted" };
  const ofPods = /^10\.0\.(\d)\.0$/.exec(address);
  return ofPods === null ? { event: "reply" } : { event: "unreachable", from: `192.0.2.${ofPods[1]}` };
};

async function begin(t: ExecutionContext, options: Partial<WorldOptions> = {}) {
  const world = worldOf({ nodes: [n2, n3], routes: [toN2, toN3], react: well, ...options });
  world.source.start();
  t.teardown(() => world.source.stop());
  // All were asked once, and packets of size as well.
  await world.clock.advance(40_000);
  world.asked.length = 0;
  return world;
}

const requests = (asked: readonly Asked[]) => asked.filter(({ watch }) => watch === 0);

test("paths that answer are asked by the addon alone, packets of size among them, and are known as well as before", async (t) => {
  const world = await begin(t);
  t.is(world.watches.size, 6);
  await world.clock.advance(120_000);
  t.deepEqual(requests(world.asked), []);
  t.true(world.asked.length >= 2 * 36 && world.asked.length <= 2 * 44, String(world.asked.length));
  const large = world.asked.filter(({ size }) => size === 1500);
  t.true(large.length >= 2 * 2 && large.length <= 2 * 5 && large.every(({ address }) => address.startsWith("192.")));
  const before = world.source.report();
  for (const { paths } of before)
    for (const { kind, sent, lost, answered, p50Us } of paths) {
      t.true(sent >= (kind === "pods" ? 24 : 6) && lost === 0 && p50Us === 250, `${kind} ${sent} ${lost}`);
      t.true(world.clock.now() - (answered ?? 0) <= 20_000);
    }
  t.deepEqual(world.source.report(), before, "each question is counted once");
  for (const { kind, sent, lost, seconds } of world.source.totals()) {
    const ofKind = before.flatMap(({ paths }) => paths.filter((path) => path.kind === kind));
    t.is(
      sent,
      ofKind.reduce((sum, path) => sum + path.sent, 0),
    );
    t.true(lost === 0 && seconds.count > 0 && seconds.buckets[1]?.count === seconds.count, "250 µs");
  }
});

test("one that is lost brings all of its node back, and they go again when all is well; nobody else is disturbed", async (t) => {
  const world = await begin(t);
  let left = 1;
  world.react = (asked) => (asked.address === "10.0.2.0" && left-- > 0 ? null : well(asked));
  await world.clock.advance(9_000);
  t.deepEqual(
    requests(world.asked)
      .map(({ kind, address, size }) => `${kind} ${address} ${size}`)
      .sort(),
    ["icmp 10.0.2.0 0", "icmp 192.0.2.2 0", "icmp 192.0.2.2 1500", "tcp 192.0.2.2 0"],
  );
  t.is(world.watches.size, 6);
  const [report] = world.source.report();
  t.deepEqual(
    report?.paths.map(({ kind, lost }) => [kind, lost]),
    [
      ["icmp", 0],
      ["tcp", 0],
      ["pods", 1],
    ],
  );
  t.like(world.health("n2"), { state: "reachable", silent: [] });
});

test("an answer after the time is heard: it is no silence", async (t) => {
  const world = await begin(t);
  world.react = (asked) => (asked.address === "10.0.2.0" ? null : well(asked));
  while (!world.asked.some(({ address }) => address === "10.0.2.0")) await world.clock.advance(100);
  const [late] = world.asked.filter(({ address }) => address === "10.0.2.0");
  if (late === undefined) throw new Error("nothing was asked");
  t.not(late.watch, 0);
  await world.clock.advance(1_500);
  const misses = () => world.source.report()[0]?.paths[2]?.lost ?? 0;
  t.true(misses() > 0);
  world.late(late, { event: "unreachable", from: "192.0.2.2" });
  await world.clock.advance(1_200);
  t.is(world.health("n2")?.state, "reachable", "the misses begin anew");
  await world.clock.advance(8_000);
  t.is(world.health("n2")?.state, "partly");
});

test("what answers otherwise is told at once: a refusal, and a router's error", async (t) => {
  const world = await begin(t);
  world.react = (asked) => {
    if (asked.kind === "tcp") return { event: "refused" };
    return asked.address === "10.0.3.0" ? { event: "unreachable", from: "192.0.2.254" } : well(asked);
  };
  await world.clock.advance(20_000);
  t.like(world.health("n2"), { state: "reachable", agent: false });
  t.like(world.health("n3"), { state: "partly", agent: false, podsLost: [4] });
  t.is(world.source.report()[1]?.paths[2]?.told, "192.0.2.254 says that it is unreachable");
  world.react = well;
  await world.clock.advance(30_000);
  t.like(world.health("n3"), { state: "reachable", agent: true, podsLost: [] });
  t.is(world.watches.size, 6);
});

test("a packet of size that is lost, or too large for a router, is looked into here, and the path is asked here until it passes", async (t) => {
  for (const tells of [false, true]) {
    const world = await begin(t);
    world.react = (asked) => {
      if (asked.size <= 1372 || asked.address !== "192.0.2.2") return well(asked);
      return tells ? { event: "too_large", value: 1372, from: "192.0.2.254" } : null;
    };
    await world.clock.advance(75_000);
    t.deepEqual(world.health("n2")?.mtu, [{ family: 4, claimed: 1500, carried: 1372 }]);
    t.is(world.health("n2")?.state, "reachable");
    t.is(world.watches.size, 5);
    world.react = well;
    await world.clock.advance(60_000);
    t.deepEqual(world.health("n2")?.mtu, []);
    t.is(world.watches.size, 6);
  }
});

test("a route of another size is tried at once, and paths and nodes that are gone are asked by nobody", async (t) => {
  const world = await begin(t);
  world.store.upsert("routes", "10.0.2.0/24", { ...toN2, mtu: 1400 });
  await world.clock.advance(3_000);
  t.true(requests(world.asked).some(({ size }) => size === 1400));
  world.store.delete("routes", "10.0.3.0/24");
  await world.clock.advance(30_000);
  t.is(world.watches.size, 5);
  world.store.delete("nodes", "n2");
  await world.clock.advance(2_000);
  t.is(world.watches.size, 2);
  world.asked.length = 0;
  await world.clock.advance(60_000);
  t.deepEqual([...new Set(world.asked.map(({ address }) => address))], ["192.0.2.3"]);
});

test("with more nodes those that are watched are asked less often, too", async (t) => {
  const world = await begin(t);
  for (let at = 0; at < 1198; at++) {
    const name = `m${at}`;
    world.store.upsert("nodes", name, { ...node(name, [], []), addresses: [] });
  }
  await world.clock.advance(40_000);
  t.is(world.watches.size, 6, "the others have no address");
  world.asked.length = 0;
  await world.clock.advance(100_000);
  const pods = world.asked.filter(({ address }) => address === "10.0.2.0").length;
  t.true(pods >= 9 && pods <= 11, `each 10 s: ${pods}`);
});

test("a prober that is opened anew asks all that the one before asked", async (t) => {
  let taken = true;
  const world = await begin(t, { openFails: (port) => (port !== 0 && taken ? new Error("address in use") : null) });
  taken = false;
  await world.clock.advance(60_000);
  t.deepEqual(world.opened, [0, 0, 4240]);
  t.is(world.watches.size, 6);
  t.like(world.health("n2"), { state: "reachable", silent: [] });
  for (const { paths } of world.source.report()) for (const { lost } of paths) t.is(lost, 0);
});

test("packets of size are tried also where a path comes and goes sooner than they are due", async (t) => {
  const world = await begin(t);
  // Each time that the addon asks it is lost, and when it is asked from here it answers.
  world.react = (asked) =>
    asked.watch !== 0 && asked.size === 0 && asked.address === "192.0.2.2" ? null : well(asked);
  await world.clock.advance(300_000);
  const large = world.asked.filter(({ size, address }) => size === 1500 && address === "192.0.2.2");
  t.true(large.length >= 6, String(large.length));
});
